//! What surrounds an event: the container, its pod, its mounts, and the program of the process.

pub mod bundle;
pub mod cgroup;
pub mod cluster;
pub mod containers;
pub mod cri;
pub mod engine;
pub mod host;
pub mod metadata;
pub mod mountinfo;
pub mod processes;
pub mod volumes;
