//! Where events come from.

pub mod manifest;
pub mod syscall;
