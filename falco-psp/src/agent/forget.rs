//! Forgetting containers that are gone, so that memory does not grow with the containers that a
//! node ever ran.

use std::time::Instant;

use super::Agent;
use crate::context::processes;

impl Agent {
    /// Forgets the containers of which no process runs any more. What was found of them stays in
    /// the result: of the last ones by name, of the others in sum.
    pub fn forget_gone(&mut self) {
        self.forget_gone_at(Instant::now());
    }

    /// The same as if it were `now`.
    pub fn forget_gone_at(&mut self, now: Instant) {
        self.forget_gone_by(now, processes::is_alive, processes::cgroups);
    }

    pub(super) fn forget_gone_by(
        &mut self,
        now: Instant,
        is_alive: impl Fn(u32, u64) -> bool,
        running: impl FnOnce() -> Vec<(u32, u64, String)>,
    ) {
        let gone = self.containers.forget_gone(now, is_alive, running);
        for container in &gone {
            tracing::info!(id = container.id, "container is gone");
            self.metadata.forget(&container.id);
            self.mounts.forget(&container.id);
        }
        if let Some(recorder) = &self.recorder {
            recorder.gone(&gone);
        }
        self.judge.forget(gone);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use falco_psp_common::record::namespace;

    use crate::context::cgroup::ContainerRef;
    use crate::context::containers::{GRACE, Sighting};
    use crate::context::host::HostNamespaces;
    use crate::event::{Activity, Ids, Process};
    use crate::outputs::Outputs;
    use crate::rules::load;

    use super::*;

    const RULES: &str = "
- {rule: root, desc: d, output: o, priority: info, condition: evt.type=execve and user.uid=0}
- {rule: any, desc: d, output: o, priority: info, condition: evt.type=container}
";

    #[test]
    fn a_hundred_thousand_containers_leave_little_behind() {
        const ALL: u32 = 100_000;
        const AT_ONCE: u32 = 500;
        let (rules, _) = load(&"r.yaml".into(), RULES).unwrap();
        let host = HostNamespaces([1; namespace::COUNT]);
        let mut agent = Agent::new(Arc::new(rules), false, host, Outputs::default());
        let mut now = Instant::now();
        let none = |_, _| false;
        for first in (0..ALL).step_by(AT_ONCE as usize) {
            for n in first..first + AT_ONCE {
                run(&mut agent, n);
            }
            now += Duration::from_secs(5);
            agent.forget_gone_by(now, none, Vec::new);
            assert!(agent.containers.remembered() <= 8 * AT_ONCE as usize);
            assert!(agent.judge.tally.remembered() <= 8 * AT_ONCE as usize + 8_000);
        }
        for _ in 0..2 {
            now += GRACE;
            agent.forget_gone_by(now, none, Vec::new);
        }
        assert_eq!(agent.containers.remembered(), 0);
        assert_eq!(agent.metadata_counts().forgotten, u64::from(ALL));
        assert_eq!(agent.judge.departed.named().count(), 1_000);
        assert_eq!(agent.judge.departed.others, u64::from(ALL) - 1_000);
        // Nothing of the result is lost.
        let sum = |rule: usize| -> u64 {
            let named = agent.judge.tally.counts().filter(|(_, of, _)| *of == rule);
            let named: u64 = named.map(|(_, _, count)| count).sum();
            let folded = agent.judge.tally.folded().flat_map(|(rules, folded)| {
                let counts = rules.iter().zip(&folded.counts);
                counts
                    .filter(|(of, _)| **of == rule)
                    .map(|(_, count)| *count)
            });
            named + folded.sum::<u64>()
        };
        assert_eq!((sum(0), sum(1)), (u64::from(ALL) / 2, u64::from(ALL)));
    }

    /// Runs a container with one process, which has ended by now.
    fn run(agent: &mut Agent, n: u32) {
        let process = Arc::new(Process {
            pid: 2_000_000_000 + n,
            users: Ids {
                real: n % 2,
                effective: n % 2,
                saved: n % 2,
                filesystem: n % 2,
            },
            ..Process::default()
        });
        let path = format!("/kubepods/besteffort/pod/{n:064x}");
        let id = u64::from(n) + 1_000;
        let container = agent.containers.identify(id, Some(path.clone()), 0, true);
        let container = container.unwrap_or(ContainerRef {
            id: "none".to_owned(),
            pod_uid: None,
        });
        let sighting = Sighting {
            container: &container,
            cgroup: Some((path, id)),
            process: &process,
            namespaces: &[2; namespace::COUNT],
        };
        agent.start_container(&sighting, 1);
        agent.judge(&container.id, Activity::Exec, process, 1, id);
    }
}
