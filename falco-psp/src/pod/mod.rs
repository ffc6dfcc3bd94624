//! What a pod asks for: the facts that a PodSecurityPolicy's verdict rests on.
//!
//! Facts are read off the pod alone and know nothing of any policy. Init, normal and ephemeral
//! containers count alike. A pod comes from outside: whatever has a type that it should not have
//! is as if it were not there.

mod capabilities;
mod containers;
mod profiles;
mod volumes;

use serde_json::Value;

pub use capabilities::CapabilityFacts;
pub use containers::ContainerFacts;
pub use profiles::{ProfileFacts, canonical as canonical_seccomp, label as selinux_label};
pub use volumes::{VolumeFacts, path_components};

/// The facts of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// Name; the generated name's beginning where there is no name yet.
    pub name: String,
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

impl PodFacts {
    /// Reads the facts of a pod object.
    pub fn of(pod: &Value) -> Self {
        let spec = &pod["spec"];
        let security = &spec["securityContext"];
        let flag = |name: &str| spec[name] == Value::Bool(true);
        let containers = all_containers(spec);
        let metadata = &pod["metadata"];
        let name = text(&metadata["name"]).or_else(|| text(&metadata["generateName"]));
        Self {
            name: name.unwrap_or_default().to_owned(),
            host_pid: flag("hostPID"),
            host_ipc: flag("hostIPC"),
            host_network: flag("hostNetwork"),
            images: containers
                .iter()
                .filter_map(|container| Some(text(&container["image"])?.to_owned()))
                .collect(),
            fs_group: security["fsGroup"].as_i64(),
            supplemental_groups: security["supplementalGroups"]
                .as_array()
                .map(|groups| groups.iter().filter_map(Value::as_i64).collect()),
            runtime_class: text(&spec["runtimeClassName"]).map(str::to_owned),
            sysctls: items(&security["sysctls"])
                .filter_map(|sysctl| Some(text(&sysctl["name"])?.to_owned()))
                .collect(),
            containers: ContainerFacts::of(spec, &containers),
            capabilities: CapabilityFacts::of(&containers),
            volumes: VolumeFacts::of(spec, &containers),
            profiles: ProfileFacts::of(pod, &containers),
        }
    }
}

/// The init, normal and ephemeral containers of a pod's spec.
fn all_containers(spec: &Value) -> Vec<&Value> {
    ["initContainers", "containers", "ephemeralContainers"]
        .iter()
        .flat_map(|kind| items(&spec[*kind]))
        .collect()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

fn name(container: &Value) -> String {
    container["name"].as_str().unwrap_or_default().to_owned()
}
