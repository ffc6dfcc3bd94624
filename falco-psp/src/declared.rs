//! What pods declare, judged: by audit events and manifests alike.

use crate::event::{AuditEvent, Event};
use crate::listen::alerts::AlertCounts;
use crate::outputs::alert::Alert;
use crate::policies::Policies;
use crate::report::declared::{Finding, Report, Subject, Verdict};
use crate::report::tally::{Tally, Violation, facts};
use crate::rules::{Priority, Rule};

/// What one policy's rules say of an event.
#[derive(Debug, Default)]
struct Findings<'r> {
    violations: Vec<(usize, &'r Rule)>,
    mutations: Vec<(usize, &'r Rule)>,
    in_scope: bool,
}

/// Judges events and keeps account of what was found.
#[derive(Debug, Default)]
pub struct Judge {
    all: bool,
    tally: Tally,
    /// What was found, by workload.
    pub report: Report,
    /// The alerts that were told.
    pub alerts: AlertCounts,
}

impl Judge {
    /// A judge that has every violation told if `all`, otherwise the first of each kind.
    pub fn new(all: bool) -> Self {
        Self {
            all,
            ..Self::default()
        }
    }

    /// Judges the pod of an event as one of `subject`, and gives the alerts that are to be told.
    ///
    /// As admission does with several policies: one that admits the pod as it is goes first, then
    /// the first by name that admits it with changes (`computeSecurityContext` of
    /// plugin/pkg/admission/security/podsecuritypolicy). If none admits it, the alerts say what it
    /// lacks for each.
    pub fn judge(
        &mut self,
        policies: &Policies,
        event: &Event,
        subject: &Subject<'_>,
        mut tell: impl FnMut(Alert),
    ) -> Verdict {
        let mut each: Vec<Findings<'_>> = Vec::new();
        each.resize_with(policies.each.len(), Findings::default);
        for (index, rule) in policies.rules.matching(event) {
            let Some(findings) = policies.policy_of(index).and_then(|i| each.get_mut(i)) else {
                continue;
            };
            findings.in_scope = true;
            match rule.priority {
                Priority::Notice => findings.mutations.push((index, rule)),
                _ => findings.violations.push((index, rule)),
            }
        }
        for (policy, findings) in policies.each.iter().zip(&mut each) {
            findings.in_scope |= policies.rules.is_in_scope(&policy.rules, event);
        }
        let (verdict, found) = decide(&each);
        let id = self.tally.subject(subject.id);
        let mut told = Vec::new();
        for (policy, (index, rule)) in found {
            let violation = Violation {
                rule: index,
                subject: id,
                facts: facts(rule, event, None),
            };
            let is_new = self.tally.count(violation, 0, event.time_ns());
            if is_new || self.all {
                let name = policies.each.get(policy).map(|policy| &*policy.name);
                self.alerts.note(name, rule, event);
                tell(Alert::of(rule, event));
            }
            if let Some(control) = rule.control() {
                told.push((policy, control, index, is_new));
            }
        }
        let findings = told.into_iter().map(|(policy, control, index, is_new)| {
            let message = || {
                let rule = policies.rules.rules().get(index);
                rule.map_or_else(String::new, |rule| rule.output.render(event))
            };
            Finding {
                policy,
                control,
                message: is_new.then(message),
            }
        });
        self.report.note(subject, verdict, findings);
        if let Event::Audit(AuditEvent { pod: Some(pod), .. }) = event {
            self.report.note_pod(subject.id, pod);
        }
        verdict
    }
}

impl Judge {
    /// Keeps the memory bounded: of workloads that are too many only sums are kept.
    pub fn fold(&mut self) {
        let folded = self.report.fold();
        if !folded.is_empty() {
            self.tally.fold(&folded);
        }
    }
}

type Found<'r> = Vec<(usize, (usize, &'r Rule))>;

/// The verdict, and what led to it, each with the number of its policy.
fn decide<'r>(each: &[Findings<'r>]) -> (Verdict, Found<'r>) {
    let mut in_scope = each
        .iter()
        .enumerate()
        .filter(|(_, f)| f.in_scope)
        .peekable();
    if in_scope.peek().is_none() {
        return (Verdict::OutOfScope, Vec::new());
    }
    let mut changing = None;
    let mut denied = Vec::new();
    for (policy, findings) in in_scope {
        if !findings.violations.is_empty() {
            denied.extend(findings.violations.iter().map(|found| (policy, *found)));
        } else if findings.mutations.is_empty() {
            return (Verdict::Fine, Vec::new());
        } else if changing.is_none() {
            changing = Some((policy, &findings.mutations));
        }
    }
    match changing {
        Some((policy, mutations)) => {
            let found = mutations.iter().map(|found| (policy, *found)).collect();
            (Verdict::Changed, found)
        }
        None => (Verdict::Denied, denied),
    }
}
