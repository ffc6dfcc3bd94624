//! The audit half of a run: takes batches of audit events, judges the pods in them, and keeps
//! account of what could not be judged.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::declared::Judge;
use crate::event::{AuditEvent, Event, Request};
use crate::listen::alerts::AlertCounts;
use crate::outputs::Outputs;
use crate::own_rules::{OwnJudge, OwnRules};
use crate::policies::Policies;
use crate::recording::Recorder;
use crate::report::answer::Declared;
use crate::report::declared::Subject;
use crate::rules::{Source, escape};
use crate::sources::k8s_audit::Batch;
use crate::sources::k8s_audit::batch::Place;
use crate::sources::k8s_audit::counts::Counts;
use crate::sources::k8s_audit::decode::{decode, decode_request};
use crate::sources::k8s_audit::triage::Reason;
use crate::sources::k8s_audit::webhook::Stats;

/// Faults in the input that are told in words; the rest is only counted.
const MAX_TOLD: u64 = 16;

/// Judges audit events.
#[derive(Debug)]
pub struct Auditor {
    policies: Arc<Policies>,
    outputs: Outputs,
    all: bool,
    judge: Judge,
    own: OwnJudge,
    number: u64,
    faults: u64,
    recorder: Option<Recorder>,
    /// What became of the events.
    pub counts: Counts,
}

impl Auditor {
    /// One that judges by `policies` and by `own` rules, and tells what it finds to `outputs`: with
    /// `all` every violation, otherwise the first of each kind.
    pub fn new(policies: Arc<Policies>, own: &OwnRules, outputs: Outputs, all: bool) -> Self {
        Self {
            policies,
            outputs,
            all,
            judge: Judge::new(all),
            own: OwnJudge::new(own, all),
            number: 0,
            faults: 0,
            recorder: None,
            counts: Counts::default(),
        }
    }

    /// Judges by other policies and rules from now on; what was found until now, in words.
    pub fn judge_by(&mut self, policies: Arc<Policies>, own: &OwnRules) -> String {
        let found = self.found();
        let judge = std::mem::replace(&mut self.judge, Judge::new(self.all));
        let own_judge = std::mem::replace(&mut self.own, OwnJudge::new(own, self.all));
        self.judge.alerts = judge.alerts;
        self.own.alerts = own_judge.alerts;
        for alerts in [&mut self.judge.alerts, &mut self.own.alerts] {
            alerts.keep(&policies, own.rules.rules());
        }
        self.policies = policies;
        found
    }

    /// Does not tell what is wrong with the input, but only counts it.
    pub fn hush(&mut self) {
        self.faults = MAX_TOLD;
    }

    /// Has all audit events recorded from now on.
    pub fn record_to(&mut self, recorder: Recorder) {
        self.recorder = Some(recorder);
    }

    /// The alerts that were told.
    pub fn alerts(&self) -> [&AlertCounts; 2] {
        [&self.judge.alerts, &self.own.alerts]
    }

    /// What was found.
    fn found(&self) -> String {
        let mut text = self.own.table();
        if !self.policies.each.is_empty() && self.counts.judged > 0 {
            text += &self.judge.report.table(&self.policies);
        }
        text
    }

    /// Judges the events of a batch.
    pub fn take(&mut self, batch: &Batch) {
        if let Some(recorder) = &self.recorder {
            recorder.audit(batch);
        }
        for fault in batch.faults().told() {
            self.tell_fault(&batch.place(fault), &fault.message);
        }
        self.counts.note_malformed(batch.faults().count());
        for raw in batch.events() {
            self.take_event(raw.json, &raw.place);
        }
    }

    /// Judges an event that came from `place`.
    pub fn take_event(&mut self, json: Bytes, place: &Place<'_>) {
        self.number += 1;
        let number = self.number;
        let reason = match decode(json.clone(), number) {
            Ok(event) => {
                self.counts.note_judged(&event);
                self.judge_pod(event);
                return;
            }
            Err(reason) => reason,
        };
        if let Reason::Malformed(why) = &reason {
            self.tell_fault(place, why);
        } else if self.own.wants(Source::K8sAudit) {
            match decode_request(json, number) {
                Ok(event) => self.judge_request(event),
                // What tells a policy enough may be broken further on.
                Err(why) => {
                    self.tell_fault(place, &why);
                    self.counts.note_malformed(1);
                    return;
                }
            }
        }
        self.counts.note_skipped(&reason);
    }

    /// Notes an event of which nothing can be read.
    pub fn take_malformed(&mut self, place: &Place<'_>, why: &str) {
        self.number += 1;
        self.tell_fault(place, why);
        self.counts.note_malformed(1);
    }

    /// Judges an event that declares a pod.
    fn judge_pod(&mut self, event: AuditEvent) {
        let request = &event.request;
        let workload = event.pod.as_ref().map(|pod| &pod.workload);
        let (kind, name) = match workload {
            // An object in a request may lack the name that the request has.
            Some(workload) if &*workload.kind != "Pod" => (&*workload.kind, &workload.name),
            _ => ("Pod", &request.name),
        };
        let id = format!("{}/{kind}/{name}", request.namespace);
        let subject = Subject {
            id: &id,
            place: None,
            dry_run: request.dry_run,
        };
        let event = Event::from(event);
        let outputs = &self.outputs;
        if !self.policies.each.is_empty() {
            self.judge.judge(&self.policies, &event, &subject, |alert| {
                outputs.tell_all(&alert);
            });
            self.judge.fold();
        }
        self.own
            .judge(&event, &id, |alert| outputs.tell_all(&alert));
    }

    /// Judges an event that no policy is about.
    fn judge_request(&mut self, event: AuditEvent) {
        let Request {
            namespace,
            resource,
            name,
            ..
        } = &event.request;
        let id = format!("{namespace}/{resource}/{name}");
        let outputs = &self.outputs;
        let event = Event::from(event);
        self.own
            .judge(&event, &id, |alert| outputs.tell_all(&alert));
    }

    /// Tells what is wrong with the input, a few times.
    pub fn tell_fault(&mut self, place: &impl std::fmt::Display, why: &str) {
        self.faults += 1;
        if self.faults <= MAX_TOLD {
            say!("{}: {}", escape(&place.to_string()), escape(why));
        }
    }

    /// Whether any pod would be denied, or a rule of the user's own has fired.
    pub fn found_any(&self) -> bool {
        self.judge.report.any_denied() || self.own.fired()
    }

    /// What was found of declared pods, for a report.
    pub fn declared(&self) -> Declared<'_> {
        Declared {
            report: &self.judge.report,
            counts: &self.counts,
        }
    }

    /// The lines at the end: verdicts, and what could not be judged.
    pub fn summary(&self, webhook: Option<&Stats>) -> String {
        let mut text = self.found();
        // Writing to a String does not fail.
        if self.policies.each.is_empty() {
            let (events, malformed) = (self.counts.events(), self.counts.malformed);
            let _ = writeln!(text, "{events} audit events, {malformed} of them malformed");
        } else {
            let _ = write!(text, "{}", self.counts);
        }
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
