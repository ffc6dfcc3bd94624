//! Reads of kernel memory through the offset table.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use falco_psp_common::offsets::ABSENT;

/// An address in the kernel.
pub(crate) type Address = u64;

/// The `T` at `offset` bytes from `base`; `None` if this kernel has no such member, `base` is null
/// or the memory cannot be read.
#[inline(always)]
pub(crate) fn read<T>(base: Address, offset: u32) -> Option<T> {
    if offset == ABSENT || base == 0 {
        return None;
    }
    let at = base.wrapping_add(u64::from(offset)) as *const T;
    // SAFETY: the helper checks the address itself and fails on a bad one.
    unsafe { bpf_probe_read_kernel(at) }.ok()
}

/// The pointer at `offset` bytes from `base`; `None` also if it is null.
#[inline(always)]
pub(crate) fn follow(base: Address, offset: u32) -> Option<Address> {
    read::<Address>(base, offset).filter(|address| *address != 0)
}
