//! What this process may do: it gives up at its start what the run does not need, for good.
//!
//! A run that judges no node needs no capability at all. One that watches keeps what [`WATCHING`]
//! lists, also for a reload, which attaches hooks again.

use std::net::SocketAddr;

use rustix::io;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};

use crate::cli::Watch;
use crate::outputs::Target;
use crate::rules::Source;

/// Ports below this one are for those with CAP_NET_BIND_SERVICE
/// (`net.ipv4.ip_unprivileged_port_start`).
const FIRST_FREE_PORT: u16 = 1024;

/// A capability that a run may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// It.
    pub capability: CapabilitySet,
    /// Its name.
    pub name: &'static str,
    /// What for.
    pub what_for: &'static str,
    /// Whether nothing can be watched without it.
    pub is_vital: bool,
}

/// What watching a node needs.
pub const WATCHING: [Right; 4] = [
    Right {
        capability: CapabilitySet::BPF,
        name: "CAP_BPF",
        what_for: "load programs into the kernel",
        is_vital: true,
    },
    Right {
        capability: CapabilitySet::PERFMON,
        name: "CAP_PERFMON",
        what_for: "attach them, and have them read the kernel's memory",
        is_vital: true,
    },
    Right {
        capability: CapabilitySet::SYS_PTRACE,
        name: "CAP_SYS_PTRACE",
        what_for: "read namespaces, mounts, programs and open files of processes in /proc",
        is_vital: true,
    },
    Right {
        capability: CapabilitySet::DAC_READ_SEARCH,
        name: "CAP_DAC_READ_SEARCH",
        what_for: "read bundles and volumes in folders that only their owner may read",
        is_vital: false,
    },
];

/// Instead of the first two where the kernel does not know them yet (before Linux 5.8), and enough
/// in their place on any kernel.
const OLD: Right = Right {
    capability: CapabilitySet::SYS_ADMIN,
    name: "CAP_SYS_ADMIN",
    what_for: "what CAP_BPF and CAP_PERFMON are for, before Linux 5.8",
    is_vital: true,
};

/// What this process can do now.
pub fn held() -> CapabilitySet {
    capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective)
}

/// The rights without which nothing can be watched and which this process lacks, by name.
pub fn missing() -> Vec<&'static str> {
    let held = held();
    let vital = WATCHING.iter().filter(|right| right.is_vital);
    let lacking = vital.filter(|right| {
        let old_will_do = right.capability != CapabilitySet::SYS_PTRACE;
        let is_old = old_will_do && held.contains(OLD.capability);
        !is_old && !held.contains(right.capability)
    });
    lacking.map(|right| right.name).collect()
}

/// What a run with these options needs of what there is; one that `records` writes a file more.
pub fn needed(options: &Watch, records: bool) -> Vec<Right> {
    let held = held();
    let mut needed = Vec::new();
    if options.sources().contains(&Source::Syscall) {
        needed.extend(WATCHING);
        let is_new = [CapabilitySet::BPF, CapabilitySet::PERFMON];
        if !is_new.iter().all(|capability| held.contains(*capability)) {
            needed.push(OLD);
        }
    }
    let is_low = |address: Option<SocketAddr>| {
        address.is_some_and(|address| (1..FIRST_FREE_PORT).contains(&address.port()))
    };
    if is_low(options.listen) || is_low(options.audit_listen) {
        needed.push(Right {
            capability: CapabilitySet::NET_BIND_SERVICE,
            name: "CAP_NET_BIND_SERVICE",
            what_for: "listen at a port below 1024",
            is_vital: false,
        });
    }
    let targets = &options.outputs.output;
    let writes = targets
        .iter()
        .any(|target| matches!(target, Target::File(_)));
    let reports = options.report.iter().any(|report| report.path.is_some());
    if writes
        || reports
        || records
        || options.outputs.spool_dir.is_some()
        || options.psp_save.is_some()
    {
        needed.push(Right {
            capability: CapabilitySet::DAC_OVERRIDE,
            name: "CAP_DAC_OVERRIDE",
            what_for: "write files in folders of others",
            is_vital: false,
        });
    }
    needed.retain(|right| held.contains(right.capability));
    needed
}

/// Gives up all but these rights, and the way to get more: for this thread and those that it starts
/// later, so before it starts any.
///
/// # Errors
/// The kernel refuses, which it does for nobody who gives something up.
pub fn keep_only(rights: &[Right]) -> io::Result<()> {
    raise_memory_limit();
    let kept = rights
        .iter()
        .fold(CapabilitySet::empty(), |all, right| all | right.capability);
    clear_ambient_capability_set()?;
    if held().contains(CapabilitySet::SETPCAP) {
        let each = (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit));
        for capability in each.filter(|each| !kept.contains(*each)) {
            // What the kernel does not know is in no set.
            if capability_is_in_bounding_set(capability).unwrap_or(false) {
                remove_capability_from_bounding_set(capability)?;
            }
        }
    }
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    set_no_new_privs(true)
}

/// Before Linux 5.11, maps count as locked memory, whose usual limit is too low.
fn raise_memory_limit() {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    if let Err(error) = setrlimit(Resource::Memlock, unlimited) {
        tracing::debug!(%error, "the limit of locked memory stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn names(line: &[&str]) -> Vec<&'static str> {
        let line = [&["falco-psp", "--psp", "p.yaml"], line].concat();
        let options = Cli::try_parse_from(line).unwrap().watch;
        needed(&options, false)
            .iter()
            .map(|right| right.name)
            .collect()
    }

    #[test]
    fn only_what_the_options_need_is_kept() {
        // As far as this process has it.
        let expected = |all: &[&'static str]| -> Vec<&'static str> {
            let every = [
                ("CAP_BPF", CapabilitySet::BPF),
                ("CAP_PERFMON", CapabilitySet::PERFMON),
                ("CAP_SYS_PTRACE", CapabilitySet::SYS_PTRACE),
                ("CAP_DAC_READ_SEARCH", CapabilitySet::DAC_READ_SEARCH),
                ("CAP_NET_BIND_SERVICE", CapabilitySet::NET_BIND_SERVICE),
                ("CAP_DAC_OVERRIDE", CapabilitySet::DAC_OVERRIDE),
            ];
            let is_held = |name: &&&str| {
                let known = every.iter().find(|(known, _)| known == *name);
                known.is_some_and(|(_, capability)| held().contains(*capability))
            };
            all.iter().filter(is_held).copied().collect()
        };
        let watching = WATCHING.map(|right| right.name);
        if held().contains(CapabilitySet::BPF | CapabilitySet::PERFMON) {
            assert_eq!(names(&[]), expected(&watching));
            let file = ["--output", "file:a"];
            let with_file = [&watching[..], &["CAP_DAC_OVERRIDE"]].concat();
            assert_eq!(names(&file), expected(&with_file));
        }
        assert!(names(&["--audit-log", "a"]).is_empty());
        assert!(names(&["--replay", "a"]).is_empty());
        let low = ["--audit-listen", "127.0.0.1:443"];
        assert_eq!(names(&low), expected(&["CAP_NET_BIND_SERVICE"]));
        assert!(names(&["--audit-listen", "127.0.0.1:9765"]).is_empty());
    }
}
