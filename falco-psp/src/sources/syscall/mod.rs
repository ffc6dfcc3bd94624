//! System calls and process state, seen by eBPF on this node. The only part that needs root.

pub mod btf;
pub mod calls;
pub mod compat;
pub mod decode;
pub mod hooks;
pub mod ledger;
pub mod load;
pub mod object;
pub mod offsets;
pub mod reader;
pub mod syscalls;
