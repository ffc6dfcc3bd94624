//! Where events come from.

pub mod k8s_audit;
pub mod manifest;
pub mod syscall;
