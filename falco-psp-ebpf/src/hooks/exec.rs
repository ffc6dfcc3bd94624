//! A program was executed.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use falco_psp_common::{
    ledger::Fate,
    record::{Kind, MAX_ARGUMENTS, MAX_GROUPS, MAX_PATH, flags, tail},
};

use crate::{
    emit, filter,
    maps::SCRATCH,
    offset,
    posture::Posture,
    read::{Address, follow, read},
    scratch::{Memory, Scratch, Tails},
    task::Task,
};

/// `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`
/// (`include/trace/events/sched.h`): runs in the task that executes, after the new credentials are
/// in force and the new memory is in place.
#[btf_tracepoint(function = "sched_process_exec")]
pub(crate) fn exec(context: BtfTracePointContext) -> i32 {
    emit::count(Kind::Exec, Fate::Seen);
    let Some(task) = Task::current() else {
        emit::count(Kind::Exec, Fate::ReadFailed);
        return 0;
    };
    if !task.may_be_container() {
        emit::count(Kind::Exec, Fate::Filtered);
        return 0;
    }
    let binprm: *const u8 = context.arg(2);
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        emit::count(Kind::Exec, Fate::ReadFailed);
        return 0;
    };
    // SAFETY: this CPU's slot of this program: a program is not run again on a CPU where it is
    // still running.
    let scratch = unsafe { &mut *scratch };
    if record(&task, binprm as Address, scratch).is_none() {
        emit::count(Kind::Exec, Fate::ReadFailed);
    }
    #[cfg(feature = "debug-log")]
    aya_log_ebpf::debug!(
        &context,
        "exec: pid {} in mount namespace {}, program from {}",
        aya_ebpf::EbpfContext::tgid(&context),
        task.mnt_ns,
        scratch.fixed.program_mnt_ns
    );
    0
}

#[inline(always)]
fn record(task: &Task, binprm: Address, scratch: &mut Scratch) -> Option<()> {
    scratch.fixed.kind = Kind::Exec as u16;
    scratch.fixed.call = 0;
    scratch.fixed.result = 0;
    scratch.fixed.capability = 0;
    scratch.fixed.mount_id = 0;
    scratch.fixed.padding = [0; 2];
    task.fill(scratch)?;
    scratch.fixed.flags |= secure_exec(binprm);
    if scratch.fixed.program_mnt_ns == 0 {
        task.remember_unmounted();
        scratch.fixed.program_mnt_ns = task.mnt_ns;
    }
    let (gids, groups) = task.groups(&mut scratch.address)?;
    if groups as usize > MAX_GROUPS {
        scratch.fixed.flags |= flags::GROUPS_CUT;
    }
    let filename = follow(binprm, offset!(binprm_filename)).unwrap_or(0);
    let mut posture = Posture::of(scratch);
    posture.add_groups(scratch, gids, groups);
    posture.add_path(&mut scratch.key, filename);
    let posture = posture.value();
    if filter::sent_before(posture) {
        emit::count(Kind::Exec, Fate::Deduplicated);
        return Some(());
    }
    task.fill_rest(scratch)?;
    scratch.fixed.posture = posture;

    let mut tails = Tails::new(scratch);
    if !tails.groups(gids, groups) {
        return None;
    }
    task.append_cgroup(&mut tails);
    tails.string::<MAX_PATH>(tail::PATH, Memory::Kernel, filename);
    append_arguments(task, &mut tails);
    let used = tails.used();
    if emit::send(Kind::Exec, tails.scratch(), used) {
        filter::remember(posture);
    }
    Some(())
}

/// `linux_binprm.secureexec` as a flag. It is a bit field, hence the mask.
#[inline(always)]
fn secure_exec(binprm: Address) -> u16 {
    match read::<u8>(binprm, offset!(binprm_secureexec_byte)) {
        Some(byte) if u32::from(byte) & offset!(binprm_secureexec_mask) != 0 => flags::SECURE_EXEC,
        _ => 0,
    }
}

/// Appends the arguments, which lie in the new memory from `arg_start` to `arg_end`.
#[inline(always)]
fn append_arguments(task: &Task, tails: &mut Tails<'_>) {
    let Some(mm) = task.memory() else { return };
    let start = mm.load::<u64>(offset!(mm_arg_start));
    let end = mm.load::<u64>(offset!(mm_arg_end));
    let (Some(start), Some(end)) = (start, end) else {
        return;
    };
    let length = end.wrapping_sub(start) as usize;
    if length > MAX_ARGUMENTS {
        tails.scratch().fixed.flags |= flags::ARGUMENTS_CUT;
    }
    // A failure leaves the arguments unknown; the posture does not rest on them.
    tails.bytes::<MAX_ARGUMENTS>(tail::ARGUMENTS, Memory::User, start, length);
}
