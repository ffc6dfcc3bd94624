//! Reading a container's mounts again after it has changed them: at once after calm, and no more
//! often than the rest of the work can bear while one changes them all the time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Agent;
use crate::context::containers::MountChange;
use crate::context::processes;
use crate::event::{Activity, Process};

/// The time between two readings of a container's mounts. One takes up to a millisecond.
const CALM: Duration = Duration::from_millis(50);
/// Containers whose last reading is remembered; beyond that, all are read at once again.
const MOST: usize = 4_096;

/// When mounts were read, and what is put off.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    read: HashMap<String, Instant>,
    put_off: HashMap<String, PutOff>,
}

/// Changes that are yet to be looked at: the last one, which tells of the others, too.
#[derive(Debug)]
struct PutOff {
    change: MountChange,
    process: Arc<Process>,
    /// When, for the event.
    time_ns: u64,
}

impl Mounts {
    /// No longer of interest.
    pub(super) fn forget(&mut self, id: &str) {
        self.read.remove(id);
        self.put_off.remove(id);
    }
}

impl Agent {
    /// A container has changed its mounts: reads them, and judges it if its volumes are others now.
    pub(super) fn mounts_changed(
        &mut self,
        id: &str,
        change: MountChange,
        process: &Arc<Process>,
        time_ns: u64,
    ) {
        let now = Instant::now();
        let is_calm = |read: &Instant| now.duration_since(*read) >= CALM;
        if self.mounts.read.get(id).is_none_or(is_calm) {
            self.read_mounts(id, change, process, time_ns);
            return;
        }
        let put_off = PutOff {
            change,
            process: Arc::clone(process),
            time_ns,
        };
        self.mounts.put_off.insert(id.to_owned(), put_off);
    }

    /// Reads what was put off and has waited long enough, or `all` of it.
    pub fn read_put_off_mounts(&mut self, all: bool) {
        if self.mounts.put_off.is_empty() {
            return;
        }
        let now = Instant::now();
        let read = &self.mounts.read;
        let is_due = |id: &String| {
            let read = read.get(id);
            all || read.is_none_or(|read| now.duration_since(*read) >= CALM)
        };
        let due: Vec<String> = self
            .mounts
            .put_off
            .keys()
            .filter(|id| is_due(id))
            .cloned()
            .collect();
        for id in due {
            let Some(put_off) = self.mounts.put_off.remove(&id) else {
                continue;
            };
            let mut change = put_off.change;
            // Of a process that has ended any other of the container sees what it changed.
            let process = &put_off.process;
            if !processes::is_alive(process.pid, process.start_ns)
                && let Some(pid) = self.containers.a_process(&id)
            {
                change.pid = pid;
            }
            self.read_mounts(&id, change, &put_off.process, put_off.time_ns);
        }
    }

    fn read_mounts(&mut self, id: &str, change: MountChange, process: &Arc<Process>, time_ns: u64) {
        let changed = self.containers.refresh_mounts(id, change);
        if self.mounts.read.len() >= MOST {
            self.mounts.read.clear();
        }
        self.mounts.read.insert(id.to_owned(), Instant::now());
        if changed {
            let process = Arc::clone(process);
            self.judge(id, Activity::Container, process, time_ns, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use falco_psp_common::record::namespace;

    use super::*;
    use crate::context::cgroup::ContainerRef;
    use crate::context::containers::Sighting;
    use crate::context::host::HostNamespaces;
    use crate::outputs::Outputs;

    #[test]
    fn of_many_changes_the_first_and_the_last_are_looked_at() {
        let host = HostNamespaces([1; namespace::COUNT]);
        let mut agent = Agent::new(Arc::default(), false, host, Outputs::default());
        let process = Arc::new(Process {
            pid: std::process::id(),
            ..Process::default()
        });
        let container = ContainerRef {
            id: "c".to_owned(),
            pod_uid: None,
        };
        agent.start_container(
            &Sighting {
                container: &container,
                cgroup: None,
                process: &process,
                namespaces: &[2; namespace::COUNT],
            },
            1,
        );
        let change = || MountChange {
            pid: process.pid,
            mnt_ns: 2,
            time_ns: processes::since_boot_ns(),
        };
        agent.mounts_changed("c", change(), &process, 1);
        assert!(agent.mounts.put_off.is_empty());
        for _ in 0..100 {
            agent.mounts_changed("c", change(), &process, 1);
        }
        assert_eq!(agent.mounts.put_off.len(), 1);
        agent.mounts.read.insert("c".to_owned(), Instant::now());
        agent.read_put_off_mounts(false);
        assert_eq!(agent.mounts.put_off.len(), 1, "it is not calm yet");
        thread::sleep(CALM);
        agent.read_put_off_mounts(false);
        assert!(agent.mounts.put_off.is_empty());
        // At the end nothing is left out.
        agent.mounts_changed("c", change(), &process, 1);
        agent.read_put_off_mounts(true);
        assert!(agent.mounts.put_off.is_empty());
        agent.mounts.forget("c");
        assert!(agent.mounts.read.is_empty());
    }
}
