//! What pods do, judged: as it happens, and from a recording.

use std::collections::HashSet;
use std::sync::Arc;

use crate::container::Container;
use crate::event::{Activity, Event, Repeats, SyscallEvent};
use crate::listen::alerts::AlertCounts;
use crate::needs::Kept;
use crate::outputs::alert::Alert;
use crate::policies::Policies;
use crate::report::departed::Departed;
use crate::report::tally::{Tally, Violation, facts};
use crate::rules::RuleSet;

/// Judges events and keeps account of what was found.
#[derive(Debug)]
pub struct Judge {
    pub(crate) rules: Arc<RuleSet>,
    policies: Arc<Policies>,
    /// Whether every violation is told, not only the first of its kind.
    all: bool,
    number: u64,
    /// What was found.
    pub tally: Tally,
    /// The containers that are gone.
    pub departed: Departed,
    /// The alerts that were told.
    pub alerts: AlertCounts,
    /// What was seen, whatever the rules say of it.
    pub needs: Kept,
}

impl Judge {
    /// A judge by `rules`: with `all` every violation is told, otherwise the first of each kind.
    pub fn new(rules: Arc<RuleSet>, all: bool) -> Self {
        Self {
            rules,
            policies: Arc::default(),
            all,
            number: 0,
            tally: Tally::default(),
            departed: Departed::default(),
            alerts: AlertCounts::default(),
            needs: Kept::default(),
        }
    }

    /// Judges by `rules` from now on, of which the first are those of `policies`. What was found
    /// by the rules until now is forgotten.
    pub fn judge_by(&mut self, rules: Arc<RuleSet>, policies: Arc<Policies>) {
        let of_policies = policies.rules.rules().len();
        let own = rules.rules().get(of_policies..).unwrap_or_default();
        self.alerts.keep(&policies, own);
        self.rules = rules;
        self.policies = policies;
        self.tally = Tally::default();
        self.departed = Departed::default();
        self.needs = Kept::default();
    }

    /// Judges an event, and gives the alerts that are to be told. `posture` is the hash under
    /// which the kernel counts its repeats, 0 if it does not.
    pub fn judge(&mut self, mut event: SyscallEvent, posture: u64, mut tell: impl FnMut(&Alert)) {
        self.number += 1;
        event.number = self.number;
        // A container as a whole is judged whichever program shows it.
        let program = event.process.executable.clone();
        let program = program.filter(|_| event.activity != Activity::Container);
        self.needs.note(&event, posture);
        let container = self.tally.subject(&event.container.id);
        let event = Event::from(event);
        for (index, rule) in self.rules.matching(&event) {
            let violation = Violation {
                rule: index,
                subject: container,
                facts: facts(rule, &event, program.as_deref()),
            };
            let told = self.tally.count(violation, posture, event.time_ns());
            if told {
                let text = || rule.output.render(&event);
                self.tally.keep_example(violation, text);
            }
            if told || self.all {
                let policy = self.policies.policy_of(index);
                let policy = policy.and_then(|policy| self.policies.each.get(policy));
                let policy = policy.map(|policy| &*policy.name);
                self.alerts.note(policy, rule, &event);
                tell(&Alert::of(rule, &event));
            }
        }
    }

    /// Adds how often the kernel saw a posture again after it was sent.
    pub fn repeated(&mut self, repeats: &Repeats) {
        self.tally.repeated(repeats.posture, repeats.times);
        self.needs.repeated(repeats);
    }

    /// Takes leave of containers: of the last ones the result is told by name, of the others in
    /// sum.
    pub fn forget(&mut self, gone: Vec<Arc<Container>>) {
        self.needs.forget(&gone);
        let past = self.departed.add(gone, &self.tally);
        self.tally.fold(&past);
    }

    /// Whether some container conflicts with every policy, for with one of several it may still be
    /// admitted by another; or a rule of the user's own has fired.
    pub fn found_any(&self, policies: &Policies) -> bool {
        let violated = self.tally.violated();
        violated.into_iter().any(|rules| {
            let of_policies: Vec<_> = rules
                .into_iter()
                .filter(|rule| !policies.only_changes(*rule))
                .map(|rule| policies.policy_of(rule))
                .collect();
            let own_fired = of_policies.contains(&None);
            let violated: HashSet<usize> = of_policies.into_iter().flatten().collect();
            let count = policies.each.len();
            own_fired || (count > 0 && (0..count).all(|policy| violated.contains(&policy)))
        })
    }
}
