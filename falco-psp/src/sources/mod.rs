//! Where events come from.

pub mod syscall;
