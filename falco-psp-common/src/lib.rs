//! The records that cross from the kernel to the agent, and what both sides must agree on.
#![no_std]

pub mod capability;
