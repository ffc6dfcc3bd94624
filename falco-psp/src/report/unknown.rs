//! What is unknown of containers, and therefore not judged.

use std::collections::BTreeMap;

use crate::container::Container;
use crate::container::posture::Why;
use crate::control::Control;

/// Of how many containers a fact is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unknown {
    counts: [u64; FACTS.len()],
    /// Of what confines containers, by the control that it matters for and the reason.
    posture: BTreeMap<(Control, Why), u64>,
}

/// The facts, and what tells that one is unknown of a container.
type IsUnknown = fn(&Container) -> bool;
const FACTS: [(&str, IsUnknown); 7] = [
    ("privileged", |c| c.privileged.is_none()),
    ("host namespaces", |c| c.host_network.is_none()),
    ("read-only root", |c| c.root_read_only.is_none()),
    ("volumes", |c| c.volumes.is_none()),
    (IMAGE, |c| c.image.is_none()),
    (NAMESPACE, |c| {
        c.pod.as_ref().is_none_or(|pod| pod.namespace.is_none())
    }),
    (LABELS, |c| {
        c.pod.as_ref().is_none_or(|pod| pod.labels.is_none())
    }),
];

/// Matters only where a policy is about images.
pub const IMAGE: &str = "image";
/// Matters only where pods are selected by them.
pub const LABELS: &str = "labels";
/// Matters only where a policy is about namespaces.
pub const NAMESPACE: &str = "namespace";

impl Unknown {
    /// Counts what is unknown of a container.
    pub fn count(&mut self, container: &Container) {
        for (count, (_, is_unknown)) in self.counts.iter_mut().zip(FACTS) {
            *count += u64::from(is_unknown(container));
        }
        for unknown in container.unknown_posture() {
            *self.posture.entry(unknown).or_default() += 1;
        }
    }

    /// The facts that are unknown of some, with the number of containers.
    pub fn facts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let names = FACTS.iter().map(|(name, _)| *name);
        names.zip(self.counts).filter(|(_, count)| *count > 0)
    }

    /// What is unknown of what confines some, with the control that it matters for, the reason, and
    /// the number of containers.
    pub fn posture(&self) -> impl Iterator<Item = (Control, Why, u64)> {
        let posture = self.posture.iter();
        posture.map(|((control, why), count)| (*control, *why, *count))
    }
}
