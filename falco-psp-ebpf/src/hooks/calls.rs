//! A system call that may change credentials or mounts returned.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use falco_psp_common::{
    ledger::Fate,
    record::{Kind, MAX_GROUPS, call_class, flags, tail},
};

use super::files;
use crate::{
    call::{self, Call},
    emit, filter,
    maps::SCRATCH,
    posture::{NEVER_EQUAL, Posture},
    read::Object,
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
    let Some(registers) = Object::from_ptr(context.arg(0)) else {
        return 0;
    };
    if !call::may_be_recorded(registers) {
        return 0;
    }
    let Some(object) = Object::current_task() else {
        return 0;
    };
    let Some(call) = Call::of(object, registers) else {
        return 0;
    };
    let result: i64 = context.arg(1);
    let kind = match call.class() {
        call_class::NONE => return 0,
        call_class::CREDENTIALS => Kind::Credentials,
        call_class::MOUNT => Kind::Mount,
        _ if files::may_change(call, result) => Kind::File,
        _ => return 0,
    };
    emit::count(kind, Fate::Seen);
    let Some(task) = Task::of(object) else {
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
    scratch.fixed.call = call.number;
    scratch.fixed.result = result;
    let recorded = match kind {
        Kind::File => files::record(&task, call, scratch),
        _ => record(&task, kind, call, scratch),
    };
    if recorded.is_none() {
        emit::count(kind, Fate::ReadFailed);
    }
    #[cfg(feature = "debug-log")]
    aya_log_ebpf::debug!(
        &context,
        "call {} returned {}: pid {} in mount namespace {}",
        call.number,
        result,
        aya_ebpf::EbpfContext::tgid(&context),
        task.mnt_ns
    );
    0
}

#[inline(always)]
fn record(task: &Task, kind: Kind, call: Call, scratch: &mut Scratch) -> Option<()> {
    scratch.fixed.kind = kind as u16;
    scratch.fixed.capability = 0;
    scratch.fixed.mount_id = 0;
    scratch.fixed.padding = [0; 2];
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
        append_mount(call, &mut tails);
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
fn append_mount(call: Call, tails: &mut Tails<'_>) {
    if let Some(source) = call.argument0() {
        tails.string::<MAX_MOUNT_PATH>(tail::PATH, Memory::User, source);
    }
    if let Some(target) = call.argument1() {
        tails.string::<MAX_MOUNT_PATH>(tail::ARGUMENTS, Memory::User, target);
    }
    if let Some(fs_type) = call.argument2() {
        tails.string::<MAX_FS_TYPE>(tail::FS_TYPE, Memory::User, fs_type);
    }
}
