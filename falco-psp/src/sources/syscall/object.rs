//! The kernel object, embedded when the agent was built.

/// The object file; `None` in an agent that was built without it.
#[cfg(kernel_object)]
pub const OBJECT: Option<&[u8]> = Some(aya::include_bytes_aligned!(env!(
    "FALCO_PSP_EBPF_OBJECT_PATH"
)));

/// The object file; `None` in an agent that was built without it.
#[cfg(not(kernel_object))]
pub const OBJECT: Option<&[u8]> = None;
