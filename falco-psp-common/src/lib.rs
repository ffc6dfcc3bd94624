//! The records that cross from the kernel to the agent, and what both sides must agree on.
//!
//! Everything here is plain data: `#[repr(C)]`, integers and arrays, padding spelled out, sizes
//! asserted.
#![no_std]
#![forbid(unsafe_code)]

pub mod capability;
pub mod ledger;
pub mod offsets;
pub mod record;
