//! seccomp, AppArmor and SELinux as conditions over the request's JSON.
//!
//! The API server takes no pod whose annotation and field for seccomp differ, nor an annotation
//! for AppArmor of a container that is not there (pkg/apis/core/validation/validation.go); so
//! what an annotation says of a container need not be connected with it here.

use super::atoms::{Said, equals, has_text, matches, one_of, some_section};
use super::complement::{Name, escaped, outside};
use super::facts::{ODD_TEXT, Which, Why};
use super::json;

/// The pod's seccomp profile.
pub(super) const SECCOMP_POD: &str =
    "/requestObject/metadata/annotations/seccomp.security.alpha.kubernetes.io~1pod";
const SECCOMP_TYPE: &str = "/requestObject/spec/securityContext/seccompProfile/type";
const SECCOMP_LOCALHOST: &str =
    "/requestObject/spec/securityContext/seccompProfile/localhostProfile";
const ANNOTATIONS: &str = "/requestObject/metadata/annotations";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APPARMOR_CONTAINER: &str = "container.apparmor.security.beta.kubernetes.io/";
/// The field's words and the annotation's.
const WORDS: [(&str, &str); 2] = [
    ("Unconfined", "unconfined"),
    ("RuntimeDefault", "runtime/default"),
];
const UNSET: Why = "containers without an AppArmor profile where others have one: Falco cannot \
                    connect annotations with containers";
const CATEGORIES: Why = "an SELinux level with more than four categories";

/// The names of profiles as annotations write them: one has an old name, too.
fn with_old_name(which: Which<'_>) -> Vec<String> {
    let mut names = which.set().to_vec();
    if names.iter().any(|name| name == "runtime/default") {
        names.push("docker/default".to_owned());
    }
    names
}

/// Whether the pod's seccomp profile is one of these.
pub(super) fn pod_seccomp(which: Which<'_>) -> Result<Said, Why> {
    let names = with_old_name(which);
    let annotated = has_text(SECCOMP_POD);
    let local: Vec<String> = which
        .set()
        .iter()
        .filter_map(|name| Some(name.strip_prefix("localhost/")?.to_owned()))
        .collect();
    let is_listed = |name: &str| which.set().iter().any(|known| known == name);
    let listed = WORDS.into_iter().filter(|(_, name)| is_listed(name));
    let listed = Said::any(
        listed
            .map(|(word, _)| equals(SECCOMP_TYPE, word))
            .chain([Said::all([
                equals(SECCOMP_TYPE, "Localhost"),
                one_of(SECCOMP_LOCALHOST, &local),
            ])]),
    );
    let (by_annotation, by_field) = match which {
        Which::In(_) => (one_of(SECCOMP_POD, &names), listed),
        Which::NotIn(_) => {
            let known = ["Unconfined", "RuntimeDefault", "Localhost"].map(str::to_owned);
            (
                one_of(SECCOMP_POD, &names).not(),
                Said::all([one_of(SECCOMP_TYPE, &known), listed.not()]),
            )
        }
    };
    Ok(Said::any([
        Said::all([annotated.clone(), by_annotation]),
        Said::all([annotated.not(), by_field]),
    ]))
}

/// Whether a container's seccomp profile is one of these, by its field or its annotation.
pub(super) fn container_seccomp(which: Which<'_>) -> Result<Said, Why> {
    let mut fields = Vec::new();
    for (word, name) in WORDS {
        if which.means(name) {
            fields.push(format!(r#"[^{{}}]*"type":"{word}""#));
        }
    }
    let local: Vec<String> = which
        .set()
        .iter()
        .filter_map(|name| Some(name.strip_prefix("localhost/")?.to_owned()))
        .collect();
    let profile = match which {
        Which::In(_) => Which::In(&local).name()?,
        Which::NotIn(_) => Which::NotIn(&local).name()?,
    };
    let (kind, file) = (
        r#""type":"Localhost""#,
        format!(r#""localhostProfile":"{profile}""#),
    );
    fields.push(format!("({kind},{file}|{file},{kind})"));
    if which.means("localhost/") {
        fields.push(format!(r"{kind}\}}"));
    }
    let names = with_old_name(which);
    let names = match which {
        Which::In(_) => Which::In(&names),
        Which::NotIn(_) => Which::NotIn(&names),
    };
    Ok(Said::any([
        some_section(&format!(
            r#".*"seccompProfile":\{{({}).*"#,
            fields.join("|")
        )),
        annotation(SECCOMP_CONTAINER, &names.name()?),
    ]))
}

/// Whether the AppArmor profile of a container is one of these.
pub(super) fn app_armor(which: Which<'_>) -> Result<Said, Why> {
    let mut names = which.set().to_vec();
    let names = match which {
        Which::In(_) => {
            names.retain(|name| !name.is_empty());
            Which::In(&names).name()?
        }
        Which::NotIn(_) => {
            // An empty one is none.
            names.push(String::new());
            Which::NotIn(&names).name()?
        }
    };
    Ok(annotation(APPARMOR_CONTAINER, &names))
}

/// Whether a container has no AppArmor profile: here only, whether none has one.
pub(super) fn app_armor_unset() -> (Said, Option<Why>) {
    let any = annotation(APPARMOR_CONTAINER, r#"[^"].*"#);
    (any.not(), Some(UNSET))
}

/// Whether there is an annotation about a container with such a value.
fn annotation(prefix: &str, value: &str) -> Said {
    let prefix = escaped(prefix);
    let name = super::complement::REST;
    matches(
        ANNOTATIONS,
        &format!(r#".*"{prefix}{name}":"{value}"[,}}].*"#),
    )
}

/// Text in which some SELinux options are not those of the label.
pub(super) fn other_label(label: &str) -> Result<String, Why> {
    let parts: Vec<String> = label
        .split('|')
        .map(|part| part.replace("%p", "|").replace("%%", "%"))
        .collect();
    let [user, role, type_, level] = parts.as_slice() else {
        return Err(ODD_TEXT);
    };
    let other = |texts: Vec<String>| {
        let names: Vec<Name> = texts.into_iter().map(Name::Exact).collect();
        outside(&names).ok_or(ODD_TEXT)
    };
    Ok(json::other_selinux([
        ("user", other(vec![user.clone()])?, user.is_empty()),
        ("role", other(vec![role.clone()])?, role.is_empty()),
        ("type", other(vec![type_.clone()])?, type_.is_empty()),
        ("level", other(levels(level)?)?, level.is_empty()),
    ]))
}

/// The level with its categories in every order, which means nothing.
fn levels(level: &str) -> Result<Vec<String>, Why> {
    let Some((sensitivity, categories)) = level.split_once(':') else {
        return Ok(vec![level.to_owned()]);
    };
    let categories: Vec<&str> = categories.split(',').collect();
    if categories.len() > 4 {
        return Err(CATEGORIES);
    }
    let mut orders: Vec<Vec<&str>> = vec![Vec::new()];
    for category in categories {
        orders = orders
            .into_iter()
            .flat_map(|order| {
                (0..=order.len()).map(move |at| {
                    let mut order = order.clone();
                    order.insert(at, category);
                    order
                })
            })
            .collect();
    }
    let text = |order: Vec<&str>| format!("{sensitivity}:{}", order.join(","));
    Ok(orders.into_iter().map(text).collect())
}
