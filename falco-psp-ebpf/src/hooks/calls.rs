//! A system call that may change credentials or mounts returned.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use falco_psp_common::{
    ledger::Fate,
    record::{Kind, MAX_GROUPS, call_class, flags, tail},
};

use crate::{
    emit, filter,
    maps::{CALLS, SCRATCH},
    offset,
    posture::{NEVER_EQUAL, Posture},
    read::{Address, follow},
    scratch::{Memory, Scratch, Tails},
    task::Task,
};

/// Bytes of an argument of mount, with its NUL, at the most.
const MAX_MOUNT_PATH: usize = 512;
/// Bytes of a file system type, with its NUL, at the most.
const MAX_FS_TYPE: usize = 64;

/// `sys_exit(struct pt_regs *regs, long ret)` (`include/trace/events/syscalls.h`): runs in the task
/// after every system call, so the first thing is to leave for all but a few.
#[btf_tracepoint(function = "sys_exit")]
pub(crate) fn calls(context: BtfTracePointContext) -> i32 {
    let registers: *const u8 = context.arg(0);
    let offset = offset!(regs_call) as usize;
    // SAFETY: the argument of a typed tracepoint: the verifier checks this load against the type
    // of `pt_regs`. Cheaper than a helper, and this line runs for every call of the machine.
    let call = unsafe { core::ptr::read_volatile(registers.add(offset).cast::<u64>()) };
    let kind = match class(call) {
        call_class::CREDENTIALS => Kind::Credentials,
        call_class::MOUNT => Kind::Mount,
        _ => return 0,
    };
    emit::count(kind, Fate::Seen);
    let Some(task) = Task::current() else {
        emit::count(kind, Fate::ReadFailed);
        return 0;
    };
    if !task.may_be_container() {
        emit::count(kind, Fate::Filtered);
        return 0;
    }
    let Some(scratch) = SCRATCH.get_ptr_mut(1) else {
        emit::count(kind, Fate::ReadFailed);
        return 0;
    };
    // SAFETY: this CPU's slot of this program: a program is not run again on a CPU where it is
    // still running.
    let scratch = unsafe { &mut *scratch };
    let result: i64 = context.arg(1);
    scratch.fixed.call = call as u32;
    scratch.fixed.result = result;
    if record(&task, kind, registers as Address, scratch).is_none() {
        emit::count(kind, Fate::ReadFailed);
    }
    #[cfg(feature = "debug-log")]
    aya_log_ebpf::debug!(
        &context,
        "call {} returned {}: pid {} in mount namespace {}",
        call,
        result,
        aya_ebpf::EbpfContext::tgid(&context),
        task.mnt_ns
    );
    0
}

#[inline(always)]
fn class(call: u64) -> u8 {
    if call >= call_class::TABLE as u64 {
        return call_class::NONE;
    }
    // SAFETY: `call` is below the table's length; volatile, since the agent fills the table.
    unsafe { core::ptr::read_volatile((&raw const CALLS).cast::<u8>().add(call as usize)) }
}

#[inline(always)]
fn record(task: &Task, kind: Kind, registers: Address, scratch: &mut Scratch) -> Option<()> {
    scratch.fixed.kind = kind as u16;
    scratch.fixed.capability = 0;
    scratch.fixed.padding = [0; 4];
    task.fill(scratch)?;
    if scratch.fixed.program_mnt_ns == 0 {
        scratch.fixed.program_mnt_ns = task.unmounted_program_mnt_ns();
    }
    let (gids, groups) = task.groups(&mut scratch.address)?;
    if groups as usize > MAX_GROUPS {
        scratch.fixed.flags |= flags::GROUPS_CUT;
    }
    // Every mount counts: what it changed stands in no posture.
    let posture = match kind {
        Kind::Mount => NEVER_EQUAL,
        _ => {
            let mut posture = Posture::of(scratch);
            posture.add_comm(&scratch.fixed.comm);
            posture.add_groups(scratch, gids, groups);
            posture.value()
        }
    };
    if filter::sent_before(posture) {
        emit::count(kind, Fate::Deduplicated);
        return Some(());
    }
    task.fill_rest(scratch)?;
    scratch.fixed.posture = posture;

    let mut tails = Tails::new(scratch);
    if !tails.groups(gids, groups) {
        return None;
    }
    if kind == Kind::Mount {
        append_mount(registers, &mut tails);
    }
    let used = tails.used();
    if emit::send(kind, tails.scratch(), used) {
        filter::remember(posture);
    }
    Some(())
}

/// Appends the strings that `mount` was called with. Only hints: the program may have changed them
/// since, and other calls of the family have other arguments, which read as nothing or as a path.
#[inline(always)]
fn append_mount(registers: Address, tails: &mut Tails<'_>) {
    if let Some(source) = follow(registers, offset!(regs_arg0)) {
        tails.string::<MAX_MOUNT_PATH>(tail::PATH, Memory::User, source);
    }
    if let Some(target) = follow(registers, offset!(regs_arg1)) {
        tails.string::<MAX_MOUNT_PATH>(tail::ARGUMENTS, Memory::User, target);
    }
    if let Some(fs_type) = follow(registers, offset!(regs_arg2)) {
        tails.string::<MAX_FS_TYPE>(tail::FS_TYPE, Memory::User, fs_type);
    }
}
