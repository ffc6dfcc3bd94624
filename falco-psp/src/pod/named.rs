//! Facts with the names of the containers and volumes that they are of: `web:80`.
//!
//! For people who read an alert. No verdict rests on them, so they are read off the pod only when
//! they are shown.

use super::model::{Container, Pod, VolumeSource};
use super::profiles::{self, APPARMOR_CONTAINER, SECCOMP_CONTAINER};
use super::volumes::volume_type;

/// A kind of fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// Ports of the host.
    HostPorts,
    /// User ids.
    Users,
    /// Group ids.
    Groups,
    /// Capabilities that are added.
    Capabilities,
    /// Kinds of `/proc`.
    ProcMounts,
    /// seccomp profiles.
    Seccomp,
    /// SELinux labels, `user:role:type:level`.
    SeLinux,
    /// AppArmor profiles.
    AppArmor,
    /// Types of volumes.
    VolumeTypes,
    /// Paths of the host.
    HostPaths,
    /// Drivers of flexVolumes.
    FlexDrivers,
    /// Drivers of inline csi volumes.
    CsiDrivers,
}

impl Named {
    /// Gives every such fact of a pod, after the name of its container or volume and a colon.
    pub fn of(self, pod: &Pod<'_>, give: &mut dyn FnMut(String)) {
        for container in pod.containers() {
            self.of_container(pod, container, &mut |value| {
                give(format!("{}:{value}", &*container.name));
            });
        }
        for volume in &pod.spec.volumes {
            let source = volume.source.as_ref().map(|(_, source)| source);
            let value: Option<&str> = match (self, source) {
                (Self::VolumeTypes, _) => Some(volume_type(volume)),
                (Self::HostPaths, Some(VolumeSource::HostPath(path))) => Some(path),
                (Self::FlexDrivers, Some(VolumeSource::Flex(driver))) => Some(driver),
                (Self::CsiDrivers, Some(VolumeSource::Csi(driver))) => Some(driver),
                _ => None,
            };
            if let Some(value) = value {
                give(format!("{}:{value}", &*volume.name));
            }
        }
    }

    fn of_container(self, pod: &Pod<'_>, container: &Container<'_>, give: &mut dyn FnMut(String)) {
        let own = &container.security_context;
        let of_pod = &pod.spec.security_context;
        let annotations = &pod.metadata.annotations;
        let id = |id: Option<i64>| id.map(|id| id.to_string());
        let value = match self {
            Self::HostPorts => {
                let ports = container.host_ports(pod.spec.host_network);
                ports.for_each(|port| give(port.to_string()));
                None
            }
            Self::Capabilities => {
                let added = own.capabilities.add.iter();
                added.for_each(|name| give(name.to_string()));
                None
            }
            Self::Users => id(own.run_as_user.or(of_pod.run_as_user)),
            Self::Groups => id(own.run_as_group.or(of_pod.run_as_group)),
            Self::ProcMounts => Some(container.proc_mount().to_owned()),
            Self::Seccomp => {
                let field = profiles::seccomp_field(own.seccomp_profile.as_ref());
                field
                    .or_else(|| {
                        let profile = annotations.get_of(SECCOMP_CONTAINER, &container.name)?;
                        Some(profile.to_owned())
                    })
                    .or_else(|| profiles::seccomp_field(of_pod.seccomp_profile.as_ref()))
            }
            Self::SeLinux => {
                let options = own.se_linux_options.as_ref();
                options.or(of_pod.se_linux_options.as_ref()).map(|label| {
                    let parts = [&label.user, &label.role, &label.type_, &label.level];
                    parts.map(|part| &**part).join(":")
                })
            }
            Self::AppArmor => annotations
                .get_of(APPARMOR_CONTAINER, &container.name)
                .filter(|profile| !profile.is_empty())
                .map(str::to_owned),
            Self::VolumeTypes | Self::HostPaths | Self::FlexDrivers | Self::CsiDrivers => None,
        };
        if let Some(value) = value {
            give(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fact_is_told_with_its_container_or_volume() {
        let pod = r#"{
            "metadata": {"annotations": {
                "container.apparmor.security.beta.kubernetes.io/b": "unconfined",
                "container.seccomp.security.alpha.kubernetes.io/b": "localhost/x"}},
            "spec": {
                "securityContext": {"runAsUser": 5, "runAsGroup": 6, "seccompProfile": {"type": "RuntimeDefault"}},
                "initContainers": [{"name": "i", "securityContext": {"runAsUser": 0,
                    "capabilities": {"add": ["A", "B"]}, "seLinuxOptions": {"type": "t", "level": "s0:c1"}}}],
                "containers": [{"name": "b", "ports": [{"containerPort": 80}, {"hostPort": 90}],
                    "securityContext": {"procMount": "Unmasked"}}],
                "volumes": [{"name": "v", "hostPath": {"path": "/p"}}, {"name": "w", "csi": {"driver": "d"}},
                    {"name": "x", "flexVolume": {"driver": "e"}}, {"name": "y"}]
            }}"#;
        let pod: Pod<'_> = serde_json::from_str(pod).unwrap();
        for (named, values) in [
            (Named::HostPorts, &["b:90"][..]),
            (Named::Users, &["i:0", "b:5"]),
            (Named::Groups, &["i:6", "b:6"]),
            (Named::Capabilities, &["i:A", "i:B"]),
            (Named::ProcMounts, &["i:Default", "b:Unmasked"]),
            (Named::Seccomp, &["i:runtime/default", "b:localhost/x"]),
            (Named::SeLinux, &["i:::t:s0:c1"]),
            (Named::AppArmor, &["b:unconfined"]),
            (
                Named::VolumeTypes,
                &["v:hostPath", "w:csi", "x:flexVolume", "y:emptyDir"],
            ),
            (Named::HostPaths, &["v:/p"]),
            (Named::FlexDrivers, &["x:e"]),
            (Named::CsiDrivers, &["w:d"]),
        ] {
            let mut found = Vec::new();
            named.of(&pod, &mut |text| found.push(text));
            assert_eq!(found, values, "{named:?}");
        }
    }
}
