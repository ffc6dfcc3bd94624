//! What was seen of each container, and of those that are gone by workload.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::checks::Check;
use super::{Needs, Uses};
use crate::container::{Container, WorkloadId};
use crate::event::{Activity, Repeats, SyscallEvent};
use crate::recording::Word;

/// Workloads whose containers are gone that are remembered by name.
const MOST: usize = 10_000;
/// Checks of capabilities whose repeats can be told apart: as many as the kernel side counts. The repeats
/// of more are not added.
const MOST_CHECKS: usize = 8_192;

/// What was seen.
#[derive(Debug, Default)]
pub struct Kept {
    /// By the container's id.
    running: HashMap<String, Uses>,
    gone: BTreeMap<WorkloadId, Needs>,
    /// Of workloads that are too many.
    others: Needs,
    /// Checks by the hash under which the kernel counts their repeats.
    checks: HashMap<u64, Told>,
    /// Containers that are gone and of which there are checks: their workload and name.
    names: HashMap<String, (WorkloadId, String)>,
}

/// A check that was told.
#[derive(Debug)]
struct Told {
    container: String,
    capability: Word,
    call: String,
    denied: bool,
}

impl Kept {
    /// Notes what an event tells. `posture` is the hash under which the kernel counts its repeats, 0
    /// if it does not.
    pub fn note(&mut self, event: &SyscallEvent, posture: u64) {
        let id = &event.container.id;
        match self.running.get_mut(id) {
            Some(uses) => uses.note_event(event),
            None => {
                let mut uses = Uses::default();
                uses.note_event(event);
                self.running.insert(id.clone(), uses);
            }
        }
        if let Activity::Capability {
            capability,
            call,
            result,
        } = &event.activity
            && posture != 0
            && self.has_room()
        {
            let told = Told {
                container: id.clone(),
                capability,
                call: call.clone(),
                denied: *result < 0,
            };
            self.checks.insert(posture, told);
        }
    }

    /// Makes room for one more check: those of containers that are gone are forgotten first.
    fn has_room(&mut self) -> bool {
        if self.checks.len() >= MOST_CHECKS && !self.names.is_empty() {
            let names = std::mem::take(&mut self.names);
            self.checks
                .retain(|_, told| !names.contains_key(&told.container));
        }
        self.checks.len() < MOST_CHECKS
    }

    /// Adds how often the kernel saw a check again after it was sent.
    pub fn repeated(&mut self, repeats: &Repeats) {
        let (Some(told), Some(last)) = (self.checks.get(&repeats.posture), repeats.last) else {
            return;
        };
        let uses = match self.names.get(&told.container) {
            Some((workload, name)) => {
                let needs = self.gone.get_mut(workload);
                needs.and_then(|needs| needs.observed.get_mut(name))
            }
            None => self.running.get_mut(&told.container),
        };
        let Some(uses) = uses else { return };
        let check = Check {
            time_ns: last.time_ns,
            call: told.call.clone(),
            denied: told.denied,
            pid: last.pid,
            process: None,
            command: None,
        };
        uses.note_checks(told.capability, check, repeats.times);
    }

    /// Takes leave of containers.
    pub fn forget(&mut self, gone: &[Arc<Container>]) {
        if gone.is_empty() {
            return;
        }
        let checked = self.checks.values().map(|told| &*told.container);
        let checked: HashSet<&str> = checked.collect();
        for container in gone {
            let Some(uses) = self.running.remove(&container.id) else {
                continue;
            };
            let needs = of_container(container, uses);
            let id = container.workload();
            if self.gone.len() < MOST || self.gone.contains_key(&id) {
                self.gone.entry(id.clone()).or_default().absorb(&needs);
            } else {
                self.others.absorb(&needs);
            }
            if checked.contains(&*container.id) {
                let name = container.name.clone().unwrap_or_default();
                self.names.insert(container.id.clone(), (id, name));
            }
        }
    }

    /// What each workload needs, with these containers that run, or of which it is still known what
    /// they were.
    pub fn by_workload<'c>(
        &self,
        containers: impl Iterator<Item = &'c Arc<Container>>,
    ) -> BTreeMap<WorkloadId, Needs> {
        let mut all = self.gone.clone();
        for container in containers {
            if let Some(uses) = self.running.get(&container.id) {
                let needs = of_container(container, uses.clone());
                all.entry(container.workload()).or_default().absorb(&needs);
            }
        }
        all
    }

    /// What workloads need that are no longer told by name.
    pub fn others(&self) -> &Needs {
        &self.others
    }
}

fn of_container(container: &Container, uses: Uses) -> Needs {
    let name = container.name.clone().unwrap_or_default();
    Needs {
        observed: BTreeMap::from([(name, uses)]),
        ..Needs::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{LastRepeat, Process};
    use crate::needs::checks::Outcomes;

    fn container(id: &str) -> Arc<Container> {
        Arc::new(Container {
            id: id.to_owned(),
            name: Some(id.to_owned()),
            ..Container::default()
        })
    }

    fn refused(container: &Arc<Container>) -> SyscallEvent {
        SyscallEvent {
            number: 1,
            time_ns: 1_000,
            activity: Activity::Capability {
                capability: "NET_RAW",
                call: "socket".to_owned(),
                result: -1,
            },
            process: Arc::new(Process::default()),
            container: Arc::clone(container),
        }
    }

    fn denied(kept: &Kept, container: &Arc<Container>) -> u64 {
        let all = kept.by_workload([container].into_iter());
        let uses = &all[&container.workload()].observed[&*container.id];
        uses.capability_checks["NET_RAW"].all.denied
    }

    #[test]
    fn repeats_come_to_containers_that_are_gone() {
        let mut kept = Kept::default();
        let (web, job) = (container("web"), container("job"));
        kept.note(&refused(&web), 1);
        kept.note(&refused(&job), 2);
        kept.forget(&[Arc::clone(&job)]);
        for (posture, times) in [(1, 5), (2, 7), (3, 9)] {
            let last = Some(LastRepeat {
                time_ns: 2_000,
                pid: 10,
            });
            kept.repeated(&Repeats {
                posture,
                times,
                last,
            });
        }
        assert_eq!((denied(&kept, &web), denied(&kept, &job)), (6, 8));
    }

    #[test]
    fn checks_of_containers_that_are_gone_make_room() {
        let mut kept = Kept::default();
        for number in 0..2 * MOST_CHECKS as u64 {
            let container = container(&number.to_string());
            kept.note(&refused(&container), number + 1);
            kept.forget(&[container]);
        }
        assert!(kept.checks.len() <= MOST_CHECKS && kept.names.len() <= MOST_CHECKS);
        let last = container("last");
        kept.note(&refused(&last), u64::MAX);
        kept.repeated(&Repeats {
            posture: u64::MAX,
            times: 4,
            last: Some(LastRepeat {
                time_ns: 2_000,
                pid: 1,
            }),
        });
        assert_eq!(denied(&kept, &last), 5);
    }

    #[test]
    fn what_was_refused_is_no_use() {
        let mut kept = Kept::default();
        let web = container("web");
        kept.note(&refused(&web), 1);
        let all = kept.by_workload([&web].into_iter());
        let uses = &all[&web.workload()].observed["web"];
        assert!(uses.capabilities.is_empty());
        let of_socket = uses.capability_checks["NET_RAW"].calls["socket"];
        let expected = Outcomes {
            granted: 0,
            denied: 1,
        };
        assert_eq!(of_socket, expected);
    }
}
