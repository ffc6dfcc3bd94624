//! What confines a container besides its namespaces: profiles and labels, what is masked in
//! `/proc`, sysctls, and the ports of the host that it takes.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::control::Control;

/// What confines a container, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Posture {
    /// The seccomp profile in the words of a policy's annotation: `unconfined`,
    /// `runtime/default`, `localhost/<name>`.
    pub seccomp: Fact<String>,
    /// The AppArmor profile in the same words.
    pub app_armor: Fact<String>,
    /// The SELinux label.
    pub se_linux: Fact<SeLinuxLabel>,
    /// What is masked in `/proc`.
    pub proc_mount: Fact<ProcMount>,
    /// The names of the sysctls that the runtime was told to set for it and its pod.
    pub sysctls: Facts<String>,
    /// The ports of the host that lead to it or its pod.
    pub host_ports: Facts<HostPort>,
    /// Why it may have written to its root file system without being seen.
    pub root_writes: Option<Why>,
}

impl Posture {
    /// What is not known, by the control that it matters for.
    pub fn unknown(&self) -> impl Iterator<Item = (Control, Why)> {
        let Self {
            seccomp,
            app_armor,
            se_linux,
            proc_mount,
            sysctls,
            host_ports,
            root_writes,
        } = self;
        [
            (Control::HostPorts, host_ports.missing),
            (Control::SeLinux, se_linux.unknown()),
            (Control::ReadOnlyRootFilesystem, *root_writes),
            (Control::Sysctls, sysctls.missing),
            (Control::AllowedProcMountTypes, proc_mount.unknown()),
            (Control::Seccomp, seccomp.unknown()),
            (Control::AppArmor, app_armor.unknown()),
        ]
        .into_iter()
        .filter_map(|(control, why)| Some((control, why?)))
    }
}

/// Something that is known, or the reason why it is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact<T> {
    /// It is known.
    Known(T),
    /// It is not.
    Unknown(Why),
}

impl<T> Default for Fact<T> {
    fn default() -> Self {
        Self::Unknown(Why::default())
    }
}

impl<T> Fact<T> {
    /// The value, if it is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }

    /// Why it is not known.
    pub fn unknown(&self) -> Option<Why> {
        match self {
            Self::Known(_) => None,
            Self::Unknown(why) => Some(*why),
        }
    }
}

/// Any number of things of one kind, and the reason why there may be more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts<T> {
    /// Those that are known.
    pub found: Vec<T>,
    /// Why there may be more; `None` if these are all.
    pub missing: Option<Why>,
}

impl<T> Default for Facts<T> {
    fn default() -> Self {
        Self {
            found: Vec::new(),
            missing: Some(Why::default()),
        }
    }
}

/// Why something is not known.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Nobody looked, as in recordings of versions that did not know of it.
    #[default]
    NotLookedAt,
    /// The kernel does not have it, or it is switched off.
    NotInKernel,
    /// The process had ended, and no bundle tells.
    Ended,
    /// A seccomp filter is in force, and nobody tells of which profile.
    Unnamed,
    /// The bundle of the pod's sandbox is not found.
    NoSandbox,
    /// The runtime does not tell.
    NotTold,
    /// The container's processes have more open files than are looked at.
    TooMany,
    /// The open files of a process may not be looked at.
    Unreadable,
    /// What the kubelet knows of a volume cannot be read.
    NoVolumeData,
    /// It has made an io_uring, and what is done by that makes no calls.
    IoUring,
}

impl Why {
    /// For a summary.
    pub fn describe(self) -> &'static str {
        match self {
            Self::NotLookedAt => "nobody looked",
            Self::NotInKernel => "not in force in this kernel",
            Self::Ended => "its process had ended",
            Self::Unnamed => "nobody tells the name of the profile in force",
            Self::NoSandbox => "no bundle of the pod's sandbox",
            Self::NotTold => "the runtime does not tell",
            Self::TooMany => "too many open files",
            Self::Unreadable => "open files cannot be read",
            Self::NoVolumeData => "no vol_data.json of the kubelet",
            Self::IoUring => "it uses io_uring, whose operations are not seen",
        }
    }
}

/// What is masked in a container's `/proc`, in the words of `allowedProcMountTypes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcMount {
    /// Parts of it are covered or read-only.
    Default,
    /// Nothing is.
    Unmasked,
}

impl ProcMount {
    /// `Unmasked` unless something is `masked`.
    pub fn of(masked: bool) -> Self {
        if masked {
            Self::Default
        } else {
            Self::Unmasked
        }
    }

    /// The policy's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "Default",
            Self::Unmasked => "Unmasked",
        }
    }
}

/// The label of a process or container, as SELinux has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SeLinuxLabel {
    /// User: `system_u`.
    pub user: String,
    /// Role: `system_r`.
    pub role: String,
    /// Type: `container_t`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Level, see [`selinux_level`]; empty where the kernel has none.
    pub level: String,
}

impl SeLinuxLabel {
    /// Reads `user:role:type:level`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim_end_matches(['\0', '\n']);
        let mut parts = text.splitn(4, ':').map(str::to_owned);
        let (user, role, type_) = (parts.next()?, parts.next()?, parts.next()?);
        let level = parts.next().map(|level| selinux_level(&level));
        let whole = ![&user, &role, &type_].iter().any(|part| part.is_empty());
        whole.then(|| Self {
            user,
            role,
            type_,
            level: level.unwrap_or_default(),
        })
    }
}

/// A level so that equal ones are equal texts: the kernel writes `c1,c2,c3` as `c1.c3`, and a policy
/// may have any order. `s0:c1,c2`, `s0-s0:c0.c1023`.
pub fn selinux_level(level: &str) -> String {
    let ends: Vec<String> = level.splitn(2, '-').map(end_of_level).collect();
    match ends.as_slice() {
        [low, high] if low == high => low.clone(),
        ends => ends.join("-"),
    }
}

/// One end of a level: the sensitivity, and the categories one by one in their order.
fn end_of_level(end: &str) -> String {
    // SELinux has 1,024 categories as distributions configure it.
    const MOST: u32 = 16_384;
    let Some((sensitivity, categories)) = end.split_once(':') else {
        return end.to_owned();
    };
    let number = |name: &str| name.strip_prefix('c')?.parse::<u32>().ok();
    let mut numbers = Vec::new();
    for part in categories.split(',') {
        let range = match part.split_once('.') {
            Some((first, last)) => number(first).zip(number(last)),
            None => number(part).zip(number(part)),
        };
        match range {
            Some((first, last)) if first <= last && last < MOST => numbers.extend(first..=last),
            // Names that are translated, or nonsense: as it is.
            _ => return end.to_owned(),
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    let names: Vec<String> = numbers.iter().map(|number| format!("c{number}")).collect();
    format!("{sensitivity}:{}", names.join(","))
}

/// A port of the host that leads to a container or its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HostPort {
    /// The number.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// How it leads there.
    pub way: Way,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// How a port of the host leads to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// A process of the container, which is in the host's network, listens there.
    Listens(IpAddr),
    /// The runtime was told to lead it to this port of the pod.
    MappedTo(u16),
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            port,
            protocol,
            way,
        } = self;
        let protocol = match protocol {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        };
        match way {
            Way::Listens(IpAddr::V4(address)) => write!(f, "{protocol} {address}:{port}"),
            Way::Listens(IpAddr::V6(address)) => write!(f, "{protocol} [{address}]:{port}"),
            Way::MappedTo(inside) => write!(f, "{protocol} {port} (mapped to {inside})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_equal_whichever_way_their_level_is_written() {
        let label = SeLinuxLabel::parse("system_u:system_r:container_t:s0:c3,c1.c2\0\n").unwrap();
        assert_eq!((&*label.user, &*label.role), ("system_u", "system_r"));
        assert_eq!(
            (&*label.type_, &*label.level),
            ("container_t", "s0:c1,c2,c3")
        );
        assert_eq!(selinux_level("s0-s0:c0.c2"), "s0-s0:c0,c1,c2");
        assert_eq!(selinux_level("s0-s0"), "s0");
        for level in ["s0:SystemHigh", "s0:c5.c1", "s0:c1.c99999999", "s0:", ""] {
            assert_eq!(selinux_level(level), level);
        }
        let old = SeLinuxLabel::parse("u:r:t").unwrap();
        assert_eq!(old.level, "");
        for text in [
            "unconfined",
            "a:b",
            "::",
            "cri-containerd.apparmor.d (enforce)",
        ] {
            assert_eq!(SeLinuxLabel::parse(text), None, "{text}");
        }
    }

    #[test]
    fn ports_are_told_with_their_way() {
        let tell = |protocol, way| {
            let port = 80;
            HostPort {
                port,
                protocol,
                way,
            }
            .to_string()
        };
        let listens = |address: &str| Way::Listens(address.parse().unwrap());
        assert_eq!(tell(Protocol::Tcp, listens("0.0.0.0")), "TCP 0.0.0.0:80");
        assert_eq!(tell(Protocol::Udp, listens("::1")), "UDP [::1]:80");
        let mapped = Way::MappedTo(8080);
        assert_eq!(tell(Protocol::Sctp, mapped), "SCTP 80 (mapped to 8080)");
    }

    #[test]
    fn a_recording_keeps_it_and_an_old_one_leaves_it_unknown() {
        let posture: Posture = serde_json::from_str("{}").unwrap();
        let unknown: Vec<_> = posture.unknown().collect();
        assert_eq!(unknown.len(), 6);
        assert!(unknown.iter().all(|(_, why)| *why == Why::NotLookedAt));
        let known = Posture {
            seccomp: Fact::Known("unconfined".to_owned()),
            app_armor: Fact::Unknown(Why::NotInKernel),
            se_linux: Fact::Known(SeLinuxLabel::parse("u:r:t:s0:c1").unwrap()),
            proc_mount: Fact::Known(ProcMount::Unmasked),
            sysctls: Facts {
                found: vec!["kernel.msgmax".to_owned()],
                missing: None,
            },
            host_ports: Facts {
                found: [Way::MappedTo(8080), Way::Listens("::1".parse().unwrap())]
                    .map(|way| HostPort {
                        port: 80,
                        protocol: Protocol::Udp,
                        way,
                    })
                    .to_vec(),
                missing: Some(Why::TooMany),
            },
            root_writes: Some(Why::IoUring),
        };
        let text = serde_json::to_string(&known).unwrap();
        assert_eq!(serde_json::from_str::<Posture>(&text).unwrap(), known);
    }
}
