//! The kernel looked whether a task has a capability.

use aya_ebpf::{
    helpers::generated::bpf_task_pt_regs, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use falco_psp_common::{
    ledger::Fate,
    record::{Kind, MAX_GROUPS, call_class, flags},
};

use crate::{
    emit, filter,
    maps::{CAPABLE_CALLS, SCRATCH},
    offset,
    posture::Posture,
    read::Object,
    scratch::{Scratch, Tails},
    task::Task,
};

/// `cap_capable(const struct cred *cred, struct user_namespace *target_ns, const struct
/// user_namespace *capable_ns, int cap, int ret)` (`include/trace/events/capability.h`, since Linux
/// 6.14): runs in the task, after each check by `cap_capable()` of `security/commoncap.c`.
#[btf_tracepoint(function = "cap_capable")]
pub(crate) fn capable(context: BtfTracePointContext) -> i32 {
    emit::count(Kind::Capability, Fate::Seen);
    let Some(task) = Task::current() else {
        emit::count(Kind::Capability, Fate::ReadFailed);
        return 0;
    };
    if !task.may_be_container() {
        emit::count(Kind::Capability, Fate::Filtered);
        return 0;
    }
    let cred: *const u8 = context.arg(0);
    let target_ns: *const u8 = context.arg(1);
    let capability: i32 = context.arg(3);
    let result: i32 = context.arg(4);
    let Some(call) = task.call() else {
        // A kernel thread's work, or a fault in user space: no call that could fail.
        emit::count(Kind::Capability, Fate::Filtered);
        return 0;
    };
    // What was refused was no use. A check with other credentials than the task's own is one of the
    // kernel's for itself, such as overlayfs's with those of whoever mounted it.
    if result != 0
        || !task.acts_as(cred as u64, target_ns as u64)
        || is_incidental(call, capability as u32)
    {
        emit::count(Kind::Capability, Fate::Filtered);
        return 0;
    }
    let Some(scratch) = SCRATCH.get_ptr_mut(2) else {
        emit::count(Kind::Capability, Fate::ReadFailed);
        return 0;
    };
    // SAFETY: this CPU's slot of this program: a program is not run again on a CPU where it is
    // still running.
    let scratch = unsafe { &mut *scratch };
    scratch.fixed.call = call;
    scratch.fixed.result = 0;
    scratch.fixed.capability = capability as u16;
    if record(&task, scratch).is_none() {
        emit::count(Kind::Capability, Fate::ReadFailed);
    }
    0
}

/// Whether the kernel asks for this capability in this call although the call does not need it.
#[inline(always)]
fn is_incidental(call: u32, capability: u32) -> bool {
    if call as usize >= call_class::TABLE {
        return false;
    }
    // SAFETY: `call` is below the table's length; volatile, since the agent fills the table.
    let asked: u64 = unsafe {
        core::ptr::read_volatile((&raw const CAPABLE_CALLS).cast::<u64>().add(call as usize))
    };
    asked >> (capability & 63) & 1 != 0
}

#[inline(always)]
fn record(task: &Task, scratch: &mut Scratch) -> Option<()> {
    // The first time in a container is told with all that is known of the process; that the runtime
    // has used it before, to set the container up, is another posture.
    let mut program_mnt_ns = task.program_mnt_ns(&mut scratch.address);
    if program_mnt_ns == 0 {
        program_mnt_ns = task.unmounted_program_mnt_ns();
    }
    let posture = Posture::of_words(&[
        Kind::Capability as u64,
        u64::from(task.mnt_ns) << 32 | u64::from(program_mnt_ns),
        u64::from(scratch.fixed.capability) << 32 | u64::from(scratch.fixed.call),
    ]);
    if filter::sent_before(posture) {
        emit::count(Kind::Capability, Fate::Deduplicated);
        return Some(());
    }
    scratch.fixed.kind = Kind::Capability as u16;
    scratch.fixed.mount_id = 0;
    scratch.fixed.padding = [0; 2];
    task.fill(scratch)?;
    scratch.fixed.program_mnt_ns = program_mnt_ns;
    let (gids, groups) = task.groups(&mut scratch.address)?;
    if groups as usize > MAX_GROUPS {
        scratch.fixed.flags |= flags::GROUPS_CUT;
    }
    task.fill_rest(scratch)?;
    scratch.fixed.posture = posture;
    let mut tails = Tails::new(scratch);
    if !tails.groups(gids, groups) {
        return None;
    }
    let used = tails.used();
    if emit::send(Kind::Capability, tails.scratch(), used) {
        filter::remember(posture);
    }
    Some(())
}

impl Task {
    /// The number of the system call that the task is in; `None` outside of one.
    #[inline(always)]
    fn call(&self) -> Option<u32> {
        // SAFETY: the helper takes a task that the verifier knows as one.
        let registers = unsafe { bpf_task_pt_regs(self.object.as_ptr()) };
        let registers = Object::from_ptr(registers as *const u8)?;
        let call: u32 = registers.load(offset!(regs_call))?;
        // -1 outside of calls.
        (call.cast_signed() >= 0).then_some(call)
    }

    /// Whether these are the task's own credentials, and the namespace is that of their user.
    #[inline(always)]
    fn acts_as(&self, cred: u64, target_ns: u64) -> bool {
        let Some(own) = self.object.follow(offset!(task_real_cred)) else {
            return false;
        };
        let Some(user_ns) = own.follow(offset!(cred_user_ns)) else {
            return false;
        };
        own.is_at(cred) && user_ns.is_at(target_ns)
    }
}
