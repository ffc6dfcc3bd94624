//! What a pod asks for: the facts that a PodSecurityPolicy's verdict rests on.
//!
//! Facts are read off the pod alone and know nothing of any policy. Init, normal and ephemeral
//! containers count alike.

mod capabilities;
mod containers;
mod model;
mod named;
mod profiles;
mod volumes;

pub use capabilities::CapabilityFacts;
pub use containers::ContainerFacts;
pub(crate) use model::or_default;
pub use model::{Pod, Text};
pub use named::Named;
pub use profiles::{ProfileFacts, canonical as canonical_seccomp, label as selinux_label};
pub use volumes::{VolumeFacts, path_components, path_of_components};

use model::Container;

/// The facts of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// Name; the generated name's beginning and `*` where there is no name yet.
    pub name: String,
    /// The workload that it belongs to: that of its controller, or the pod itself.
    pub workload: Workload,
    /// Whether all of the pod is known. The subresource `ephemeralcontainers` of API servers
    /// before 1.22 has nothing but these containers.
    pub whole: bool,
    /// `spec.hostPID`
    pub host_pid: bool,
    /// `spec.hostIPC`
    pub host_ipc: bool,
    /// `spec.hostNetwork`
    pub host_network: bool,
    /// Images of all containers.
    pub images: Vec<String>,
    /// `spec.securityContext.fsGroup`
    pub fs_group: Option<i64>,
    /// `spec.securityContext.supplementalGroups`; an empty list is not the same as none.
    pub supplemental_groups: Option<Vec<i64>>,
    /// `spec.runtimeClassName`
    pub runtime_class: Option<String>,
    /// Names of `spec.securityContext.sysctls`
    pub sysctls: Vec<String>,
    /// What the containers ask for.
    pub containers: ContainerFacts,
    /// Their capabilities.
    pub capabilities: CapabilityFacts,
    /// Volumes.
    pub volumes: VolumeFacts,
    /// SELinux, seccomp and AppArmor.
    pub profiles: ProfileFacts,
}

/// Kind and name of what a user would change to change a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload {
    /// `Deployment`, `DaemonSet`, `Pod`, ...
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl PodFacts {
    /// Reads the facts of a pod object.
    pub fn of(pod: &Pod<'_>) -> Self {
        let spec = &pod.spec;
        let security = &spec.security_context;
        let containers: Vec<&Container<'_>> = pod.containers().collect();
        let is_whole = &*pod.kind != "EphemeralContainers";
        let name = pod_name(pod);
        let mut facts = Self {
            workload: workload(pod, &name),
            name,
            whole: is_whole,
            host_pid: spec.host_pid,
            host_ipc: spec.host_ipc,
            host_network: spec.host_network,
            images: containers
                .iter()
                .filter(|container| !container.image.is_empty())
                .map(|container| container.image.to_string())
                .collect(),
            fs_group: security.fs_group,
            supplemental_groups: security.supplemental_groups.clone(),
            runtime_class: Some(&*spec.runtime_class_name)
                .filter(|class| !class.is_empty())
                .map(str::to_owned),
            sysctls: security
                .sysctls
                .iter()
                .filter(|sysctl| !sysctl.name.is_empty())
                .map(|sysctl| sysctl.name.to_string())
                .collect(),
            containers: ContainerFacts::of(spec, &containers),
            capabilities: CapabilityFacts::of(&containers),
            volumes: VolumeFacts::of(&spec.volumes, &containers),
            profiles: ProfileFacts::of(pod, &containers),
        };
        if !is_whole {
            facts.forget_unknown();
        }
        facts
    }

    /// What containers do not say, the pod may say, but it is not known.
    fn forget_unknown(&mut self) {
        self.containers.without_user.clear();
        self.containers.without_user_and_non_root.clear();
        self.containers.without_group.clear();
        self.profiles.without_app_armor.clear();
    }
}

fn pod_name(pod: &Pod<'_>) -> String {
    let metadata = &pod.metadata;
    match (&*metadata.name, &*metadata.generate_name) {
        ("", "") => String::new(),
        ("", begin) => format!("{begin}*"),
        (name, _) => name.to_owned(),
    }
}

fn workload(pod: &Pod<'_>, name: &str) -> Workload {
    let metadata = &pod.metadata;
    let mut owners = metadata.owner_references.iter();
    let Some(owner) = owners.find(|owner| owner.controller) else {
        return Workload {
            kind: "Pod".to_owned(),
            name: name.to_owned(),
        };
    };
    // A Deployment's ReplicaSet ends in the hash of its template; its pods have it as a label.
    let hash = &*metadata.labels.pod_template_hash;
    let deployment = owner.name.strip_suffix(hash);
    let deployment = deployment.and_then(|name| name.strip_suffix('-'));
    match deployment {
        Some(name) if &*owner.kind == "ReplicaSet" && !hash.is_empty() => Workload {
            kind: "Deployment".to_owned(),
            name: name.to_owned(),
        },
        _ => Workload {
            kind: owner.kind.to_string(),
            name: owner.name.to_string(),
        },
    }
}
