//! What the API server knows of the pods of this node: labels and owners that no runtime tells.
//!
//! A thread of its own lists and watches the pods, and keeps what it knows in a table. Events never
//! wait for the network: the table has a pod, or gets it within the time that events wait anyway.

mod client;
mod config;
mod exec;
mod kubeconfig;
mod pods;
mod tls;
mod watch;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::container::{Container, Pod};
pub(crate) use client::{AskError, escaped, fetch};
pub use config::{Access, Config, ConfigError};
pub use pods::PodFacts;

/// The pods of the node. Dropped, it ends the watching.
#[derive(Debug)]
pub struct Cluster {
    table: Arc<Table>,
    changes: UnboundedReceiver<String>,
}

/// What both sides share.
#[derive(Debug)]
struct Table {
    state: Mutex<State>,
    /// The uids of pods that are new or others now.
    changed: UnboundedSender<String>,
}

#[derive(Debug, Default)]
struct State {
    by_uid: HashMap<String, Arc<PodFacts>>,
    /// Whether the table has all pods of the node, as far as the API server has told.
    complete: bool,
}

/// What the table says of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It.
    Pod(Arc<PodFacts>),
    /// The API server has no such pod on this node (yet).
    NotThere,
    /// The API server has not told its pods yet.
    NotTold,
}

impl Cluster {
    /// Starts the thread that watches the pods of the node.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(config: Config) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (changed, changes) = mpsc::unbounded_channel();
        let table = Arc::new(Table {
            state: Mutex::default(),
            changed,
        });
        let watched = Arc::clone(&table);
        thread::Builder::new()
            .name("pods".to_owned())
            .spawn(move || runtime.block_on(watch::watch(&config, &watched)))?;
        Ok(Self { table, changes })
    }

    /// One whose pods a test gives.
    #[cfg(test)]
    pub(crate) fn of_test() -> (Self, impl Fn(PodFacts)) {
        let (changed, changes) = mpsc::unbounded_channel();
        let table = Arc::new(Table {
            state: Mutex::default(),
            changed,
        });
        table.replace(Vec::new());
        let told = Arc::clone(&table);
        (Self { table, changes }, move |pod| told.put(pod))
    }

    /// What is known of the pod with this uid, as the kubelet writes it into the path of a control
    /// group.
    pub fn pod(&self, uid: &str) -> Known {
        let state = self.table.state();
        match state.by_uid.get(uid) {
            Some(pod) => Known::Pod(Arc::clone(pod)),
            None if state.complete => Known::NotThere,
            None => Known::NotTold,
        }
    }

    /// The uid of the next pod that is new or another now. May be dropped at any time.
    pub async fn changed(&mut self) -> Option<String> {
        self.changes.recv().await
    }

    /// The same, if there is one by now.
    pub fn ready(&mut self) -> Option<String> {
        self.changes.try_recv().ok()
    }
}

impl Table {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can leave the table half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a list of all pods instead of what was known.
    fn replace(&self, pods: Vec<PodFacts>) {
        let mut state = self.state();
        let before = std::mem::take(&mut state.by_uid);
        for pod in pods {
            let is_same = before.get(&pod.uid).is_some_and(|known| **known == pod);
            self.insert(&mut state, pod, is_same);
        }
        state.complete = true;
    }

    fn put(&self, pod: PodFacts) {
        let mut state = self.state();
        let known = state.by_uid.get(&pod.uid);
        let is_same = known.is_some_and(|known| **known == pod);
        self.insert(&mut state, pod, is_same);
    }

    fn insert(&self, state: &mut State, pod: PodFacts, is_same: bool) {
        let uid = pod.uid.clone();
        state.by_uid.insert(uid.clone(), Arc::new(pod));
        if !is_same {
            // Fails only if nobody asks any more.
            let _ = self.changed.send(uid);
        }
    }

    fn remove(&self, uid: &str) {
        self.state().by_uid.remove(uid);
    }

    /// Whether nobody asks any more.
    fn is_abandoned(&self) -> bool {
        self.changed.is_closed()
    }
}

impl PodFacts {
    /// Adds what was not known of a container's pod. Labels and owner are the API server's own, so
    /// they replace what a runtime remembers of them from the pod's start.
    pub fn add_to(&self, container: &mut Container) {
        let pod = container.pod.get_or_insert_with(Pod::default);
        pod.uid.get_or_insert_with(|| self.uid.clone());
        pod.name.get_or_insert_with(|| self.name.clone());
        pod.namespace.get_or_insert_with(|| self.namespace.clone());
        pod.labels = Some(self.labels.clone());
        // Without one that controls it, a pod was made by hand.
        pod.owner.clone_from(&self.owner);
        if pod.ip.is_none() {
            pod.ip.clone_from(&self.ip);
        }
    }
}

#[cfg(test)]
mod tests;
