//! The audit half of a run: takes batches of audit events, judges the pods in them, and keeps
//! account of what could not be judged.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::declared::Judge;
use crate::outputs::stdout::Stdout;
use crate::policies::Policies;
use crate::report::declared::Subject;
use crate::rules::escape;
use crate::sources::k8s_audit::Batch;
use crate::sources::k8s_audit::counts::Counts;
use crate::sources::k8s_audit::decode::decode;
use crate::sources::k8s_audit::triage::Reason;
use crate::sources::k8s_audit::webhook::Stats;

/// Faults in the input that are told in words; the rest is only counted.
const MAX_TOLD: u64 = 16;

/// Judges audit events.
#[derive(Debug)]
pub struct Auditor {
    policies: Arc<Policies>,
    stdout: Stdout,
    judge: Judge,
    number: u64,
    faults: u64,
    /// What became of the events.
    pub counts: Counts,
}

impl Auditor {
    /// One that judges by `policies` and tells what it finds on `stdout`: with `all` every
    /// violation, otherwise the first of each kind.
    pub fn new(policies: Arc<Policies>, stdout: Stdout, all: bool) -> Self {
        Self {
            policies,
            stdout,
            judge: Judge::new(all),
            number: 0,
            faults: 0,
            counts: Counts::default(),
        }
    }

    /// Judges the events of a batch.
    pub fn take(&mut self, batch: &Batch) {
        for fault in batch.faults().told() {
            self.tell_fault(&batch.place(fault), &fault.message);
        }
        self.counts.note_malformed(batch.faults().count());
        for raw in batch.events() {
            self.number += 1;
            let event = match decode(raw.json, self.number) {
                Ok(event) => event,
                Err(reason) => {
                    if let Reason::Malformed(why) = &reason {
                        self.tell_fault(&raw.place, why);
                    }
                    self.counts.note_skipped(&reason);
                    continue;
                }
            };
            self.counts.note_judged(&event);
            let workload = &event.pod.workload;
            let namespace = &event.request.namespace;
            let name = match &*workload.kind {
                // An object in a request may lack the name that the request has.
                "Pod" => &event.request.name,
                _ => &workload.name,
            };
            let id = format!("{namespace}/{}/{name}", workload.kind);
            let subject = Subject {
                id: &id,
                place: None,
                dry_run: event.request.dry_run,
            };
            let stdout = &self.stdout;
            let judge = &mut self.judge;
            judge.judge(&self.policies, event, &subject, |alert| {
                stdout.tell_all(&alert);
            });
        }
    }

    fn tell_fault(&mut self, place: &impl std::fmt::Display, why: &str) {
        self.faults += 1;
        if self.faults <= MAX_TOLD {
            eprintln!("{}: {}", escape(&place.to_string()), escape(why));
        }
    }

    /// Whether any pod would be denied.
    pub fn any_denied(&self) -> bool {
        self.judge.report.any_denied()
    }

    /// The lines at the end: verdicts, and what could not be judged.
    pub fn summary(&self, webhook: Option<&Stats>) -> String {
        let mut text = String::new();
        if self.counts.judged > 0 {
            text += &self.judge.report.table(&self.policies);
        }
        // Writing to a String does not fail.
        let _ = write!(text, "{}", self.counts);
        if let Some(stats) = webhook {
            let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let _ = writeln!(
                text,
                "webhook: accepted {}, malformed {}, too long {}, too slow {}, put off {}, \
                 TLS failed {}",
                get(&stats.accepted),
                get(&stats.malformed),
                get(&stats.too_long),
                get(&stats.timed_out),
                get(&stats.put_off),
                get(&stats.handshakes_failed),
            );
        }
        text
    }
}
