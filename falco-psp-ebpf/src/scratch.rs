//! Putting a record together: the fixed part, then the tails as far as they are used.

use aya_ebpf::helpers::generated::{
    bpf_probe_read_kernel, bpf_probe_read_kernel_str, bpf_probe_read_user, bpf_probe_read_user_str,
};
use falco_psp_common::record::{Fixed, MAX_GROUPS, tail};

use crate::{
    posture::Key,
    read::{Address, bounded},
};

/// Room for tails. A tail begins below `TAIL_START_LIMIT` and is shorter than the rest, also when
/// the verifier takes it for twice as long: that is what lets it see that nothing is written past
/// the end.
const TAIL_ROOM: usize = 12 * 1024;
const TAIL_START_LIMIT: usize = 8 * 1024;

/// How many numbers [`Scratch::forget`] takes at the most.
const NUMBERS: usize = 5;

/// Room for one record.
#[repr(C)]
pub(crate) struct Scratch {
    /// What counts for the posture and has no fixed length: see [`crate::posture`].
    pub(crate) key: Key,
    /// See [`crate::read::Object::address`].
    pub(crate) address: Address,
    /// See [`Scratch::forget`].
    numbers: [u64; NUMBERS],
    pub(crate) fixed: Fixed,
    tails: [u8; TAIL_ROOM],
}

impl Scratch {
    /// The same numbers, of which the verifier does not know what it knew before: so paths on which it
    /// knew different things of them become one, and what follows is walked once.
    #[inline(always)]
    pub(crate) fn forget<const COUNT: usize>(&mut self, numbers: [u64; COUNT]) -> [u64; COUNT] {
        const { assert!(COUNT <= NUMBERS) };
        let mut forgotten = numbers;
        for (slot, number) in self.numbers.iter_mut().zip(&mut forgotten) {
            // SAFETY: valid references; volatile, or the detour would be optimised away.
            unsafe {
                core::ptr::write_volatile(slot, *number);
                *number = core::ptr::read_volatile(slot);
            }
        }
        forgotten
    }
}

/// Where the bytes of a tail come from.
#[derive(Clone, Copy)]
pub(crate) enum Memory {
    Kernel,
    User,
}

/// Writes tails one after the other.
pub(crate) struct Tails<'a> {
    scratch: &'a mut Scratch,
    used: usize,
}

impl<'a> Tails<'a> {
    #[inline(always)]
    pub(crate) fn new(scratch: &'a mut Scratch) -> Self {
        scratch.fixed.tails = [0; tail::COUNT];
        Self { scratch, used: 0 }
    }

    /// Bytes of tails so far.
    #[inline(always)]
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// The whole record.
    #[inline(always)]
    pub(crate) fn scratch(&mut self) -> &mut Scratch {
        self.scratch
    }

    #[inline(always)]
    fn end(&mut self) -> *mut u8 {
        let at = self.used & (TAIL_START_LIMIT - 1);
        // SAFETY: `at` is below `TAIL_START_LIMIT`, which is inside the array.
        unsafe { self.scratch.tails.as_mut_ptr().add(at) }
    }

    #[inline(always)]
    fn grow(&mut self, which: usize, length: usize) {
        self.used += length;
        self.scratch.fixed.tails[which] += length as u16;
    }

    /// Appends the string at `address` with its NUL, `MAX` bytes at the most, to tail `which`;
    /// how many bytes that were, 0 if it could not be read.
    #[inline(always)]
    pub(crate) fn string<const MAX: usize>(
        &mut self,
        which: usize,
        memory: Memory,
        address: Address,
    ) -> usize {
        const { assert!(MAX <= TAIL_ROOM - TAIL_START_LIMIT) };
        let to = self.end().cast();
        // SAFETY: `MAX` bytes fit behind any tail's start; the helpers check the source.
        let length = unsafe {
            match memory {
                Memory::Kernel => bpf_probe_read_kernel_str(to, MAX as u32, address as *const _),
                Memory::User => bpf_probe_read_user_str(to, MAX as u32, address as *const _),
            }
        };
        let length = if length < 0 || length > MAX as i64 {
            0
        } else {
            length as usize
        };
        self.grow(which, length);
        length
    }

    /// Appends `length` bytes, `MAX` at the most, to tail `which`; whether they could be read.
    #[inline(always)]
    pub(crate) fn bytes<const MAX: usize>(
        &mut self,
        which: usize,
        memory: Memory,
        address: Address,
        length: usize,
    ) -> bool {
        const { assert!(2 * MAX <= TAIL_ROOM - TAIL_START_LIMIT) };
        let length = bounded::<MAX>(length, &mut self.scratch.address);
        let to = self.end().cast();
        // SAFETY: `MAX` bytes fit behind any tail's start; the helpers check the source.
        let result = unsafe {
            match memory {
                Memory::Kernel => bpf_probe_read_kernel(to, length, address as *const _),
                Memory::User => bpf_probe_read_user(to, length, address as *const _),
            }
        };
        if result != 0 {
            return false;
        }
        self.grow(which, length as usize);
        true
    }

    /// Appends the supplementary groups, `record::MAX_GROUPS` at the most.
    #[inline(always)]
    pub(crate) fn groups(&mut self, gids: Address, count: u32) -> bool {
        const SIZE: usize = 4 * MAX_GROUPS;
        self.bytes::<SIZE>(tail::GROUPS, Memory::Kernel, gids, 4 * count as usize)
    }
}
