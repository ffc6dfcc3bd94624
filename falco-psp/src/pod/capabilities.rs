//! The capabilities that containers add and drop, by the names in the pod.

use std::collections::BTreeSet;

use serde_json::Value;

use super::items;

/// Facts of all containers together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapabilityFacts {
    /// What any container adds.
    pub added: BTreeSet<String>,
    /// What every container drops.
    pub dropped_by_all: BTreeSet<String>,
    /// What every container adds or drops.
    pub named_by_all: BTreeSet<String>,
}

impl CapabilityFacts {
    pub(super) fn of(containers: &[&Value]) -> Self {
        let mut facts = Self::default();
        for (index, container) in containers.iter().enumerate() {
            let capabilities = &container["securityContext"]["capabilities"];
            let set = |list: &str| -> BTreeSet<String> {
                let names = items(&capabilities[list]).filter_map(Value::as_str);
                names.map(str::to_owned).collect()
            };
            let (add, drop) = (set("add"), set("drop"));
            let named: BTreeSet<String> = add.union(&drop).cloned().collect();
            if index == 0 {
                (facts.dropped_by_all, facts.named_by_all) = (drop, named);
            } else {
                facts.dropped_by_all.retain(|name| drop.contains(name));
                facts.named_by_all.retain(|name| named.contains(name));
            }
            facts.added.extend(add);
        }
        facts
    }
}
