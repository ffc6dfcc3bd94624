//! SELinux labels, seccomp and AppArmor profiles.

use serde_json::Value;

use super::{name, text};

const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APPARMOR_CONTAINER: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Facts of pod and containers together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileFacts {
    /// SELinux labels of the pod and of containers, each once, see [`label`].
    pub labels: Vec<String>,
    /// Whether the pod has none.
    pub without_label: bool,
    /// The pod's seccomp profile: its annotation's, or else its field's.
    pub seccomp: Option<String>,
    /// Whether the annotation has it.
    pub seccomp_annotated: bool,
    /// The profiles that containers have without regard to the pod's annotation: their field's,
    /// their annotation's or the pod's field's.
    pub container_seccomp: Vec<String>,
    /// The AppArmor profiles of containers.
    pub app_armor: Vec<String>,
    /// Names of the containers without one.
    pub without_app_armor: Vec<String>,
}

impl ProfileFacts {
    pub(super) fn of(pod: &Value, containers: &[&Value]) -> Self {
        let annotations = &pod["metadata"]["annotations"];
        let security = &pod["spec"]["securityContext"];
        let annotated = text(&annotations[SECCOMP_POD]);
        let pod_field = seccomp_field(&security["seccompProfile"]);
        let mut facts = Self {
            without_label: !security["seLinuxOptions"].is_object(),
            seccomp: annotated.map(canonical).or_else(|| pod_field.clone()),
            seccomp_annotated: annotated.is_some(),
            ..Self::default()
        };
        facts.add_label(&security["seLinuxOptions"]);
        for container in containers {
            let own = &container["securityContext"];
            facts.add_label(&own["seLinuxOptions"]);
            let name = name(container);
            let annotation = annotations[format!("{SECCOMP_CONTAINER}{name}")].as_str();
            facts.container_seccomp.extend(
                seccomp_field(&own["seccompProfile"])
                    .or_else(|| annotation.map(canonical))
                    .or_else(|| pod_field.clone()),
            );
            match text(&annotations[format!("{APPARMOR_CONTAINER}{name}")]) {
                Some(profile) => facts.app_armor.push(profile.to_owned()),
                None => facts.without_app_armor.push(name),
            }
        }
        facts
    }

    fn add_label(&mut self, options: &Value) {
        if !options.is_object() {
            return;
        }
        let part = |key: &str| options[key].as_str().unwrap_or_default();
        let label = label(part("user"), part("role"), part("type"), part("level"));
        if !self.labels.contains(&label) {
            self.labels.push(label);
        }
    }
}

/// An SELinux label as one text: two are equal if admission takes them for equal, which ignores
/// the order of categories.
pub fn label(user: &str, role: &str, type_: &str, level: &str) -> String {
    let level = match level.split_once(':') {
        Some((sensitivity, categories)) => {
            let mut categories: Vec<&str> = categories.split(',').collect();
            categories.sort_unstable();
            format!("{sensitivity}:{}", categories.join(","))
        }
        None => level.to_owned(),
    };
    let parts = [user, role, type_, &level];
    parts
        .map(|part| part.replace('%', "%%").replace('|', "%p"))
        .join("|")
}

/// The annotation's word for a profile given by the field (`SeccompAnnotationForField` of
/// pkg/api/pod/util.go).
fn seccomp_field(profile: &Value) -> Option<String> {
    match profile["type"].as_str()? {
        "Unconfined" => Some("unconfined".to_owned()),
        "RuntimeDefault" => Some("runtime/default".to_owned()),
        "Localhost" => {
            let path = profile["localhostProfile"].as_str().unwrap_or_default();
            Some(format!("localhost/{path}"))
        }
        _ => None,
    }
}

/// `docker/default` is an old name.
pub fn canonical(profile: &str) -> String {
    match profile {
        "docker/default" => "runtime/default",
        profile => profile,
    }
    .to_owned()
}
