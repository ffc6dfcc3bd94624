//! The PodSecurityPolicy: its model, and strict loading from a user's file.
//!
//! Whatever the API server would refuse is refused, with the place in the file; what it accepts
//! but admission cannot use is a warning.

mod annotations;
mod capability;
mod load;
mod model;
mod names;
mod reader;
mod spec;
mod strategies;

pub use capability::RUNTIME_DEFAULT_CAPABILITIES;
pub use load::{load, parse, read_file};
pub use model::{
    AllowedNames, AppArmor, Capabilities, GroupStrategy, HostPath, IdRange, Policy, PortRange,
    ProcMountType, RunAsUser, RuntimeClass, Scope, SeLinux, SeLinuxOptions, Seccomp, Sysctls,
    VolumeType, Volumes,
};

#[cfg(test)]
mod tests;
