//! The controls: one for each thing that a PodSecurityPolicy governs.

use std::fmt;

macro_rules! controls {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// One thing that a PodSecurityPolicy governs.
        ///
        /// The same 22 names are used in rule names, tags, tables and template files.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Control {
            $(#[doc = concat!("`", $name, "`")] $variant),*
        }

        impl Control {
            /// All controls, in the order in which they are shown.
            pub const ALL: [Self; 22] = [$(Self::$variant),*];

            /// The control's name, as in the policy where it has one field there.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// The control of this name.
            pub fn parse(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

controls! {
    Privileged = "privileged",
    HostPid = "hostPID",
    HostIpc = "hostIPC",
    HostNetwork = "hostNetwork",
    HostPorts = "hostPorts",
    Volumes = "volumes",
    AllowedHostPaths = "allowedHostPaths",
    AllowedFlexVolumes = "allowedFlexVolumes",
    AllowedCsiDrivers = "allowedCSIDrivers",
    FsGroup = "fsGroup",
    RunAsUser = "runAsUser",
    RunAsGroup = "runAsGroup",
    SupplementalGroups = "supplementalGroups",
    SeLinux = "seLinux",
    ReadOnlyRootFilesystem = "readOnlyRootFilesystem",
    AllowPrivilegeEscalation = "allowPrivilegeEscalation",
    Capabilities = "capabilities",
    Sysctls = "sysctls",
    AllowedProcMountTypes = "allowedProcMountTypes",
    RuntimeClass = "runtimeClass",
    Seccomp = "seccomp",
    AppArmor = "apparmor",
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
