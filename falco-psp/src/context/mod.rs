//! What surrounds an event: the container, its pod, its mounts, and the program of the process.

pub mod bundle;
pub mod cgroup;
pub mod cluster;
pub mod containers;
pub mod cri;
mod csi;
pub mod engine;
pub mod host;
pub mod lsm;
pub mod metadata;
pub mod mountinfo;
pub mod paths;
mod posture;
pub mod processes;
pub mod sockets;
pub mod volumes;
