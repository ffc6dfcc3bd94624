//! What the kubelet ordered of a runtime, as the verbose statuses of containerd and CRI-O tell it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::messages::PodSandboxStatusResponse;
use crate::container::posture::{HostPort, Posture, Protocol, Way, Why};
use crate::context::bundle;

/// What was ordered of a container's security (`LinuxContainerSecurityContext` of the interface).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SecurityContext {
    // Left out where it is false.
    pub(super) privileged: bool,
    seccomp: Option<SecurityProfile>,
    /// What old kubelets (before 1.22) say instead.
    seccomp_profile_path: String,
}

/// `SecurityProfile` of the interface, whose numbers are left out where they are 0.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SecurityProfile {
    profile_type: i64,
    localhost_ref: String,
}

impl SecurityContext {
    /// The seccomp profile that was ordered.
    pub(super) fn seccomp(&self) -> Option<String> {
        let profile = match &self.seccomp {
            None => self.seccomp_profile_path.as_str(),
            Some(profile) => match profile.profile_type {
                0 => "runtime/default",
                1 => "unconfined",
                2 => profile.localhost_ref.as_str(),
                _ => "",
            },
        };
        (!profile.is_empty()).then(|| bundle::seccomp_profile(profile))
    }
}

/// What the kubelet ordered for a pod as a whole; `None` where the runtime does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SandboxOrders {
    /// Names of sysctls, sorted.
    sysctls: Option<Vec<String>>,
    host_ports: Option<Vec<HostPort>>,
}

/// What containerd and CRI-O add to a sandbox's status.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SandboxInfo<'a> {
    /// containerd's: what the kubelet ordered.
    config: Option<SandboxConfig>,
    #[serde(borrow, rename = "runtimeSpec")]
    runtime_spec: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SandboxConfig {
    port_mappings: Vec<PortMapping>,
    linux: Option<LinuxSandboxConfig>,
}

/// Numbers are left out where they are 0, and so is TCP, which is 0.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PortMapping {
    protocol: i64,
    container_port: i64,
    host_port: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LinuxSandboxConfig {
    sysctls: BTreeMap<String, String>,
}

impl SandboxOrders {
    pub(super) fn of(response: &PodSandboxStatusResponse) -> Self {
        let text = response.info.get("info").map_or("{}", String::as_str);
        let info: SandboxInfo<'_> = serde_json::from_str(text).unwrap_or_else(|error| {
            tracing::debug!(%error, "a sandbox's verbose status makes no sense");
            SandboxInfo::default()
        });
        if let Some(config) = info.config {
            let sysctls = config.linux.unwrap_or_default().sysctls;
            let mappings = config.port_mappings.iter();
            return Self {
                sysctls: Some(sysctls.into_keys().collect()),
                host_ports: Some(mappings.filter_map(PortMapping::host_port).collect()),
            };
        }
        let spec = info.runtime_spec;
        let bundle = spec.and_then(|spec| bundle::parse(spec.get().as_bytes()).ok());
        bundle.map_or_else(Self::default, |bundle| Self {
            sysctls: Some(bundle.sysctls),
            host_ports: bundle.host_ports,
        })
    }

    pub(super) fn add_to(&self, posture: &mut Posture) {
        if let Some(sysctls) = &self.sysctls {
            posture.sysctls.found.clone_from(sysctls);
            posture.sysctls.missing = None;
        }
        if let Some(mapped) = &self.host_ports {
            let ports = &mut posture.host_ports;
            ports
                .found
                .retain(|port| matches!(port.way, Way::Listens(_)));
            ports.found.splice(0..0, mapped.iter().copied());
            if ports.missing == Some(Why::NotTold) {
                ports.missing = None;
            }
        }
    }
}

impl PortMapping {
    fn host_port(&self) -> Option<HostPort> {
        let protocol = match self.protocol {
            1 => Protocol::Udp,
            2 => Protocol::Sctp,
            _ => Protocol::Tcp,
        };
        bundle::mapped_port(self.host_port, self.container_port, protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kubelet_ordered_does_not_replace_who_listens() {
        let listens = HostPort {
            port: 80,
            protocol: Protocol::Tcp,
            way: Way::Listens("0.0.0.0".parse().unwrap()),
        };
        let mapped = bundle::mapped_port(80, 80, Protocol::Tcp).unwrap();
        let orders = SandboxOrders {
            host_ports: Some(vec![mapped]),
            sysctls: None,
        };
        let mut posture = Posture::default();
        posture.host_ports.found = vec![listens];
        for _ in 0..2 {
            orders.add_to(&mut posture);
            assert_eq!(posture.host_ports.found, [mapped, listens]);
        }
    }
}
