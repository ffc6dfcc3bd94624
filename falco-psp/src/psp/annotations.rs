//! The annotations of a policy that mean something: seccomp, AppArmor, and our own scope.

use super::model::{AllowedNames, AppArmor, Scope, Seccomp};
use super::reader::{Field, Reader};
use crate::diagnostic::nearest;
use crate::yaml;

const SECCOMP_ALLOWED: &str = "seccomp.security.alpha.kubernetes.io/allowedProfileNames";
const SECCOMP_DEFAULT: &str = "seccomp.security.alpha.kubernetes.io/defaultProfileName";
const APP_ARMOR_ALLOWED: &str = "apparmor.security.beta.kubernetes.io/allowedProfileNames";
const APP_ARMOR_DEFAULT: &str = "apparmor.security.beta.kubernetes.io/defaultProfileName";
const IMAGES: &str = "falco-rules-psp-images";
const NAMESPACES: &str = "falco-rules-psp-namespaces";
const KNOWN: [&str; 6] = [
    SECCOMP_ALLOWED,
    SECCOMP_DEFAULT,
    APP_ARMOR_ALLOWED,
    APP_ARMOR_DEFAULT,
    IMAGES,
    NAMESPACES,
];

/// What the annotations say.
pub(super) struct Annotations {
    pub(super) scope: Scope,
    pub(super) seccomp: Seccomp,
    pub(super) app_armor: AppArmor,
}

impl Default for Annotations {
    fn default() -> Self {
        Self {
            scope: Scope::default(),
            seccomp: Seccomp {
                allowed: AllowedNames::Only(Vec::new()),
                default: None,
            },
            app_armor: AppArmor::default(),
        }
    }
}

pub(super) fn read(reader: &mut Reader, field: &Field<'_>) -> Annotations {
    let mut annotations = Annotations::default();
    let Some(object) = reader.map(field) else {
        return annotations;
    };
    for (key, field) in object.fields() {
        match key {
            IMAGES => annotations.scope.images = scope(reader, &field),
            NAMESPACES => annotations.scope.namespaces = scope(reader, &field),
            SECCOMP_ALLOWED => {
                let profiles = profiles(reader, &field, |name| name == "*" || is_seccomp(name));
                annotations.seccomp.allowed = if profiles.iter().any(|name| name == "*") {
                    AllowedNames::Any
                } else {
                    AllowedNames::Only(profiles)
                };
            }
            SECCOMP_DEFAULT => {
                annotations.seccomp.default = profile(reader, &field, is_seccomp);
            }
            APP_ARMOR_ALLOWED => {
                annotations.app_armor.allowed = Some(profiles(reader, &field, is_app_armor));
            }
            APP_ARMOR_DEFAULT => {
                annotations.app_armor.default = profile(reader, &field, is_app_armor);
            }
            other => {
                if reader.string(&field).is_some()
                    && let Some(meant) = nearest(other, KNOWN).filter(|_| is_ours(other))
                {
                    let message = format!("the annotation \"{other}\" means nothing here");
                    reader.warning(field.position(), message);
                    reader.help(format!("did you mean \"{meant}\"?"));
                }
            }
        }
    }
    if let (Some(default), AllowedNames::Only(allowed)) =
        (&annotations.seccomp.default, &annotations.seccomp.allowed)
        && !allowed.contains(default)
        && let Some(field) = object.field(SECCOMP_DEFAULT)
    {
        let message = format!(
            "{SECCOMP_DEFAULT}: admission sets the profile \"{default}\" and then denies it, for \
             allowedProfileNames does not have it"
        );
        reader.warning(field.position(), message);
    }
    annotations
}

/// Whether an annotation seems to be meant for this tool or for the admission of policies.
fn is_ours(name: &str) -> bool {
    ["falco", "seccomp.", "apparmor."]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

fn is_seccomp(name: &str) -> bool {
    match name.strip_prefix("localhost/") {
        Some(path) => !path.starts_with('/') && path.split('/').all(|part| part != ".."),
        None => matches!(name, "runtime/default" | "docker/default" | "unconfined"),
    }
}

fn is_app_armor(name: &str) -> bool {
    name.starts_with("localhost/") || matches!(name, "" | "runtime/default" | "unconfined")
}

fn profile(reader: &mut Reader, field: &Field<'_>, fine: fn(&str) -> bool) -> Option<String> {
    let profile = profiles(reader, field, fine).into_iter().next()?;
    (!profile.is_empty()).then_some(profile)
}

/// The profiles in an annotation, divided by commas.
fn profiles(reader: &mut Reader, field: &Field<'_>, fine: impl Fn(&str) -> bool) -> Vec<String> {
    let Some(text) = reader.string(field).filter(|text| !text.is_empty()) else {
        return Vec::new();
    };
    let names: Vec<&str> = text.split(',').collect();
    for name in names.iter().filter(|name| !fine(name)) {
        let message = format!("{}: \"{name}\" is no name of a profile", field.path);
        reader.error(field.position(), message);
        reader.help(if name.trim() == *name {
            "profiles are runtime/default, unconfined and localhost/<name>"
        } else {
            "write the list without blanks"
        });
    }
    names.into_iter().map(str::to_owned).collect()
}

/// The names in an annotation of ours: `[a, b]` or `a, b`.
fn scope(reader: &mut Reader, field: &Field<'_>) -> Vec<String> {
    if field.node.as_sequence().is_some() {
        reader.error(
            field.position(),
            format!("{} must be a string, but is a list", field.path),
        );
        reader.help("put the whole list in quotes: \"[a, b]\"");
        return Vec::new();
    }
    let Some(text) = reader.string(field) else {
        return Vec::new();
    };
    let text = text.trim();
    let names = if text.starts_with('[') {
        bracketed(text)
    } else {
        let names = text.split(',').map(|name| name.trim().to_owned());
        Some(names.filter(|name| !name.is_empty()).collect())
    };
    match names {
        None => {
            let message = format!("{}: {text:?} is no list of names", field.path);
            reader.error(field.position(), message);
            reader.help("write \"[a, b]\" or \"a, b\"");
            Vec::new()
        }
        Some(names) => {
            if names.is_empty() {
                let message = format!("{} is empty: the rules are not limited by it", field.path);
                reader.warning(field.position(), message);
            }
            names
        }
    }
}

/// The names in a list in YAML's or JSON's notation.
fn bracketed(text: &str) -> Option<Vec<String>> {
    let documents = yaml::parse(&"".into(), text).ok()?;
    let [document] = documents.as_slice() else {
        return None;
    };
    let names = document.as_sequence()?.iter();
    names
        .map(|name| Some(name.as_text()?.into_owned()).filter(|name| !name.is_empty()))
        .collect()
}
