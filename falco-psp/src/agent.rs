//! The agent: takes events from their source, adds what surrounds them, has the rules judge them
//! and tells what they find. It owns all that changes while it runs.

mod files;
mod forget;
mod hold;
mod metadata;
mod mounts;
mod ports;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use falco_psp_common::capability;
use falco_psp_common::record::{Kind, flags, namespace};
use serde::{Deserialize, Serialize};
use serde_json::Map;

use crate::container::Container;
use crate::context::cgroup::ContainerRef;
use crate::context::containers::{Containers, MountChange, Sighting};
use crate::context::host::HostNamespaces;
use crate::context::processes::{self, Found, Origin, Programs, epoch_ns, now_ns};
use crate::event::{Activity, Process, Repeats, SyscallEvent};
use crate::observed::Judge;
use crate::outputs::Outputs;
use crate::outputs::alert::Alert;
use crate::policies::Policies;
use crate::recording::Recorder;
use crate::rules::RuleSet;
use crate::sources::syscall::decode::Record;
use crate::sources::syscall::{calls, syscalls};

use files::OtherMount;
use metadata::{Metadata, Pending};
use mounts::Mounts;
use ports::Ports;

/// What became of the records that the agent took from the ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fates {
    /// Judged by the rules.
    pub judged: u64,
    /// A runtime's work in setting a container up.
    pub set_up: u64,
    /// Of a process in no container that is known as one.
    pub no_container: u64,
    /// Of a pod's sandbox.
    pub sandbox: u64,
    /// Changes of files that are on another mount than the container's root.
    pub other_mount: u64,
    /// Records that made no sense.
    pub undecodable: u64,
    /// Processes of containers that the first scan could not read.
    pub unreadable: u64,
    /// Processes of containers, found by the first scan, of which it cannot be told whether they
    /// are the workload's or the runtime's.
    pub unknown_origin: u64,
}

/// The agent at work.
pub struct Agent {
    host_mnt_ns: u32,
    containers: Containers,
    programs: Programs,
    metadata: Metadata,
    mounts: Mounts,
    ports: Ports,
    outputs: Outputs,
    recorder: Option<Recorder>,
    /// What judges, and what it found.
    pub judge: Judge,
    /// What became of the records.
    pub fates: Fates,
}

impl Agent {
    /// An agent that judges by `rules` and tells what it finds to `outputs`: with `all` every
    /// violation, otherwise the first of each kind.
    pub fn new(rules: Arc<RuleSet>, all: bool, host: HostNamespaces, outputs: Outputs) -> Self {
        Self {
            host_mnt_ns: host.get(namespace::MNT),
            containers: Containers::new(host),
            programs: Programs::default(),
            metadata: Metadata::default(),
            mounts: Mounts::default(),
            ports: Ports::default(),
            outputs,
            recorder: None,
            judge: Judge::new(rules, all),
            fates: Fates::default(),
        }
    }

    /// Judges by `rules` from now on, of which the first are those of `policies`. What was found
    /// by the rules until now is forgotten; the containers are not.
    pub fn judge_by(&mut self, rules: Arc<RuleSet>, policies: Arc<Policies>) {
        self.judge.judge_by(rules, policies);
    }

    /// Has everything recorded from now on that rules could be asked about.
    pub fn record_to(&mut self, recorder: Recorder) {
        self.recorder = Some(recorder);
    }

    /// The containers whose programs have been seen.
    pub fn containers(&self) -> impl Iterator<Item = &Arc<Container>> {
        self.containers.subjects()
    }

    /// Finds the processes of containers that run already.
    pub fn scan(&mut self) -> Vec<(ContainerRef, Found)> {
        let found = processes::scan(self.host_mnt_ns, &mut self.fates.unreadable);
        let mut inside = Vec::new();
        let mut others = HashMap::new();
        for process in found {
            let (pid, path) = (process.process.pid, process.cgroup.clone());
            match self.containers.identify(0, path, pid, true) {
                Some(container) => inside.push((container, process)),
                None => {
                    self.fates.no_container += 1;
                    others.insert(pid, process.namespaces[namespace::MNT]);
                }
            }
        }
        inside.retain(|(_, found)| {
            // As for events: a runtime may have other mounts than the host, and shares them with
            // its parent until it enters the container's.
            let parent_mnt_ns = others.get(&found.process.parent_pid);
            let is_entering = parent_mnt_ns == Some(&found.namespaces[namespace::MNT]);
            match found.origin {
                Origin::Container if !is_entering => return true,
                Origin::Container | Origin::Host => self.fates.set_up += 1,
                Origin::Unknown => self.fates.unknown_origin += 1,
            }
            false
        });
        inside
    }

    /// Judges what a scan found: each container as a whole, then each of its processes.
    pub fn judge_found(&mut self, found: Vec<(ContainerRef, Found)>) {
        let now = now_ns();
        for (container, mut process) in found {
            let user_ns = process.namespaces[namespace::USER];
            let tracked = self.containers.get(&container.id);
            process.process.nested_user_namespace =
                tracked.is_some_and(|tracked| tracked.user_ns != user_ns);
            self.programs.remember(&process.process);
            let process_state = Arc::new(process.process);
            let sighting = Sighting {
                container: &container,
                cgroup: process.cgroup.map(|path| (path, 0)),
                process: &process_state,
                namespaces: &process.namespaces,
            };
            self.start_container(&sighting, now);
            let mnt_ns = process.namespaces[namespace::MNT];
            self.containers.executed(&container.id, mnt_ns);
            self.judge(&container.id, Activity::Exec, process_state, now, 0);
        }
    }

    /// Judges by new rules what a scan found, containers that are known already included.
    pub fn judge_again(&mut self, found: Vec<(ContainerRef, Found)>) {
        let now = now_ns();
        let mut judged = HashSet::new();
        for (container, process) in &found {
            let is_known = self.containers.get(&container.id).is_some();
            if is_known && judged.insert(container.id.clone()) {
                let process = Arc::new(process.process.clone());
                self.judge(&container.id, Activity::Container, process, now, 0);
            }
        }
        self.judge_found(found);
    }

    /// Takes one record from the ring.
    pub fn take(&mut self, bytes: &[u8]) {
        let record = match Record::decode(bytes) {
            Ok(record) => record,
            Err(error) => {
                tracing::warn!(%error, "a record from the kernel makes no sense");
                self.fates.undecodable += 1;
                return;
            }
        };
        let fixed = &record.fixed;
        let settled = record.kind == Kind::Exec;
        let path = record.cgroup_path();
        let Some(container) = self
            .containers
            .identify(fixed.cgroup_id, path, fixed.pid, settled)
        else {
            self.fates.no_container += 1;
            return;
        };
        if !self.is_workload(&record, &container) {
            self.fates.set_up += 1;
            return;
        }
        let user_ns = fixed.namespaces[namespace::USER];
        let tracked = self.containers.get(&container.id);
        let nested = tracked.is_some_and(|tracked| tracked.user_ns != user_ns);
        let mut process = process_of(&record, nested);
        if record.kind == Kind::Exec {
            self.programs.remember(&process);
        } else {
            self.programs.complete(&mut process);
        }
        let process = Arc::new(process);
        let time_ns = epoch_ns(fixed.time_ns);
        let sighting = Sighting {
            container: &container,
            cgroup: record.cgroup_path().map(|path| (path, fixed.cgroup_id)),
            process: &process,
            namespaces: &fixed.namespaces,
        };
        self.start_container(&sighting, time_ns);
        self.containers.executed(&container.id, record.mnt_ns());
        if record.kind == Kind::File && calls::makes_io_uring(fixed.call) {
            self.may_write_unseen(&container.id, process, time_ns);
            return;
        }
        let activity = match record.kind {
            Kind::File => self.root_write(&record, &container.id),
            _ => Ok(activity_of(&record)),
        };
        let activity = match activity {
            Ok(Some(activity)) => activity,
            Ok(None) => {
                self.fates.undecodable += 1;
                return;
            }
            Err(OtherMount) => {
                self.fates.other_mount += 1;
                return;
            }
        };
        if matches!(activity, Activity::Mount { result, .. } if result >= 0) {
            let change = MountChange {
                pid: fixed.pid,
                mnt_ns: fixed.namespaces[namespace::MNT],
                time_ns: fixed.time_ns,
            };
            self.mounts_changed(&container.id, change, &process, time_ns);
        }
        self.judge(&container.id, activity, process, time_ns, fixed.posture);
    }

    /// Adds how often the kernel saw a posture again after it was sent.
    pub fn repeated(&mut self, repeats: Repeats) {
        if let Some(recorder) = &self.recorder {
            recorder.repeated(repeats);
        }
        self.judge.repeated(&repeats);
    }

    /// Tells that events were lost: whoever reads the alerts must know that they have holes.
    pub fn tell_loss(&mut self, lost: u64) {
        let time_ns = now_ns();
        if let Some(recorder) = &self.recorder {
            recorder.lost(time_ns, lost);
        }
        self.outputs.tell(&loss(time_ns, lost));
    }

    /// A runtime sets a container up from inside its control group and namespaces. What tells its
    /// work from the workload's is where the running program came from: the workload's was loaded
    /// from the mounts that the workload sees.
    fn is_workload(&mut self, record: &Record<'_>, container: &ContainerRef) -> bool {
        let (program, mnt_ns) = (record.fixed.program_mnt_ns, record.mnt_ns());
        let tracked = self.containers.get(&container.id);
        let executed_in = |ns| tracked.is_some_and(|tracked| tracked.executed_in(ns));
        if program == 0 || (program != mnt_ns && !executed_in(program)) {
            return false;
        }
        if executed_in(mnt_ns) {
            return true;
        }
        // A runtime may itself have other mounts than the host. Before it enters the container's
        // it shares them with its parent, which is not in the container.
        record.fixed.parent_mnt_ns != mnt_ns
            || self
                .containers
                .identify(0, None, record.fixed.parent_pid, false)
                .is_some_and(|parent| parent.id == container.id)
    }

    /// Learns of a container at its first process, and judges it as a whole.
    fn start_container(&mut self, sighting: &Sighting<'_>, time_ns: u64) {
        let id = &sighting.container.id;
        if self.containers.get(id).is_none() {
            self.containers.start(sighting);
            self.look_up(id);
            let process = Arc::clone(sighting.process);
            self.judge(id, Activity::Container, process, time_ns, 0);
        }
    }

    fn judge(
        &mut self,
        container_id: &str,
        activity: Activity,
        process: Arc<Process>,
        time_ns: u64,
        posture: u64,
    ) {
        let Some(tracked) = self.containers.get(container_id) else {
            return;
        };
        if tracked.is_sandbox {
            self.fates.sandbox += 1;
            return;
        }
        let event = SyscallEvent {
            number: 0,
            time_ns,
            activity,
            process,
            container: Arc::clone(&tracked.container),
        };
        if let Some(pending) = self.hold(Pending { event, posture }) {
            self.judge_now(pending);
        }
    }

    fn judge_now(&mut self, pending: Pending) {
        let Pending { event, posture } = pending;
        self.fates.judged += 1;
        if let Some(recorder) = &self.recorder {
            recorder.event(&event, posture);
        }
        let outputs = &self.outputs;
        self.judge
            .judge(event, posture, |alert| outputs.tell(alert));
    }
}

/// The alert that events were lost.
pub(crate) fn loss(time_ns: u64, lost: u64) -> Alert {
    Alert {
        time_ns,
        rule: "Falco internal: syscall event drop".to_owned(),
        priority: "Critical",
        output: format!("{lost} system call events were lost: violations may be missing"),
        output_fields: Map::from_iter([("n_drops".to_owned(), lost.into())]),
        source: "internal",
        tags: Vec::new(),
    }
}

fn process_of(record: &Record<'_>, nested_user_namespace: bool) -> Process {
    let fixed = &record.fixed;
    let is_exec = record.kind == Kind::Exec;
    Process {
        pid: fixed.pid,
        tid: fixed.tid,
        parent_pid: fixed.parent_pid,
        virtual_pid: fixed.virtual_pid,
        start_ns: fixed.start_ns,
        name: record.comm(),
        executable: is_exec.then(|| record.path()).flatten(),
        arguments: is_exec.then(|| record.arguments()).flatten(),
        users: record.users(),
        groups: record.groups(),
        supplementary_groups: record.supplementary_groups(),
        capabilities: record.capabilities(),
        nested_user_namespace,
        no_new_privs: (!record.has(flags::NO_NEW_PRIVS_UNKNOWN))
            .then(|| record.has(flags::NO_NEW_PRIVS)),
        seccomp_mode: fixed.seccomp_mode,
        gained_privileges: record.gained_privileges(),
    }
}

fn activity_of(record: &Record<'_>) -> Option<Activity> {
    let result = record.fixed.result;
    Some(match record.kind {
        Kind::Exec => Activity::Exec,
        Kind::Credentials => Activity::Credentials {
            call: calls::name(record.fixed.call)?,
            result,
        },
        Kind::Capability => Activity::Capability {
            capability: capability::NAMES.get(usize::from(record.fixed.capability))?,
            call: syscalls::name(record.fixed.call),
            result,
        },
        Kind::Mount => Activity::Mount {
            call: calls::name(record.fixed.call)?,
            result,
            source: record.path().unwrap_or_default(),
            target: record.target().unwrap_or_default(),
            fs_type: record.fs_type().unwrap_or_default(),
        },
        // Needs more than the record.
        Kind::File => return None,
    })
}

#[cfg(test)]
mod tests {
    use falco_psp_common::record::FIXED_SIZE;

    use super::*;

    const HOST: u32 = 1;
    const RUNTIME: u32 = 2;
    const POD: u32 = 3;
    const NESTED: u32 = 4;

    fn agent() -> Agent {
        let host = HostNamespaces([HOST; namespace::COUNT]);
        Agent::new(Arc::default(), false, host, Outputs::default())
    }

    /// Whether a process with these mount namespaces is the workload's: its own, that of its
    /// program, and that of its parent, which is in no container.
    fn is_workload(agent: &mut Agent, own: u32, program: u32, parent: u32) -> bool {
        let bytes = [0; FIXED_SIZE];
        let mut record = Record::decode_fixed_only(&bytes);
        record.fixed.namespaces[namespace::MNT] = own;
        record.fixed.program_mnt_ns = program;
        record.fixed.parent_mnt_ns = parent;
        record.fixed.parent_pid = std::process::id();
        let container = ContainerRef {
            id: "c".to_owned(),
            pod_uid: None,
        };
        agent.is_workload(&record, &container)
    }

    #[test]
    fn the_workload_is_told_from_the_runtime_by_where_its_program_is_from() {
        let mut agent = agent();
        // The runtime before and after it has entered the container's mounts.
        assert!(!is_workload(&mut agent, POD, HOST, HOST));
        assert!(!is_workload(&mut agent, POD, RUNTIME, RUNTIME));
        assert!(!is_workload(&mut agent, POD, 0, HOST));
        // The same where it has other mounts than the host: its own program is from these.
        assert!(!is_workload(&mut agent, RUNTIME, RUNTIME, RUNTIME));
        // The container's first program.
        assert!(is_workload(&mut agent, POD, POD, HOST));
        assert!(is_workload(&mut agent, POD, POD, RUNTIME));
    }

    #[test]
    fn what_a_workload_does_in_further_namespaces_is_its_own() {
        let mut agent = agent();
        assert!(!is_workload(&mut agent, NESTED, POD, POD));
        let process = Arc::new(Process::default());
        let container = ContainerRef {
            id: "c".to_owned(),
            pod_uid: None,
        };
        agent.containers.start(&Sighting {
            container: &container,
            cgroup: None,
            process: &process,
            namespaces: &[POD; namespace::COUNT],
        });
        agent.containers.executed("c", POD);
        assert!(is_workload(&mut agent, NESTED, POD, POD));
        assert!(is_workload(&mut agent, NESTED, NESTED, POD));
        // A child of one that is known needs no other parent.
        assert!(is_workload(&mut agent, POD, POD, POD));
        assert!(!is_workload(&mut agent, POD, HOST, HOST));
    }
}
