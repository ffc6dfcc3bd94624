//! What workloads need of what a policy governs: facts beside the rules, for what a report proposes
//! and for the clauses that nobody uses. No verdict rests on them.

pub mod checks;
pub mod clauses;
mod declared;
mod kept;
mod observed;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use checks::{Check, Checks};
pub use kept::Kept;

/// Values of one kind that are remembered; more are only known to be there.
const MOST: usize = 256;

/// What a workload needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Needs {
    /// What its pods were seen to do, by container; the name is empty where it is unknown.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub observed: BTreeMap<String, Uses>,
    /// The types of events that did not come, so that what they tell was not observed.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub unseen: BTreeSet<String>,
    /// What its pods ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declared: Option<Box<Uses>>,
}

/// What is used of each thing that a policy governs, or asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Uses {
    /// Runs privileged.
    #[serde(skip_serializing_if = "is_false")]
    pub privileged: bool,
    /// Is in the host's pid namespace.
    #[serde(skip_serializing_if = "is_false")]
    pub host_pid: bool,
    /// Is in the host's ipc namespace.
    #[serde(skip_serializing_if = "is_false")]
    pub host_ipc: bool,
    /// Is in the host's network namespace.
    #[serde(skip_serializing_if = "is_false")]
    pub host_network: bool,
    /// Observed: a program gave a process privileges. Declared: `allowPrivilegeEscalation: true`.
    #[serde(skip_serializing_if = "is_false")]
    pub escalation: bool,
    /// Ports of the host.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub host_ports: BTreeSet<i64>,
    /// Types of volumes, in the words of a policy.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub volumes: BTreeSet<String>,
    /// Paths of the host, and whether each is mounted writable.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub host_paths: BTreeMap<String, bool>,
    /// Those of them in which something was opened for writing.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub written_host_paths: BTreeSet<String>,
    /// Drivers of flexVolumes.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub flex_drivers: BTreeSet<String>,
    /// Drivers of inline CSI volumes.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub csi_drivers: BTreeSet<String>,
    /// User ids.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub users: BTreeSet<i64>,
    /// Group ids.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<i64>,
    /// Supplementary groups.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub supplemental_groups: BTreeSet<i64>,
    /// Groups of volumes.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub fs_groups: BTreeSet<i64>,
    /// Paths in the root file system that were changed; true for a folder that was made.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub root_writes: BTreeMap<String, bool>,
    /// Observed: capabilities that were used. Declared: those that are added.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub capabilities: BTreeSet<String>,
    /// Observed: what the kernel was asked for, by capability; also what was refused.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub capability_checks: BTreeMap<String, Checks>,
    /// Sysctls.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub sysctls: BTreeSet<String>,
    /// Kinds of `/proc`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub proc_mounts: BTreeSet<String>,
    /// Classes of runtimes.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub runtime_classes: BTreeSet<String>,
    /// seccomp profiles.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub seccomp: BTreeSet<String>,
    /// AppArmor profiles.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub app_armor: BTreeSet<String>,
    /// Whether there was more of something than is remembered.
    #[serde(skip_serializing_if = "is_false")]
    pub cut: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Needs {
    /// All that was observed, whichever container did it; `None` if nothing was watched.
    pub fn all_observed(&self) -> Option<Uses> {
        let mut uses = self.observed.values();
        let first = uses.next()?.clone();
        Some(uses.fold(first, |mut all, uses| {
            all.absorb(uses);
            all
        }))
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.observed.is_empty() && self.declared.is_none()
    }

    /// Adds what else is needed.
    pub fn absorb(&mut self, other: &Self) {
        for (container, uses) in &other.observed {
            if self.observed.len() < MOST || self.observed.contains_key(container) {
                self.observed
                    .entry(container.clone())
                    .or_default()
                    .absorb(uses);
            }
        }
        self.unseen.extend(other.unseen.iter().cloned());
        if let Some(declared) = &other.declared {
            self.declared.get_or_insert_default().absorb(declared);
        }
    }
}

impl Uses {
    /// Adds what else is used.
    pub fn absorb(&mut self, other: &Self) {
        let flags = [
            (&mut self.privileged, other.privileged),
            (&mut self.host_pid, other.host_pid),
            (&mut self.host_ipc, other.host_ipc),
            (&mut self.host_network, other.host_network),
            (&mut self.escalation, other.escalation),
            (&mut self.cut, other.cut),
        ];
        for (own, of_other) in flags {
            *own |= of_other;
        }
        let cut = &mut self.cut;
        let numbers = [
            (&mut self.host_ports, &other.host_ports),
            (&mut self.users, &other.users),
            (&mut self.groups, &other.groups),
            (&mut self.supplemental_groups, &other.supplemental_groups),
            (&mut self.fs_groups, &other.fs_groups),
        ];
        for (own, of_other) in numbers {
            of_other.iter().for_each(|value| add(own, *value, cut));
        }
        let texts = [
            (&mut self.volumes, &other.volumes),
            (&mut self.written_host_paths, &other.written_host_paths),
            (&mut self.flex_drivers, &other.flex_drivers),
            (&mut self.csi_drivers, &other.csi_drivers),
            (&mut self.capabilities, &other.capabilities),
            (&mut self.sysctls, &other.sysctls),
            (&mut self.proc_mounts, &other.proc_mounts),
            (&mut self.runtime_classes, &other.runtime_classes),
            (&mut self.seccomp, &other.seccomp),
            (&mut self.app_armor, &other.app_armor),
        ];
        for (own, of_other) in texts {
            of_other.iter().for_each(|value| add_text(own, value, cut));
        }
        for (path, writable) in &other.host_paths {
            mark(&mut self.host_paths, path, *writable, cut);
        }
        for (path, is_folder) in &other.root_writes {
            mark(&mut self.root_writes, path, *is_folder, cut);
        }
        for (capability, checks) in &other.capability_checks {
            self.cut |= !self.with_checks(capability, |own| own.absorb(checks));
        }
    }

    /// Notes so many checks of a capability that ended as this one.
    fn note_checks(&mut self, capability: &str, check: Check, times: u64) {
        self.cut |= !self.with_checks(capability, |own| own.add(check, times));
    }

    /// Adds to the checks of a capability; false if there was too much of something.
    fn with_checks(&mut self, capability: &str, add: impl FnOnce(&mut Checks) -> bool) -> bool {
        let has_room = self.capability_checks.len() < MOST;
        match self.capability_checks.get_mut(capability) {
            Some(own) => add(own),
            None if has_room => {
                let own = self.capability_checks.entry(capability.to_owned());
                add(own.or_default())
            }
            None => false,
        }
    }
}

/// Adds a value, unless there are too many.
fn add<T: Ord>(values: &mut BTreeSet<T>, value: T, cut: &mut bool) {
    if values.len() < MOST {
        values.insert(value);
    } else {
        *cut |= !values.contains(&value);
    }
}

/// Adds a text, which mostly is there already.
fn add_text(values: &mut BTreeSet<String>, value: &str, cut: &mut bool) {
    if !values.contains(value) {
        add(values, value.to_owned(), cut);
    }
}

/// Adds a path with a mark, which stays once it is set.
fn mark(paths: &mut BTreeMap<String, bool>, path: &str, set: bool, cut: &mut bool) {
    let has_room = paths.len() < MOST;
    match paths.get_mut(path) {
        Some(mark) => *mark |= set,
        None if has_room => {
            paths.insert(path.to_owned(), set);
        }
        None => *cut = true,
    }
}
