//! The capabilities that containers add and drop, by the names in the pod.

use std::collections::BTreeSet;

use super::model::{Container, Text};

/// Facts of all containers together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapabilityFacts {
    /// What any container adds.
    pub added: BTreeSet<String>,
    /// What every container drops.
    pub dropped_by_all: BTreeSet<String>,
    /// What every container adds or drops.
    pub named_by_all: BTreeSet<String>,
    /// Names of the containers that add any.
    pub adding: Vec<String>,
}

impl CapabilityFacts {
    pub(super) fn of(containers: &[&Container<'_>]) -> Self {
        let mut facts = Self::default();
        let set = |names: &[Text<'_>]| -> BTreeSet<String> {
            names.iter().map(|name| name.to_string()).collect()
        };
        for (index, container) in containers.iter().enumerate() {
            let capabilities = &container.security_context.capabilities;
            let (add, drop) = (set(&capabilities.add), set(&capabilities.drop));
            if index == 0 {
                facts.named_by_all = add.union(&drop).cloned().collect();
                facts.dropped_by_all = drop;
            } else {
                facts.dropped_by_all.retain(|name| drop.contains(name));
                facts
                    .named_by_all
                    .retain(|name| add.contains(name) || drop.contains(name));
            }
            if !add.is_empty() {
                facts.adding.push(container.name.to_string());
                facts.added.extend(add);
            }
        }
        facts
    }
}
