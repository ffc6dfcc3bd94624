//! SELinux labels, seccomp and AppArmor profiles.

use super::model::{Container, Pod, SeLinuxOptions, SeccompProfile};

const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
pub(super) const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
pub(super) const APPARMOR_CONTAINER: &str = "container.apparmor.security.beta.kubernetes.io/";

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
    pub(super) fn of(pod: &Pod<'_>, containers: &[&Container<'_>]) -> Self {
        let annotations = &pod.metadata.annotations;
        let security = &pod.spec.security_context;
        let annotated = annotations
            .get(SECCOMP_POD)
            .filter(|profile| !profile.is_empty());
        let pod_field = seccomp_field(security.seccomp_profile.as_ref());
        let mut facts = Self {
            without_label: security.se_linux_options.is_none(),
            seccomp: annotated.map(canonical).or_else(|| pod_field.clone()),
            seccomp_annotated: annotated.is_some(),
            ..Self::default()
        };
        facts.add_label(security.se_linux_options.as_ref());
        for container in containers {
            let own = &container.security_context;
            facts.add_label(own.se_linux_options.as_ref());
            facts.container_seccomp.extend(
                seccomp_field(own.seccomp_profile.as_ref())
                    .or_else(|| {
                        let profile = annotations.get_of(SECCOMP_CONTAINER, &container.name);
                        profile.map(canonical)
                    })
                    .or_else(|| pod_field.clone()),
            );
            match annotations
                .get_of(APPARMOR_CONTAINER, &container.name)
                .filter(|profile| !profile.is_empty())
            {
                Some(profile) => facts.app_armor.push(profile.to_owned()),
                None => facts.without_app_armor.push(container.name.to_string()),
            }
        }
        facts
    }

    fn add_label(&mut self, options: Option<&SeLinuxOptions<'_>>) {
        let Some(options) = options else {
            return;
        };
        let label = label(&options.user, &options.role, &options.type_, &options.level);
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
pub(super) fn seccomp_field(profile: Option<&SeccompProfile<'_>>) -> Option<String> {
    let profile = profile?;
    match &*profile.type_ {
        "Unconfined" => Some("unconfined".to_owned()),
        "RuntimeDefault" => Some("runtime/default".to_owned()),
        "Localhost" => Some(format!("localhost/{}", &*profile.localhost_profile)),
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
