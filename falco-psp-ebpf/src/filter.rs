//! What is worth telling: only what may be a container, and the same posture only once.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::generated::{bpf_jiffies64, bpf_ktime_get_boot_ns},
};
use falco_psp_common::record::repeats;

use crate::{
    maps::{CHECKS, DIRECTORIES, POSTURES},
    posture::NEVER_EQUAL,
    setting,
};

/// Paths that are told of one directory of a container.
const PATHS_OF_DIRECTORY: u32 = 16;

/// Whether a task with these namespaces may be in a container: it is in a pid namespace of its
/// own, or sees other mounts than the host. The agent looks closer.
#[inline(always)]
pub(crate) fn may_be_container(mnt_ns: u32, pid_ns_level: u32) -> bool {
    pid_ns_level > 0 || mnt_ns != setting!(host_mnt_ns)
}

/// Whether a record of this posture has been sent before; if so, that is counted with the posture.
#[inline(always)]
pub(crate) fn sent_before(posture: u64) -> bool {
    if setting!(deduplicate) == 0 || posture == NEVER_EQUAL {
        return false;
    }
    let Some(again) = POSTURES.get_ptr_mut(&posture) else {
        return false;
    };
    // SAFETY: the value is this CPU's own, 8 aligned bytes that live as long as this program runs.
    unsafe { *again += 1 };
    true
}

/// Remembers that a record of this posture was sent.
#[inline(always)]
pub(crate) fn remember(posture: u64) {
    if setting!(deduplicate) != 0 && posture != NEVER_EQUAL {
        // Failing, because another CPU was faster or memory is short, only costs a repeated
        // record.
        let _ = POSTURES.insert(&posture, &0, u64::from(BPF_NOEXIST));
    }
}

/// Whether a record of this check has been sent before; if so, that is counted with the check, and
/// that it was this process and now.
#[inline(always)]
pub(crate) fn checked_before(check: u64, pid: u32) -> bool {
    if setting!(deduplicate) == 0 {
        return false;
    }
    let Some(again) = CHECKS.get_ptr_mut(&check) else {
        return false;
    };
    // SAFETY: the value is this CPU's own, aligned, and lives as long as this program runs, which
    // nothing of its kind interrupts.
    let again = unsafe { &mut *again };
    again[repeats::TIMES] += 1;
    // The clock is what would cost most: it is read once a jiffy, and that is a plain load.
    // SAFETY: the helper has no requirements.
    let jiffy = unsafe { bpf_jiffies64() } << 32;
    if (again[repeats::PID] ^ jiffy) >> 32 != 0 {
        // SAFETY: the helper has no requirements.
        again[repeats::LAST_NS] = unsafe { bpf_ktime_get_boot_ns() };
    }
    again[repeats::PID] = jiffy | u64::from(pid);
    true
}

/// Remembers that a record of this check was sent, which this process has made at this time.
#[inline(always)]
pub(crate) fn remember_check(check: u64, time_ns: u64, pid: u32) {
    if setting!(deduplicate) != 0 {
        // No constant: the linker takes `SETTINGS` for one of nothing but zeros if it has the same
        // size, and the agent writes there.
        let first = [0, time_ns, u64::from(pid)];
        // Failing only costs a repeated record, as above.
        let _ = CHECKS.insert(&check, &first, u64::from(BPF_NOEXIST));
    }
}

/// Whether so many paths of this directory have been told that no further one is.
#[inline(always)]
pub(crate) fn is_full(directory: u64) -> bool {
    if setting!(deduplicate) == 0 {
        return false;
    }
    let Some(told) = DIRECTORIES.get_ptr(&directory) else {
        return false;
    };
    // SAFETY: a map value, aligned, that lives as long as the program runs.
    unsafe { *told >= PATHS_OF_DIRECTORY }
}

/// Counts a path of this directory that was told.
#[inline(always)]
pub(crate) fn fill(directory: u64) {
    if setting!(deduplicate) == 0 {
        return;
    }
    match DIRECTORIES.get_ptr_mut(&directory) {
        // SAFETY: a map value, aligned, that lives as long as the program runs. Two CPUs may count
        // one for both: then one path more is told.
        Some(told) => unsafe { *told += 1 },
        None => {
            // Failing costs a repeated record.
            let _ = DIRECTORIES.insert(&directory, &1, u64::from(BPF_NOEXIST));
        }
    }
}
