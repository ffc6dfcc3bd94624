//! Whether the agent sees what it was asked to see.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// What has to be done before the agent is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The audit webhook listens.
    Webhook,
    /// The audit log is read.
    AuditLog,
    /// The hooks are attached.
    Hooks,
    /// The containers that ran before are found and judged.
    FirstScan,
    /// The run goes on.
    Running,
}

impl Step {
    /// Why the agent is not ready without it.
    fn reason(self) -> &'static str {
        match self {
            Self::Webhook => "the audit webhook does not listen yet",
            Self::AuditLog => "the audit log is not read",
            Self::Hooks => "the hooks are not attached yet",
            Self::FirstScan => "the containers that ran before are not judged yet",
            Self::Running => "falco-psp is ending",
        }
    }
}

/// What is still missing. Clones share it.
#[derive(Clone, Debug)]
pub struct Readiness {
    missing: Arc<Mutex<BTreeSet<Step>>>,
}

impl Readiness {
    /// Ready when all these steps are done.
    pub fn after(steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            missing: Arc::new(Mutex::new(steps.into_iter().collect())),
        }
    }

    /// Takes note that a step is done.
    pub fn done(&self, step: Step) {
        self.with(|missing| missing.remove(&step));
    }

    /// Takes note that something is missing, again or for good.
    pub fn missing(&self, step: Step) {
        self.with(|missing| missing.insert(step));
    }

    /// Why the agent is not ready; nothing if it is.
    pub fn reasons(&self) -> Vec<&'static str> {
        self.with(|missing| missing.iter().map(|step| step.reason()).collect())
    }

    fn with<T>(&self, act: impl FnOnce(&mut BTreeSet<Step>) -> T) -> T {
        act(&mut self.missing.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
