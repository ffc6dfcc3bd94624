//! The system call that a task is in.

use falco_psp_common::{
    offsets::ABSENT,
    record::{COMPAT_CALL, call_class},
};

use crate::{
    maps::{CALLS, COMPAT_CALLS},
    offset,
    read::Object,
};

/// Bit of a call's number on x86_64 that says it is one of x32 (`__X32_SYSCALL_BIT`). Those have the
/// numbers of the others, as far as they are recorded, and their arguments.
const X32: u32 = 1 << 30;

/// A system call, known by the number of the 64-bit one.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    /// See `falco_psp_common::record::Fixed::call`.
    pub(crate) number: u32,
    registers: Object,
    /// All bits of a 32-bit call, else none.
    compat_mask: u64,
}

impl Call {
    /// The call with these registers; `None` outside of one.
    #[inline(always)]
    pub(crate) fn of(task: Object, registers: Object) -> Option<Self> {
        let number: u32 = registers.load(offset!(regs_call))?;
        // -1 outside of calls.
        if number.cast_signed() < 0 {
            return None;
        }
        let is_compat = is_compat(task);
        Some(Self {
            number: if is_compat {
                native(number)
            } else {
                number & !X32
            },
            registers,
            compat_mask: 0_u64.wrapping_sub(u64::from(is_compat)),
        })
    }

    /// Its `record::call_class`.
    #[inline(always)]
    pub(crate) fn class(self) -> u8 {
        entry(self.number) & !call_class::COMPAT
    }

    #[inline(always)]
    pub(crate) fn argument0(self) -> Option<u64> {
        self.argument(offset!(regs_arg0), offset!(regs_compat_arg0))
    }

    #[inline(always)]
    pub(crate) fn argument1(self) -> Option<u64> {
        self.argument(offset!(regs_arg1), offset!(regs_compat_arg1))
    }

    #[inline(always)]
    pub(crate) fn argument2(self) -> Option<u64> {
        self.argument(offset!(regs_arg2), offset!(regs_compat_arg2))
    }

    #[inline(always)]
    pub(crate) fn argument3(self) -> Option<u64> {
        self.argument(offset!(regs_arg3), offset!(regs_compat_arg3))
    }

    /// The register at `native`, or the lower half of the one at `compat`: the upper half of a 32-bit
    /// call's can be anything. Both are read: as a branch it would double the paths.
    #[inline(always)]
    fn argument(self, native: u32, compat: u32) -> Option<u64> {
        let native: u64 = self.registers.load(native)?;
        // Where that is not known, other calls are none the worse.
        let compat: u64 = self.registers.load(compat).unwrap_or(0);
        Some(native & !self.compat_mask | compat & self.compat_mask & u64::from(u32::MAX))
    }
}

/// Whether a call with these registers may be recorded: what costs least to find out, since this is
/// asked of every call of the machine.
#[inline(always)]
pub(crate) fn may_be_recorded(registers: Object) -> bool {
    // A load by type, cheaper than a helper.
    match registers.load::<u32>(offset!(regs_call)) {
        Some(number) => entry(number & !X32) != call_class::NONE,
        None => false,
    }
}

#[inline(always)]
fn entry(number: u32) -> u8 {
    if number as usize >= call_class::TABLE {
        return call_class::NONE;
    }
    // SAFETY: `number` is below the table's length; volatile, since the agent fills the table.
    unsafe { core::ptr::read_volatile((&raw const CALLS).cast::<u8>().add(number as usize)) }
}

/// Whether the task is in a call by the 32-bit entry, of a 32-bit program or not.
#[inline(always)]
fn is_compat(task: Object) -> bool {
    offset!(task_compat_mask) != ABSENT
        && task
            .load::<u32>(offset!(task_compat))
            .is_some_and(|bits| bits & offset!(task_compat_mask) != 0)
}

/// The number of the 64-bit call that does the same as this 32-bit one.
#[inline(always)]
fn native(number: u32) -> u32 {
    let native = if (number as usize) < call_class::TABLE {
        // SAFETY: `number` is below the table's length; volatile, since the agent fills the table.
        unsafe {
            core::ptr::read_volatile((&raw const COMPAT_CALLS).cast::<u16>().add(number as usize))
        }
    } else {
        call_class::NO_CALL
    };
    if native == call_class::NO_CALL {
        number | COMPAT_CALL
    } else {
        u32::from(native)
    }
}
