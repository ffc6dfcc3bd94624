//! The sources of events.

use std::fmt;

use crate::event::Event;

/// Where the events of a rule come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// System calls, and the containers found on the node.
    Syscall,
    /// Kubernetes audit events, and manifests.
    K8sAudit,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Syscall, Self::K8sAudit];

    /// The name in a rules file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Syscall => "syscall",
            Self::K8sAudit => "k8s_audit",
        }
    }

    /// Reads a source's name.
    pub fn parse(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|source| source.name() == name)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Event {
    /// Where it comes from.
    pub fn source(&self) -> Source {
        match self {
            Self::Syscall(_) => Source::Syscall,
            Self::Audit(_) => Source::K8sAudit,
            Self::Told(event) => event.source,
        }
    }
}
