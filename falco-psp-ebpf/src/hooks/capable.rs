//! The kernel looked whether a task has a capability, and found it or refused what needs it.

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::bpf_task_pt_regs,
    macros::{btf_tracepoint, fexit, kprobe},
    programs::{BtfTracePointContext, FExitContext, ProbeContext},
};
use falco_psp_common::{
    ledger::Fate,
    record::{Fixed, Kind, call_class, capability_set},
};

use crate::{
    call::Call,
    emit, filter,
    maps::{CAPABLE_CALLS, SCRATCH},
    offset,
    posture::Posture,
    read::{Address, Object, read},
    scratch::Scratch,
    task::Task,
};

/// `CAP_OPT_NOAUDIT` of `include/linux/security.h`: the kernel only wants to know whether it could.
const NO_AUDIT: u32 = 1 << 1;

/// Not permitted (`include/uapi/asm-generic/errno-base.h`).
const EPERM: i32 = 1;

/// A check by `cap_capable()` of `security/commoncap.c`, which every check comes to.
#[derive(Clone, Copy)]
struct Check {
    cred: *const u8,
    target_ns: *const u8,
    capability: i32,
    /// 0 if the capability is there, else -EPERM; `None` before that is known.
    result: Option<i32>,
    /// The kernel says that it only wants to know whether it could.
    is_quiet: bool,
}

/// `cap_capable(const struct cred *cred, struct user_namespace *target_ns, const struct
/// user_namespace *capable_ns, int cap, int ret)` (`include/trace/events/capability.h`, since Linux
/// 6.14): runs in the task, after each check.
#[btf_tracepoint(function = "cap_capable")]
pub(crate) fn capable(context: BtfTracePointContext) -> i32 {
    emit::count(Kind::Capability, Fate::Seen);
    see(Check {
        cred: context.arg(0),
        target_ns: context.arg(1),
        capability: context.arg(3),
        result: Some(context.arg(4)),
        is_quiet: false,
    });
    0
}

/// `cap_capable(const struct cred *cred, struct user_namespace *targ_ns, int cap, unsigned int opts)`
/// (`security/commoncap.c`) returned: the same for kernels without the tracepoint. What it returned
/// stands behind its arguments (`btf_ctx_access` of `kernel/bpf/btf.c`).
#[fexit(function = "cap_capable")]
pub(crate) fn capable_exit(context: FExitContext) -> i32 {
    emit::count(Kind::Capability, Fate::Seen);
    see(Check {
        cred: context.arg(0),
        target_ns: context.arg(1),
        capability: context.arg(2),
        result: Some(context.arg(4)),
        // The exception is a seccomp filter without no_new_privs (`seccomp_prepare_filter`), and that
        // takes a capability which no runtime gives by itself: holding it is told anyway.
        is_quiet: context.arg::<u32>(3) & NO_AUDIT != 0,
    });
    0
}

/// The same function is called: for kernels whose functions cannot be hooked at their return.
#[kprobe]
pub(crate) fn capable_entry(context: ProbeContext) -> u32 {
    emit::count(Kind::Capability, Fate::Seen);
    // By a helper: the verifier takes no load from a place in a context that it has to add up.
    let registers = context.as_ptr() as Address;
    let argument = |offset| read::<u64>(registers, offset).unwrap_or(0);
    see(Check {
        cred: argument(offset!(regs_function0)) as *const u8,
        target_ns: argument(offset!(regs_function1)) as *const u8,
        capability: argument(offset!(regs_function2)) as i32,
        result: None,
        is_quiet: argument(offset!(regs_function3)) as u32 & NO_AUDIT != 0,
    });
    0
}

/// Tells of the check if it is one of a container and of what a call needs.
#[inline(always)]
fn see(check: Check) {
    let Some(object) = Object::current_task() else {
        emit::count(Kind::Capability, Fate::ReadFailed);
        return;
    };
    let Some(call) = call(object) else {
        // A kernel thread's work, or a fault in user space: no call that could fail.
        emit::count(Kind::Capability, Fate::Filtered);
        return;
    };
    // Most checks end here: before anything is asked that costs more.
    if check.is_quiet || is_incidental(call, check.capability as u32) {
        emit::count(Kind::Capability, Fate::Incidental);
        return;
    }
    let Some(task) = Task::of(object) else {
        emit::count(Kind::Capability, Fate::ReadFailed);
        return;
    };
    if !task.may_be_container() {
        emit::count(Kind::Capability, Fate::Filtered);
        return;
    }
    // A check with other credentials than the task's own is one of the kernel's for itself, such as
    // overlayfs's with those of whoever mounted it.
    let Some(user_ns) = task.acts_as(check.cred as u64, check.target_ns as u64) else {
        emit::count(Kind::Capability, Fate::Filtered);
        return;
    };
    let result = match check.result {
        Some(result) => result,
        None => task.outcome(check.capability as u32),
    };
    // One slot for all three programs: only one of them is attached.
    let Some(scratch) = SCRATCH.get_ptr_mut(2) else {
        emit::count(Kind::Capability, Fate::ReadFailed);
        return;
    };
    // SAFETY: this CPU's slot of this program: a program is not run again on a CPU where it is
    // still running.
    let scratch = unsafe { &mut *scratch };
    scratch.fixed.call = call;
    scratch.fixed.result = i64::from(result);
    scratch.fixed.capability = check.capability as u16;
    if record(&task, user_ns, scratch).is_none() {
        emit::count(Kind::Capability, Fate::ReadFailed);
    }
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
fn record(task: &Task, user_ns: u32, scratch: &mut Scratch) -> Option<()> {
    // The first time in a container is told with all that is known of the process.
    let doer = task.doer(&mut scratch.address);
    let is_denied = u64::from(scratch.fixed.result != 0);
    let check = Posture::of_words(&[
        doer.words[0],
        doer.words[1],
        u64::from(user_ns),
        is_denied << 48 | u64::from(scratch.fixed.capability) << 32 | u64::from(scratch.fixed.call),
    ]);
    if filter::checked_before(check, task.object.load(offset!(task_tgid))?) {
        emit::count(Kind::Capability, Fate::Deduplicated);
        return Some(());
    }
    scratch.fixed.kind = Kind::Capability as u16;
    scratch.fixed.mount_id = 0;
    let mut tails = task.begin(scratch, doer, check)?;
    let used = tails.used();
    if emit::send(Kind::Capability, tails.scratch(), used) {
        let Fixed { time_ns, pid, .. } = tails.scratch().fixed;
        filter::remember_check(check, time_ns, pid);
    }
    Some(())
}

/// The number of the system call that the task is in; `None` outside of one.
#[inline(always)]
fn call(task: Object) -> Option<u32> {
    // SAFETY: the helper takes a task that the verifier knows as one.
    let registers = unsafe { bpf_task_pt_regs(task.as_ptr()) };
    let registers = Object::from_ptr(registers as *const u8)?;
    Some(Call::of(task, registers)?.number)
}

impl Task {
    /// The inode number of the user namespace, if these are the task's own credentials and it is
    /// theirs.
    #[inline(always)]
    fn acts_as(&self, cred: u64, target_ns: u64) -> Option<u32> {
        let own = self.object.follow(offset!(task_real_cred))?;
        let user_ns = own.follow(offset!(cred_user_ns))?;
        // Before the comparison: behind it the compiler may take the other of the two, of which the
        // verifier does not know the type.
        let inum = user_ns.load(offset!(user_ns_inum)).unwrap_or(0);
        (own.is_at(cred) && user_ns.is_at(target_ns)).then_some(inum)
    }

    /// What `cap_capable` will find of the task's own credentials in their user namespace: whether the
    /// capability is effective.
    #[inline(always)]
    fn outcome(&self, capability: u32) -> i32 {
        const SET: u32 = (capability_set::EFFECTIVE * size_of::<u64>()) as u32;
        let own = self.object.follow(offset!(task_real_cred));
        let effective = own.and_then(|own| own.load(offset!(cred_cap_inheritable) + SET));
        let effective: u64 = effective.unwrap_or(0);
        if effective >> (capability & 63) & 1 != 0 {
            0
        } else {
            -EPERM
        }
    }
}
