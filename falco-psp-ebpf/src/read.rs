//! Reads of kernel memory through the offset table.
//!
//! Where the verifier knows an object's type, its members are read by plain loads, which it checks
//! against the kernel's types: they cost a twentieth of a helper's call. A load from memory that is
//! gone gives 0 (`BPF_PROBE_MEM` in `kernel/bpf/verifier.c`).

use core::num::NonZeroU64;

use aya_ebpf::helpers::{
    bpf_probe_read_kernel, bpf_probe_read_user, generated::bpf_get_current_task_btf,
};
use falco_psp_common::offsets::ABSENT;

/// An address in the kernel.
pub(crate) type Address = u64;

/// A kernel object whose type the verifier knows: it was reached from the current task or a hook's
/// argument by nothing but [`Object::follow`].
#[derive(Clone, Copy)]
pub(crate) struct Object(NonZeroU64);

/// What a member can be read as: the verifier takes no load that reaches over a member's end.
pub(crate) trait Member: Copy {}

impl Member for u32 {}
impl Member for u64 {}

impl Object {
    /// The current task.
    #[inline(always)]
    pub(crate) fn current_task() -> Option<Self> {
        // SAFETY: the helper has no requirements.
        let task = unsafe { bpf_get_current_task_btf() };
        NonZeroU64::new(task as Address).map(Self)
    }

    /// The member at `offset`; `None` if this kernel has no such member.
    #[inline(always)]
    pub(crate) fn load<T: Member>(self, offset: u32) -> Option<T> {
        if offset == ABSENT {
            return None;
        }
        let at = self.0.get().wrapping_add(u64::from(offset)) as *const T;
        // SAFETY: the verifier refuses the program if this is no load from a member of the
        // object's type, and has the load give 0 if the memory is gone.
        Some(unsafe { core::ptr::read_volatile(at) })
    }

    /// The object that the member at `offset` points to; `None` also if it is null.
    #[inline(always)]
    pub(crate) fn follow(self, offset: u32) -> Option<Self> {
        NonZeroU64::new(self.load::<u64>(offset)?).map(Self)
    }

    /// What a helper gives that the verifier knows the type of.
    #[inline(always)]
    pub(crate) fn from_ptr(pointer: *const u8) -> Option<Self> {
        NonZeroU64::new(pointer as Address).map(Self)
    }

    /// As what a helper takes that wants the type.
    #[inline(always)]
    pub(crate) fn as_ptr<T>(self) -> *mut T {
        self.0.get() as *mut T
    }

    /// Whether it is at this address.
    #[inline(always)]
    pub(crate) fn is_at(self, address: Address) -> bool {
        self.0.get() == address
    }

    /// Where it is, for what only a helper can read. `slot` is memory of a map: what comes out of
    /// it has no type any more, and the verifier lets any arithmetic be done with it.
    #[inline(always)]
    pub(crate) fn address(self, slot: &mut Address) -> Address {
        // SAFETY: a valid reference; volatile, or the detour would be optimised away.
        unsafe {
            core::ptr::write_volatile(slot, self.0.get());
            core::ptr::read_volatile(slot)
        }
    }
}

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

/// The `T` at `address` of the task's own memory; `None` if that cannot be read.
#[inline(always)]
pub(crate) fn read_user<T>(address: Address) -> Option<T> {
    // SAFETY: the helper checks the address itself and fails on a bad one.
    unsafe { bpf_probe_read_user(address as *const T) }.ok()
}

/// The pointer at `offset` bytes from `base`; `None` also if it is null.
#[inline(always)]
pub(crate) fn follow(base: Address, offset: u32) -> Option<Address> {
    read::<Address>(base, offset).filter(|address| *address != 0)
}

/// `length`, `MAX` at the most, so that verifiers see it which forget the comparison when the
/// compiler has put the value aside before (Linux 6.1): they take it for anything below `2 * MAX`,
/// so there has to be room for that. `slot` is memory of a map.
#[inline(always)]
pub(crate) fn bounded<const MAX: usize>(length: usize, slot: &mut u64) -> u32 {
    const { assert!(MAX.is_power_of_two()) };
    let length = if length > MAX { MAX } else { length };
    // SAFETY: a valid reference; volatile, or the mask would be optimised away.
    let length = unsafe {
        core::ptr::write_volatile(slot, length as u64);
        core::ptr::read_volatile(slot)
    };
    (length & (2 * MAX as u64 - 1)) as u32
}
