//! Alerts by policy, control and namespace.

use std::collections::{BTreeMap, BTreeSet};

use super::exposition::{Exposition, Kind};
use crate::event::Event;
use crate::policies::Policies;
use crate::rules::Rule;

/// Namespaces with a label value of their own. Whoever may create namespaces must not be able to
/// create series without end.
const MAX_NAMESPACES: usize = 100;
/// The label value of all further ones.
const OTHER: &str = "other";

/// Alerts that were told, counted for as long as the run lasts.
#[derive(Debug, Default)]
pub struct AlertCounts {
    namespaces: BTreeSet<String>,
    counts: BTreeMap<Labels, u64>,
}

/// A label is empty where it says nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    policy: String,
    control: &'static str,
    /// A rule of the user's own.
    rule: String,
    namespace: String,
    source: &'static str,
}

impl AlertCounts {
    /// Counts an alert of a rule: one of this policy, or one of the user's own.
    pub fn note(&mut self, policy: Option<&str>, rule: &Rule, event: &Event) {
        let namespace = match event {
            Event::Syscall(event) => {
                let pod = event.container.pod.as_ref();
                pod.and_then(|pod| pod.namespace.as_deref())
            }
            Event::Audit(event) => Some(&*event.request.namespace),
            Event::Told(_) => None,
        };
        let control = rule.control().filter(|_| policy.is_some());
        let labels = Labels {
            policy: policy.unwrap_or_default().to_owned(),
            control: control.map_or("", |control| control.name()),
            rule: policy.map_or_else(|| rule.name.clone(), |_| String::new()),
            namespace: self.bounded(namespace.unwrap_or_default()),
            source: rule.source.name(),
        };
        *self.counts.entry(labels).or_default() += 1;
    }

    fn bounded(&mut self, namespace: &str) -> String {
        if !self.namespaces.contains(namespace) {
            if self.namespaces.len() >= MAX_NAMESPACES {
                return OTHER.to_owned();
            }
            self.namespaces.insert(namespace.to_owned());
        }
        namespace.to_owned()
    }

    /// Forgets what is about policies and rules that are no longer in force, so that reloading
    /// does not make series without end.
    pub fn keep(&mut self, policies: &Policies, own: &[Rule]) {
        self.counts
            .retain(|labels, _| match labels.policy.as_str() {
                "" => own.iter().any(|rule| rule.name == labels.rule),
                name => policies.each.iter().any(|policy| policy.name == name),
            });
    }

    /// Writes the family; of several sources as one.
    pub(super) fn write(all: &[&Self], exposition: &mut Exposition) {
        let mut family = exposition.family(
            "falco_psp_alerts_total",
            Kind::Counter,
            "Alerts told, by policy, control and namespace of the pod; rule is a rule of --rules.",
        );
        for (labels, count) in all.iter().flat_map(|counts| &counts.counts) {
            let labels = [
                ("policy", &*labels.policy),
                ("control", labels.control),
                ("rule", &*labels.rule),
                ("namespace", &*labels.namespace),
                ("source", labels.source),
            ];
            family.sample(&labels, *count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_are_bounded() {
        let mut counts = AlertCounts::default();
        for number in 0..MAX_NAMESPACES {
            let name = format!("ns-{number}");
            assert_eq!(counts.bounded(&name), name);
        }
        assert_eq!(counts.bounded("one-more"), OTHER);
        assert_eq!(counts.bounded("ns-7"), "ns-7");
    }
}
