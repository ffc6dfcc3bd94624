//! What was seen of each container, and of those that are gone by workload.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Needs, Uses};
use crate::container::{Container, WorkloadId};
use crate::event::SyscallEvent;

/// Workloads whose containers are gone that are remembered by name.
const MOST: usize = 10_000;

/// What was seen.
#[derive(Debug, Default)]
pub struct Kept {
    /// By the container's id.
    running: HashMap<String, Uses>,
    gone: BTreeMap<WorkloadId, Needs>,
    /// Of workloads that are too many.
    others: Needs,
}

impl Kept {
    /// Notes what an event tells.
    pub fn note(&mut self, event: &SyscallEvent) {
        let id = &event.container.id;
        match self.running.get_mut(id) {
            Some(uses) => uses.note_event(event),
            None => {
                let mut uses = Uses::default();
                uses.note_event(event);
                self.running.insert(id.clone(), uses);
            }
        }
    }

    /// Takes leave of containers.
    pub fn forget(&mut self, gone: &[Arc<Container>]) {
        for container in gone {
            let Some(uses) = self.running.remove(&container.id) else {
                continue;
            };
            let needs = of_container(container, uses);
            let id = container.workload();
            if self.gone.len() < MOST || self.gone.contains_key(&id) {
                self.gone.entry(id).or_default().absorb(&needs);
            } else {
                self.others.absorb(&needs);
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
