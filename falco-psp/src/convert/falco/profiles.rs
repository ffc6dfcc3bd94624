//! seccomp, AppArmor and SELinux as conditions over the request's JSON.
//!
//! The API server takes no pod whose annotation and field for seccomp differ, nor an annotation
//! for AppArmor of a container that is not there (pkg/apis/core/validation/validation.go); so
//! what an annotation says of a container need not be connected with it here.

use super::atoms::{Said, equals, has_text, matches, matches_some, one_of, some_section_has};
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
    let profiles = match which {
        Which::In(_) => Which::In(&local).texts()?,
        Which::NotIn(_) => Which::NotIn(&local).texts()?,
    };
    let kind = r#""type":"Localhost""#;
    for profile in profiles {
        let file = format!(r#""localhostProfile":"{profile}""#);
        fields.push(format!("{kind},{file}"));
        fields.push(format!("{file},{kind}"));
    }
    if which.means("localhost/") {
        fields.push(format!(r"{kind}\}}"));
    }
    let names = with_old_name(which);
    let names = match which {
        Which::In(_) => Which::In(&names),
        Which::NotIn(_) => Which::NotIn(&names),
    };
    Ok(Said::any([
        some_section_has(&fields, |profile| {
            format!(r#".*"seccompProfile":\{{{profile}.*"#)
        }),
        annotation(SECCOMP_CONTAINER, &names.texts()?),
    ]))
}

/// Whether the AppArmor profile of a container is one of these.
pub(super) fn app_armor(which: Which<'_>) -> Result<Said, Why> {
    let mut names = which.set().to_vec();
    let names = match which {
        Which::In(_) => {
            names.retain(|name| !name.is_empty());
            Which::In(&names).texts()?
        }
        Which::NotIn(_) => {
            // An empty one is none.
            names.push(String::new());
            Which::NotIn(&names).texts()?
        }
    };
    Ok(annotation(APPARMOR_CONTAINER, &names))
}

/// Whether a container has no AppArmor profile: here only, whether none has one.
pub(super) fn app_armor_unset() -> (Said, Option<Why>) {
    let any = annotation(APPARMOR_CONTAINER, &[r#"[^"].*"#.to_owned()]);
    (any.not(), Some(UNSET))
}

/// Whether there is an annotation about a container with one of these values.
fn annotation(prefix: &str, values: &[String]) -> Said {
    let prefix = escaped(prefix);
    let name = super::complement::REST;
    matches_some(ANNOTATIONS, values, |value| {
        format!(r#".*"{prefix}{name}":"{value}"[,}}].*"#)
    })
}

/// SELinux options that are not those of a label.
pub(super) struct OtherLabel {
    /// Of each option: its key, expressions for other values, and whether it may be missing.
    options: [(&'static str, Vec<String>, bool); 4],
}

impl OtherLabel {
    pub(super) fn than(label: &str) -> Result<Self, Why> {
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
        Ok(Self {
            options: [
                ("user", other(vec![user.clone()])?, user.is_empty()),
                ("role", other(vec![role.clone()])?, role.is_empty()),
                ("type", other(vec![type_.clone()])?, type_.is_empty()),
                ("level", other(levels(level)?)?, level.is_empty()),
            ],
        })
    }

    /// Whether some options in this part of the event are such.
    pub(super) fn is_at(&self, pointer: &str) -> Said {
        let mut ways = Vec::new();
        for (key, others, may_lack) in &self.options {
            ways.push(matches_some(pointer, others, |value| {
                json::selinux_option(key, value)
            }));
            if !may_lack {
                let rest = self.options.iter().map(|(other, ..)| *other);
                let rest: Vec<&str> = rest.filter(|other| other != key).collect();
                let only = json::selinux_options_of(&rest.join("|"));
                ways.push(matches(pointer, &only));
            }
        }
        Said::any(ways)
    }
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
