//! What a PodSecurityPolicy says, with its defaults filled in.

use std::fmt;

use crate::control::Control;

/// A PodSecurityPolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `metadata.name`.
    pub name: String,
    /// What the rules are limited to.
    pub scope: Scope,
    /// Whether containers may be privileged.
    pub privileged: bool,
    /// Whether pods may share the host's pid namespace.
    pub host_pid: bool,
    /// Whether pods may share the host's ipc namespace.
    pub host_ipc: bool,
    /// Whether pods may share the host's network namespace.
    pub host_network: bool,
    /// The host ports that may be used; none if empty.
    pub host_ports: Vec<PortRange>,
    /// The volume types that may be used.
    pub volumes: Volumes,
    /// The host paths that hostPath volumes may mount; any if empty.
    pub allowed_host_paths: Vec<HostPath>,
    /// The flexVolume drivers that may be used; any if empty.
    pub allowed_flex_volumes: Vec<String>,
    /// The drivers that inline csi volumes may use; any if empty.
    pub allowed_csi_drivers: Vec<String>,
    /// `fsGroup`
    pub fs_group: GroupStrategy,
    /// `runAsUser`
    pub run_as_user: RunAsUser,
    /// `runAsGroup`; RunAsAny if absent.
    pub run_as_group: GroupStrategy,
    /// `supplementalGroups`
    pub supplemental_groups: GroupStrategy,
    /// `seLinux`
    pub se_linux: SeLinux,
    /// Whether the root file system must be read-only.
    pub read_only_root_filesystem: bool,
    /// Whether a process may gain more privileges than its parent has; true if unset.
    pub allow_privilege_escalation: bool,
    /// What admission sets where a pod says nothing of it.
    pub default_allow_privilege_escalation: Option<bool>,
    /// The three fields about capabilities.
    pub capabilities: Capabilities,
    /// The two fields about sysctls.
    pub sysctls: Sysctls,
    /// The kinds of `/proc` that may be asked for; only the default one if empty.
    pub allowed_proc_mount_types: Vec<ProcMountType>,
    /// `runtimeClass`; any class if absent.
    pub runtime_class: Option<RuntimeClass>,
    /// The seccomp annotations.
    pub seccomp: Seccomp,
    /// The AppArmor annotations.
    pub app_armor: AppArmor,
}

/// What the rules are limited to, from the annotations `falco-rules-psp-images` and
/// `falco-rules-psp-namespaces` and from the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Images; any if empty.
    pub images: Vec<String>,
    /// Namespaces; any if empty.
    pub namespaces: Vec<String>,
    /// Namespaces that are left out.
    pub exempt_namespaces: Vec<String>,
    /// What pods' labels must be: conditions about what pods do, which must all hold.
    pub labels: Vec<String>,
}

impl Policy {
    /// What the API server accepts and admission cannot use, so that the policy admits no pod:
    /// the control, and what it lacks (`NewSimpleStrategyFactory` of
    /// pkg/security/podsecuritypolicy/factory.go).
    pub fn unusable(&self) -> impl Iterator<Item = (Control, &'static str)> {
        let lacks_ranges =
            |strategy: &GroupStrategy| strategy.ranges().is_some_and(<[_]>::is_empty);
        [
            (
                Control::RunAsUser,
                "ranges",
                matches!(&self.run_as_user, RunAsUser::MustRunAs(ranges) if ranges.is_empty()),
            ),
            (
                Control::RunAsGroup,
                "ranges",
                lacks_ranges(&self.run_as_group),
            ),
            (
                Control::SeLinux,
                "seLinuxOptions",
                self.se_linux == SeLinux::MustRunAs(None),
            ),
            (Control::FsGroup, "ranges", lacks_ranges(&self.fs_group)),
            (
                Control::SupplementalGroups,
                "ranges",
                lacks_ranges(&self.supplemental_groups),
            ),
        ]
        .into_iter()
        .filter(|(_, _, lacks)| *lacks)
        .map(|(control, what, _)| (control, what))
    }
}

/// User or group ids from `min` to `max`, both included. `min` is never greater than `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The lowest id.
    pub min: u64,
    /// The highest id.
    pub max: u64,
}

impl fmt::Display for IdRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.min, self.max)
    }
}

/// Host ports from `min` to `max`, both included. `min` is never greater than `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The lowest port.
    pub min: u16,
    /// The highest port.
    pub max: u16,
}

/// `runAsUser`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunAsUser {
    /// The user id must be in a range. Without ranges admission cannot use the policy.
    MustRunAs(Vec<IdRange>),
    /// The user id must not be 0.
    MustRunAsNonRoot,
    /// Any user id.
    RunAsAny,
}

/// `runAsGroup`, `supplementalGroups` and `fsGroup`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupStrategy {
    /// The group ids must be in the ranges, and are set to the first one if unset. Without
    /// ranges admission cannot use the policy.
    MustRunAs(Vec<IdRange>),
    /// The group ids must be in the ranges, if there are any.
    MayRunAs(Vec<IdRange>),
    /// Any group ids.
    RunAsAny,
}

impl GroupStrategy {
    /// The ranges that the ids must be in; `None` if they may be any.
    pub fn ranges(&self) -> Option<&[IdRange]> {
        match self {
            Self::MustRunAs(ranges) | Self::MayRunAs(ranges) => Some(ranges),
            Self::RunAsAny => None,
        }
    }

    /// The strategy's name in the policy.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::MustRunAs(_) => "MustRunAs",
            Self::MayRunAs(_) => "MayRunAs",
            Self::RunAsAny => "RunAsAny",
        }
    }
}

/// `seLinux`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeLinux {
    /// The options must be these. Without options admission cannot use the policy.
    MustRunAs(Option<SeLinuxOptions>),
    /// Any options.
    RunAsAny,
}

/// An SELinux label. What is not given is "", which is a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeLinuxOptions {
    /// User part.
    pub user: String,
    /// Role part.
    pub role: String,
    /// Type part.
    pub type_: String,
    /// Level part.
    pub level: String,
}

/// `volumes`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Volumes {
    /// `*`: any type.
    Any,
    /// Only these types; none if empty.
    Only(Vec<VolumeType>),
}

impl Volumes {
    /// Whether volumes of this type may be used.
    pub fn allows(&self, volume_type: VolumeType) -> bool {
        match self {
            Self::Any => true,
            Self::Only(types) => types.contains(&volume_type),
        }
    }
}

macro_rules! named {
    ($(#[$attribute:meta])* $type:ident { $($variant:ident = $name:literal),* $(,)? }) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type {
            $(#[doc = concat!("`", $name, "`")] $variant),*
        }

        impl $type {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name in the policy.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// The one of this name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.name() == name)
            }
        }
    };
}

named! {
    /// A volume type, by its name in a policy. It is the key of a pod's volume, but for `cephFS`,
    /// which is `cephfs` there.
    VolumeType {
        AwsElasticBlockStore = "awsElasticBlockStore",
        AzureDisk = "azureDisk",
        AzureFile = "azureFile",
        CephFs = "cephFS",
        Cinder = "cinder",
        ConfigMap = "configMap",
        Csi = "csi",
        DownwardApi = "downwardAPI",
        EmptyDir = "emptyDir",
        Ephemeral = "ephemeral",
        Fc = "fc",
        FlexVolume = "flexVolume",
        Flocker = "flocker",
        GcePersistentDisk = "gcePersistentDisk",
        GitRepo = "gitRepo",
        Glusterfs = "glusterfs",
        HostPath = "hostPath",
        Iscsi = "iscsi",
        Nfs = "nfs",
        PersistentVolumeClaim = "persistentVolumeClaim",
        PhotonPersistentDisk = "photonPersistentDisk",
        PortworxVolume = "portworxVolume",
        Projected = "projected",
        Quobyte = "quobyte",
        Rbd = "rbd",
        ScaleIo = "scaleIO",
        Secret = "secret",
        StorageOs = "storageos",
        VsphereVolume = "vsphereVolume",
    }
}

named! {
    /// How `/proc` is mounted.
    ProcMountType {
        Default = "Default",
        Unmasked = "Unmasked",
    }
}

/// An entry of `allowedHostPaths`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPath {
    /// Allowed are this path and all below it.
    pub path_prefix: String,
    /// Whether it must be mounted read-only.
    pub read_only: bool,
}

/// Names that are allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedNames {
    /// `*`: any name.
    Any,
    /// Only these names; none if empty.
    Only(Vec<String>),
}

/// The three fields about capabilities. The names are the policy's, letter by letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// `allowedCapabilities`
    pub allowed: AllowedNames,
    /// `defaultAddCapabilities`
    pub default_add: Vec<String>,
    /// `requiredDropCapabilities`
    pub required_drop: Vec<String>,
}

/// The two fields about sysctls. An entry that ends in `*` is a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sysctls {
    /// `allowedUnsafeSysctls`
    pub allowed_unsafe: Vec<String>,
    /// `forbiddenSysctls`
    pub forbidden: Vec<String>,
}

/// `runtimeClass`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeClass {
    /// `allowedRuntimeClassNames`
    pub allowed: AllowedNames,
    /// `defaultRuntimeClassName`
    pub default: Option<String>,
}

/// The seccomp annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seccomp {
    /// `allowedProfileNames`. Without the annotation no profile is allowed, as if it were empty.
    pub allowed: AllowedNames,
    /// `defaultProfileName`
    pub default: Option<String>,
}

/// The AppArmor annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppArmor {
    /// `allowedProfileNames`; any profile if the annotation is absent, none if it is empty.
    pub allowed: Option<Vec<String>>,
    /// `defaultProfileName`
    pub default: Option<String>,
}

impl Policy {
    /// Whether the policy forbids anything in this control.
    pub fn restricts(&self, control: Control) -> bool {
        match control {
            Control::Privileged => !self.privileged,
            Control::HostPid => !self.host_pid,
            Control::HostIpc => !self.host_ipc,
            Control::HostNetwork => !self.host_network,
            Control::HostPorts => !self.allows_every_host_port(),
            Control::Volumes => self.volumes != Volumes::Any,
            Control::AllowedHostPaths => !self.allowed_host_paths.is_empty(),
            Control::AllowedFlexVolumes => !self.allowed_flex_volumes.is_empty(),
            Control::AllowedCsiDrivers => !self.allowed_csi_drivers.is_empty(),
            Control::FsGroup => self.fs_group != GroupStrategy::RunAsAny,
            Control::RunAsUser => self.run_as_user != RunAsUser::RunAsAny,
            Control::RunAsGroup => self.run_as_group != GroupStrategy::RunAsAny,
            Control::SupplementalGroups => self.supplemental_groups != GroupStrategy::RunAsAny,
            Control::SeLinux => self.se_linux != SeLinux::RunAsAny,
            Control::ReadOnlyRootFilesystem => self.read_only_root_filesystem,
            Control::AllowPrivilegeEscalation => !self.allow_privilege_escalation,
            Control::Capabilities => self.capabilities.allowed != AllowedNames::Any,
            Control::Sysctls => {
                !self.sysctls.forbidden.is_empty()
                    || !self.sysctls.allowed_unsafe.iter().any(|name| name == "*")
            }
            Control::AllowedProcMountTypes => !ProcMountType::ALL
                .iter()
                .all(|proc_mount| self.allowed_proc_mount_types.contains(proc_mount)),
            Control::RuntimeClass => self
                .runtime_class
                .as_ref()
                .is_some_and(|class| class.allowed != AllowedNames::Any),
            Control::Seccomp => self.seccomp.allowed != AllowedNames::Any,
            Control::AppArmor => self.app_armor.allowed.is_some(),
        }
    }

    fn allows_every_host_port(&self) -> bool {
        let mut ranges = self.host_ports.clone();
        ranges.sort_unstable_by_key(|range| range.min);
        // Port 0 stands for no host port.
        let reached = ranges.iter().fold(0_u32, |reached, range| {
            if u32::from(range.min) <= reached + 1 {
                reached.max(range.max.into())
            } else {
                reached
            }
        });
        reached >= u16::MAX.into()
    }
}
