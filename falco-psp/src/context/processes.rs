//! Processes that run already: read from `/proc` when the agent starts, and looked up when an
//! event does not tell the program.

use std::collections::{HashMap, VecDeque};
use std::fs;

use falco_psp_common::record::namespace;
use procfs::process::Status;
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use rustix::time::{ClockId, clock_gettime};

use super::{cgroup, host, mountinfo};
use crate::event::{Capabilities, CommandLine, Ids, Process};

/// A process found in `/proc`.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its state.
    pub process: Process,
    /// The inode numbers of its namespaces, by [`namespace`].
    pub namespaces: [u32; namespace::COUNT],
    /// The path of its control group.
    pub cgroup: Option<String>,
    /// Where the running program comes from.
    pub origin: Origin,
}

/// Where the program comes from that a process of a container runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was loaded from a mount of the container: the workload's.
    Container,
    /// It was loaded from a mount of the host: a runtime that sets the container up.
    Host,
    /// No mount of either holds it.
    Unknown,
}

/// All processes that may be in a container, because they see other mounts or process ids than
/// the host, in the order of their process ids. Processes that end meanwhile are left out; those
/// that cannot be read are counted in `unreadable`.
pub fn scan(host_mnt_ns: u32, unreadable: &mut u64) -> Vec<Found> {
    let mut found = Vec::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<u32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    for pid in pids {
        let mnt_ns = host::inode(&pid.to_string(), "mnt");
        if mnt_ns == Some(host_mnt_ns) {
            continue;
        }
        match read(pid) {
            Some(process) if mnt_ns.is_some() => found.push(process),
            // A kernel thread or the init process of another container runtime's host may hide
            // its namespaces; what has a container's control group must not.
            Some(process) => {
                let path = process.cgroup.as_deref().unwrap_or_default();
                if cgroup::identify(path, cgroup::is_known_to_runtime).is_some() {
                    *unreadable += 1;
                }
            }
            None => {}
        }
    }
    found
}

/// The state of process `pid`; `None` if it is gone.
fn read(pid: u32) -> Option<Found> {
    let directory = procfs::process::Process::new(i32::try_from(pid).ok()?).ok()?;
    let status = directory.status().ok()?;
    let stat = directory.stat().ok()?;
    if matches!(stat.state, 'Z' | 'X') {
        // Dead, and only kept for its parent to ask for.
        return None;
    }
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let process = Process {
        pid,
        tid: pid,
        parent_pid: u32::try_from(status.ppid).unwrap_or(0),
        virtual_pid: innermost(&status).unwrap_or(pid),
        start_ns: ticks_to_ns(stat.starttime),
        name: stat.comm,
        executable: executable(pid),
        arguments: arguments(pid),
        users: Ids {
            real: status.ruid,
            effective: status.euid,
            saved: status.suid,
            filesystem: status.fuid,
        },
        groups: Ids {
            real: status.rgid,
            effective: status.egid,
            saved: status.sgid,
            filesystem: status.fgid,
        },
        supplementary_groups: status.groups,
        capabilities: Capabilities {
            effective: status.capeff,
            permitted: status.capprm,
            inheritable: status.capinh,
            bounding: status.capbnd.unwrap_or(0),
            ambient: status.capamb.unwrap_or(0),
        },
        nested_user_namespace: false,
        no_new_privs: status.nonewprivs.map(|set| set == 1),
        seccomp_mode: status.seccomp.unwrap_or(0),
        gained_privileges: false,
    };
    Some(Found {
        origin: origin(pid),
        namespaces: host::namespaces(pid),
        cgroup: cgroup::path_of_proc(&text).map(str::to_owned),
        process,
    })
}

/// The state of process `pid`, if it runs.
pub fn state(pid: u32) -> Option<Process> {
    read(pid).map(|found| found.process)
}

fn innermost(status: &Status) -> Option<u32> {
    u32::try_from(*status.nspid.as_ref()?.last()?).ok()
}

/// `/proc/PID/stat` counts in hundredths of a second on every architecture that is supported.
fn ticks_to_ns(ticks: u64) -> u64 {
    ticks.saturating_mul(10_000_000)
}

/// Whether a process of this id, that started then, runs.
pub fn is_alive(pid: u32, start_ns: u64) -> bool {
    let Ok(pid) = i32::try_from(pid) else {
        return false;
    };
    let stat = procfs::process::Process::new(pid).and_then(|process| process.stat());
    // The kernel knows the start to the nanosecond, `/proc` to the hundredth of a second.
    stat.is_ok_and(|stat| {
        !matches!(stat.state, 'Z' | 'X')
            && ticks_to_ns(stat.starttime).abs_diff(start_ns) <= ticks_to_ns(1)
    })
}

/// The control groups of all processes, with process id and start.
pub fn cgroups() -> Vec<(u32, u64, String)> {
    let processes = procfs::process::all_processes().into_iter().flatten();
    processes
        .filter_map(|process| {
            let process = process.ok()?;
            let pid = u32::try_from(process.pid()).ok()?;
            let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
            let path = cgroup::path_of_proc(&text)?;
            let stat = process.stat().ok()?;
            // A dead one keeps its group until its parent asks for it.
            let runs = !matches!(stat.state, 'Z' | 'X');
            runs.then(|| (pid, ticks_to_ns(stat.starttime), path.to_owned()))
        })
        .collect()
}

/// Nanoseconds since boot, now, by the clock of the kernel side's records.
pub fn since_boot_ns() -> u64 {
    clock_ns(ClockId::Boottime)
}

/// Nanoseconds since boot as nanoseconds since the epoch. Asked anew for each event, so that a
/// clock that is set meanwhile does no lasting harm; both calls stay in user space (vDSO).
pub fn epoch_ns(boot_ns: u64) -> u64 {
    now_ns().saturating_sub(since_boot_ns().saturating_sub(boot_ns))
}

/// Nanoseconds since the epoch.
pub fn now_ns() -> u64 {
    clock_ns(ClockId::Realtime)
}

fn clock_ns(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// The path of the program that process `pid` runs, as seen in its own root.
pub fn executable(pid: u32) -> Option<String> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(path.to_string_lossy().into_owned())
}

/// The arguments of process `pid`.
pub fn arguments(pid: u32) -> Option<CommandLine> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    let arguments = bytes.split(|byte| *byte == 0);
    Some(arguments.map(String::from_utf8_lossy).collect())
}

/// Compares the mount that the running program was opened on with the mounts of the container and
/// of the host: what the kernel side does for events.
fn origin(pid: u32) -> Origin {
    // A link that leads to the file itself, also if it has been deleted or renamed.
    let program = format!("/proc/{pid}/exe");
    let wanted = StatxFlags::MNT_ID;
    let Ok(file) = statx(CWD, &program, AtFlags::empty(), wanted) else {
        return Origin::Unknown;
    };
    if file.stx_mask & wanted.bits() == 0 {
        return Origin::Unknown;
    }
    let is_mount_of = |pid: u32| {
        mountinfo::read(pid).is_ok_and(|table| table.iter().any(|m| m.id == file.stx_mnt_id))
    };
    if is_mount_of(pid) {
        Origin::Container
    } else if is_mount_of(1) || is_mount_of(std::process::id()) {
        Origin::Host
    } else {
        Origin::Unknown
    }
}

/// How many programs are remembered.
const MAX_PROGRAMS: usize = 8_192;

/// The programs that processes were last seen to execute; the oldest are forgotten.
#[derive(Debug, Default)]
pub struct Programs {
    by_pid: HashMap<u32, Program>,
    order: VecDeque<(u32, u64)>,
}

#[derive(Clone, Debug)]
struct Program {
    start_ns: u64,
    executable: Option<String>,
    arguments: Option<CommandLine>,
}

impl Programs {
    /// Remembers what `process` runs.
    pub fn remember(&mut self, process: &Process) {
        let program = Program {
            start_ns: process.start_ns,
            executable: process.executable.clone(),
            arguments: process.arguments.clone(),
        };
        if self.by_pid.insert(process.pid, program).is_none() {
            self.order.push_back((process.pid, process.start_ns));
        }
        while self.by_pid.len() > MAX_PROGRAMS {
            let Some((pid, _)) = self.order.pop_front() else {
                break;
            };
            self.by_pid.remove(&pid);
        }
    }

    /// Fills in what `process` runs, from memory or from `/proc`.
    pub fn complete(&self, process: &mut Process) {
        match self.by_pid.get(&process.pid) {
            Some(program) if program.start_ns == process.start_ns => {
                process.executable = program.executable.clone();
                process.arguments = program.arguments.clone();
            }
            _ => {
                process.executable = executable(process.pid);
                process.arguments = arguments(process.pid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_process() {
        let found = read(std::process::id()).unwrap();
        assert_eq!(found.process.pid, std::process::id());
        assert_eq!(found.origin, Origin::Container);
        assert!(
            found
                .process
                .arguments
                .is_some_and(|arguments| arguments.first().is_some())
        );
        assert!(read(u32::MAX).is_none());
    }

    #[test]
    fn programs_are_remembered_by_process_and_bounded() {
        let mut programs = Programs::default();
        let process = |pid: u32, start_ns| Process {
            pid,
            start_ns,
            executable: Some(format!("/bin/{pid}")),
            ..Process::default()
        };
        for pid in 0..u32::try_from(MAX_PROGRAMS).unwrap() + 10 {
            programs.remember(&process(1_000_000_000 + pid, 1));
        }
        assert_eq!(programs.by_pid.len(), MAX_PROGRAMS);
        assert_eq!(programs.order.len(), MAX_PROGRAMS);
        let last = 1_000_000_000 + u32::try_from(MAX_PROGRAMS).unwrap();
        let mut asked = Process {
            pid: last,
            start_ns: 1,
            ..Process::default()
        };
        programs.complete(&mut asked);
        assert_eq!(asked.executable, Some(format!("/bin/{last}")));
        // Another process of the same id is not the one that was remembered.
        let mut reused = Process {
            pid: last,
            start_ns: 2,
            ..Process::default()
        };
        programs.complete(&mut reused);
        assert_eq!(reused.executable, None);
    }
}
