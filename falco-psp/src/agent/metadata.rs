//! What is looked up of containers while the agent judges: their events wait for it in the hold.

use std::sync::Arc;
use std::time::Instant;

use super::Agent;
use super::hold::{Hold, LONGEST, MOST};
use crate::container::{Container, Gap};
use crate::context::cluster::{Cluster, Known, PodFacts};
use crate::context::cri::lookups::{Answer, Lookups, Outcome};
use crate::context::metadata::MetadataCounts;
use crate::event::{Activity, SyscallEvent};

/// An event that is yet to be judged.
#[derive(Debug)]
pub(super) struct Pending {
    /// It; its number is given when it is judged.
    pub(super) event: SyscallEvent,
    /// The hash under which the kernel counts its repeats; 0 if it does not.
    pub(super) posture: u64,
}

/// The look-ups and what waits for them.
#[derive(Debug)]
pub(super) struct Metadata {
    /// Without them no runtime is asked.
    lookups: Option<Lookups>,
    hold: Hold<Pending>,
    /// An answer that was waited for.
    arrived: Option<Answer>,
    /// Without it no API server is asked.
    cluster: Option<Cluster>,
    /// The uid of a pod that has changed.
    changed: Option<String>,
}

impl Default for Metadata {
    fn default() -> Self {
        Self {
            lookups: None,
            hold: Hold::new(MOST),
            arrived: None,
            cluster: None,
            changed: None,
        }
    }
}

impl Metadata {
    /// Asks no longer for a container.
    pub(super) fn forget(&self, id: &str) {
        if let Some(lookups) = &self.lookups {
            lookups.forget(id);
        }
    }

    /// What the API server tells of a container's pod; `None` if it is not asked or the container
    /// is in none.
    fn pod(&self, container: &Container) -> Option<Known> {
        let uid = container.pod.as_ref()?.uid.as_ref()?;
        Some(self.cluster.as_ref()?.pod(uid))
    }
}

impl Agent {
    /// Has the container runtime asked for what it knows of containers.
    pub fn look_up_with(&mut self, lookups: Option<Lookups>) {
        self.metadata.lookups = lookups;
    }

    /// Has pods completed by what the API server tells of them.
    pub fn complete_with(&mut self, cluster: Option<Cluster>) {
        self.metadata.cluster = cluster;
    }

    /// What came of looking up what surrounds containers.
    pub fn metadata_counts(&self) -> MetadataCounts {
        MetadataCounts {
            held: self.metadata.hold.len() as u64,
            containers: self.containers.len() as u64,
            ..self.containers.counts
        }
    }

    /// Waits until [`Self::settle`] has something to do. May be dropped at any time.
    pub async fn unsettled(&mut self) {
        let Metadata {
            lookups,
            hold,
            arrived,
            cluster,
            changed,
        } = &mut self.metadata;
        if arrived.is_some() || changed.is_some() {
            return;
        }
        let next_end = hold.next_end();
        let end = async {
            match next_end {
                Some(end) => tokio::time::sleep_until(end.into()).await,
                None => std::future::pending().await,
            }
        };
        let answer = async {
            match lookups {
                Some(lookups) => match lookups.next().await {
                    Some(answer) => answer,
                    None => std::future::pending().await,
                },
                None => std::future::pending().await,
            }
        };
        let change = async {
            match cluster {
                Some(cluster) => match cluster.changed().await {
                    Some(uid) => uid,
                    None => std::future::pending().await,
                },
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = end => {}
            answer = answer => *arrived = Some(answer),
            uid = change => *changed = Some(uid),
        }
    }

    /// Takes the answers that are there, and judges the events that need not wait any more.
    pub fn settle(&mut self) {
        loop {
            let lookups = self.metadata.lookups.as_mut();
            let arrived = self.metadata.arrived.take();
            let Some(answer) = arrived.or_else(|| lookups?.ready()) else {
                break;
            };
            self.learn(answer);
        }
        loop {
            let cluster = self.metadata.cluster.as_mut();
            let changed = self.metadata.changed.take();
            let Some(uid) = changed.or_else(|| cluster?.ready()) else {
                break;
            };
            self.learn_pod(&uid);
        }
        for pending in self.metadata.hold.expired(Instant::now()) {
            self.give_up(pending);
        }
    }

    /// Judges all events that wait, with what is known.
    pub fn settle_all(&mut self) {
        self.settle();
        for pending in self.metadata.hold.all() {
            self.give_up(pending);
        }
    }

    /// Has a container looked up that was just found.
    pub(super) fn look_up(&mut self, id: &str) {
        let Some(tracked) = self.containers.get_mut(id) else {
            return;
        };
        if tracked.is_sandbox {
            return;
        }
        let container = Arc::make_mut(&mut tracked.container);
        match &self.metadata.lookups {
            Some(lookups) => {
                container.runtime_gap(Some(Gap::NotYet));
                tracked.waits = Some(Instant::now() + LONGEST);
                lookups.ask(id);
            }
            None => container.runtime_gap(Some(Gap::NoRuntime)),
        }
        match self.metadata.pod(container) {
            Some(Known::Pod(pod)) => {
                pod.add_to(container);
                self.containers.counts.api.found += 1;
            }
            Some(Known::NotThere) => {
                tracked.waits.get_or_insert(Instant::now() + LONGEST);
                self.containers.counts.api.not_there += 1;
            }
            Some(Known::NotTold) => {
                tracked.waits.get_or_insert(Instant::now() + LONGEST);
                self.containers.counts.api.failed += 1;
            }
            None => {}
        }
    }

    /// Takes what the API server tells now of a pod.
    fn learn_pod(&mut self, uid: &str) {
        let known = self.metadata.cluster.as_ref().map(|all| all.pod(uid));
        // Of one that is gone, what was known stays.
        let Some(Known::Pod(pod)) = known else { return };
        let waits_for_runtime = self.metadata.lookups.is_some();
        for id in self.containers.of_pod(uid) {
            let Some(tracked) = self.containers.get_mut(&id) else {
                continue;
            };
            let before = Arc::clone(&tracked.container);
            pod.add_to(Arc::make_mut(&mut tracked.container));
            if waits_for_runtime && tracked.waits.is_some() {
                // Its answer judges what waits.
                continue;
            }
            tracked.waits = None;
            let judged_early = std::mem::take(&mut tracked.judged_early);
            let is_late = judged_early && before != tracked.container;
            let first = Arc::clone(&tracked.first);
            self.containers.counts.api.found += 1;
            for mut pending in self.metadata.hold.release(&id) {
                pod.add_to(Arc::make_mut(&mut pending.event.container));
                self.judge_now(pending);
            }
            if is_late {
                self.judge(&id, Activity::Container, first, super::now_ns(), 0);
            }
        }
    }

    /// Lets an event wait if its container is not yet known. Gives back what is to be judged now:
    /// it, or, if too many wait, the oldest.
    pub(super) fn hold(&mut self, pending: Pending) -> Option<Pending> {
        let id = &pending.event.container.id;
        let tracked = self.containers.get(id);
        let waits = tracked.and_then(|tracked| tracked.waits);
        let Some(until) = waits.filter(|until| *until > Instant::now()) else {
            return Some(pending);
        };
        let id = id.clone();
        let oldest = self.metadata.hold.push(&id, until, pending)?;
        self.given_up(&oldest);
        Some(oldest)
    }

    fn give_up(&mut self, pending: Pending) {
        self.given_up(&pending);
        self.judge_now(pending);
    }

    fn given_up(&mut self, pending: &Pending) {
        self.containers.counts.given_up += 1;
        if let Some(tracked) = self.containers.get_mut(&pending.event.container.id) {
            tracked.judged_early = true;
        }
    }

    fn learn(&mut self, answer: Answer) {
        let Answer { id, outcome } = answer;
        let outcomes = &mut self.containers.counts.cri;
        match &outcome {
            Ok(_) => outcomes.found += 1,
            Err(Gap::UnknownToRuntime) => outcomes.not_there += 1,
            Err(Gap::RuntimeSilent) => outcomes.timed_out += 1,
            Err(_) => outcomes.failed += 1,
        }
        let held = self.metadata.hold.release(&id);
        let Some(tracked) = self.containers.get_mut(&id) else {
            // Gone meanwhile, or another of the same id.
            for pending in held {
                self.judge_now(pending);
            }
            return;
        };
        let before = Arc::clone(&tracked.container);
        add(&outcome, &mut tracked.container);
        let pod = match self.metadata.pod(&tracked.container) {
            Some(Known::Pod(pod)) => Some(pod),
            _ => None,
        };
        complete(pod.as_deref(), &mut tracked.container);
        tracked.waits = None;
        let judged_early = std::mem::replace(&mut tracked.judged_early, outcome.is_err());
        let is_late = judged_early && outcome.is_ok() && before != tracked.container;
        if let Ok(facts) = &outcome {
            tracked.is_sandbox |= facts.is_sandbox;
            let container = &tracked.container;
            let pod = container.pod.as_ref().and_then(|pod| pod.name.as_deref());
            tracing::info!(id, name = container.name, pod, is_late, "metadata");
        }
        let first = Arc::clone(&tracked.first);
        if tracked.is_sandbox {
            self.fates.sandbox += held.len() as u64;
            return;
        }
        for mut pending in held {
            // What was mounted then may not be mounted now.
            add(&outcome, &mut pending.event.container);
            complete(pod.as_deref(), &mut pending.event.container);
            self.judge_now(pending);
        }
        if is_late {
            let now = super::now_ns();
            self.judge(&id, Activity::Container, first, now, 0);
        }
    }
}

/// Adds what the API server tells: after what a runtime does, for it knows better.
fn complete(pod: Option<&PodFacts>, container: &mut Arc<Container>) {
    if let Some(pod) = pod {
        pod.add_to(Arc::make_mut(container));
    }
}

/// Adds what came of a look-up.
fn add(outcome: &Outcome, container: &mut Arc<Container>) {
    match outcome {
        Ok(facts) => facts.add_to(Arc::make_mut(container)),
        Err(gap) if container.gaps.contains(gap) => {}
        Err(gap) => Arc::make_mut(container).runtime_gap(Some(*gap)),
    }
}

#[cfg(test)]
mod tests;
