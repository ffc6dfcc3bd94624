//! Judging a recording: the same rules, the same alerts and the same summary as when it was made.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Outcome, WatchError, alert_format, judged_by, tell_end};
use crate::agent::loss;
use crate::audit::Auditor;
use crate::cli::Watch;
use crate::container::Container;
use crate::event::SyscallEvent;
use crate::observed::Judge;
use crate::outputs::Outputs;
use crate::own_rules::OwnRules;
use crate::policies::Policies;
use crate::recording::{AuditFrame, AuditOrigin, End, Frame, MadeBy, Observed, ReadError, Reader};
use crate::report::answer::{Answer, Requests, answer};
use crate::report::summary::Summary;
use crate::rules::{RuleSet, Source};
use crate::sources::k8s_audit::batch::Origin;

/// Lines that make no sense and are told in words; the rest is only counted.
const MAX_TOLD: u64 = 16;

/// A recording that is being judged.
struct Replay {
    outputs: Outputs,
    judge: Judge,
    auditor: Auditor,
    /// What is known of the containers that run.
    containers: BTreeMap<String, Arc<Container>>,
    last_time_ns: u64,
    unrecorded: u64,
    bad_lines: u64,
    end: Option<End>,
    /// The types of events that it does not have.
    unseen: Vec<&'static str>,
}

/// Judges the recording at `path`.
pub(super) fn replay(
    path: &Path,
    options: &Watch,
    policies: Policies,
    own: &OwnRules,
) -> Result<Outcome, WatchError> {
    let reports = Requests::new(&options.report)?;
    let mut reader = Reader::open(path)?;
    let policies = Arc::new(policies);
    let rules = Arc::new(own.after(&policies.rules));
    let sources = reader.start.sources();
    say_text!("{}", own.blind(&sources));
    say!("{}", header(path, &reader, &policies, own, &rules));
    let (outputs, workers) = Outputs::start(&options.outputs.settings(alert_format(options)))?;
    let mut replay = Replay::new(&reader, &policies, own, outputs, options.all);
    replay.run(&mut reader, |error| say!("{error}"));
    let found = replay.judge.found_any(&policies) || replay.auditor.found_any();
    let mut text = String::new();
    let watched = sources.contains(&Source::Syscall);
    let observed = watched.then(|| replay.summary(&reader, &policies, &rules));
    let audited = sources.contains(&Source::K8sAudit);
    let declared = audited.then(|| replay.auditor.declared());
    let holes = replay.holes(&reader);
    let answer = (!reports.is_empty())
        .then(|| answer(&policies, observed.as_ref(), declared.as_ref(), &holes));
    if let Some(observed) = observed {
        text += &observed.text();
    }
    if audited {
        text += &replay.auditor.summary(None);
    }
    text += &holes;
    tell_end(workers.finish(), &text)?;
    if let Some(answer) = answer {
        reports.write(&answer)?;
    }
    Ok(Outcome {
        violated: found,
        finite: true,
    })
}

/// The answer of the recording at `path`; of what is wrong with its lines only the number is told.
///
/// # Errors
/// It cannot be read.
pub fn answer_of(path: &Path, policies: Policies) -> Result<Answer, ReadError> {
    let mut reader = Reader::open(path)?;
    let (policies, own) = (Arc::new(policies), OwnRules::default());
    let mut replay = Replay::new(&reader, &policies, &own, Outputs::none(), false);
    replay.auditor.hush();
    replay.run(&mut reader, |_| {});
    let sources = reader.start.sources();
    let observed = sources.contains(&Source::Syscall);
    let observed = observed.then(|| replay.summary(&reader, &policies, &policies.rules));
    let declared = sources.contains(&Source::K8sAudit);
    let declared = declared.then(|| replay.auditor.declared());
    let holes = replay.holes(&reader);
    Ok(answer(
        &policies,
        observed.as_ref(),
        declared.as_ref(),
        &holes,
    ))
}

fn header(
    path: &Path,
    reader: &Reader,
    policies: &Policies,
    own: &OwnRules,
    rules: &RuleSet,
) -> String {
    let counts = rules.count_by_source();
    let count = |source| counts.get(&source).copied().unwrap_or(0);
    let (of_calls, of_pods) = (count(Source::Syscall), count(Source::K8sAudit));
    let time_ns = i128::from(reader.start.time_ns);
    let time = jiff::Timestamp::from_nanosecond(time_ns).unwrap_or_default();
    let made_by = reader.start.made_by.as_ref().map(|made_by| {
        let hooks = made_by.hooks.join(" ");
        format!(", kernel {}, hooks {hooks}", made_by.kernel)
    });
    format!(
        "falco-psp {}: {}, {of_calls} rules (syscall; {of_pods} about declared pods), \
         recording {} of {time:.0}{}",
        env!("CARGO_PKG_VERSION"),
        judged_by(policies, own),
        path.display(),
        made_by.unwrap_or_default()
    )
}

impl Replay {
    fn new(
        reader: &Reader,
        policies: &Arc<Policies>,
        own: &OwnRules,
        outputs: Outputs,
        all: bool,
    ) -> Self {
        let rules = Arc::new(own.after(&policies.rules));
        let mut judge = Judge::new(Arc::clone(&rules), all);
        judge.judge_by(rules, Arc::clone(policies));
        Self {
            judge,
            auditor: Auditor::new(Arc::clone(policies), own, outputs.clone(), all),
            outputs,
            containers: BTreeMap::new(),
            last_time_ns: reader.start.time_ns,
            unrecorded: 0,
            bad_lines: 0,
            end: None,
            unseen: reader
                .start
                .made_by
                .as_ref()
                .map_or_else(Vec::new, MadeBy::unseen),
        }
    }

    /// Takes all of the recording; the first of its lines that make no sense are told.
    fn run(&mut self, reader: &mut Reader, tell: impl Fn(&ReadError)) {
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => self.take(frame),
                Ok(None) => break,
                Err(error) => {
                    self.bad_lines += 1;
                    if self.bad_lines <= MAX_TOLD {
                        tell(&error);
                    }
                }
            }
        }
    }

    fn take(&mut self, frame: Frame<'_>) {
        match frame {
            // Only the first tells anything.
            Frame::Start(_) => {}
            Frame::Container(container) => {
                let container = Arc::new(container.into_owned());
                self.containers.insert(container.id.clone(), container);
            }
            Frame::Event(observed) => self.judge(observed),
            Frame::Repeated(repeats) => self.judge.repeated(&repeats),
            Frame::Gone(ids) => {
                let gone = ids.iter().filter_map(|id| self.containers.remove(&**id));
                self.judge.forget(gone.collect());
            }
            Frame::Lost { time_ns, events } => self.outputs.tell_all(&loss(time_ns, events)),
            Frame::Audit(frame) => self.audit(frame),
            Frame::Unrecorded(events) => self.unrecorded += events,
            Frame::End(end) => self.end = Some(end),
        }
    }

    fn judge(&mut self, observed: Observed<'_>) {
        let Observed {
            time_ns,
            container,
            activity,
            process,
            posture,
        } = observed;
        self.last_time_ns = self.last_time_ns.max(time_ns);
        let known = self.containers.get(&*container);
        let container = known.map_or_else(
            || {
                Arc::new(Container {
                    id: container.into_owned(),
                    ..Container::default()
                })
            },
            Arc::clone,
        );
        let event = SyscallEvent {
            number: 0,
            time_ns,
            activity: activity.into_owned(),
            process: Arc::new(process.into_owned()),
            container,
        };
        let outputs = &self.outputs;
        self.judge
            .judge(event, posture, |alert| outputs.tell_all(alert));
    }

    fn audit(&mut self, frame: AuditFrame<'_>) {
        let origin = match frame.origin {
            AuditOrigin::File(path) => Origin::File(Path::new(&*path).into()),
            AuditOrigin::Client(client) => Origin::Webhook(client),
        };
        for (line, message) in &frame.faults {
            self.auditor.tell_fault(&origin.place(*line), message);
        }
        self.auditor.counts.note_malformed(frame.malformed);
        for event in frame.events {
            let place = origin.place(event.number);
            match event.event {
                Some(json) => {
                    let json = Bytes::from(Box::<str>::from(json).into_string());
                    self.auditor.take_event(json, &place);
                }
                None => {
                    let why = event.fault.map_or(Cow::Borrowed("no event"), Cow::Owned);
                    self.auditor.take_malformed(&place, &why);
                }
            }
        }
    }

    fn summary<'a>(
        &'a self,
        reader: &Reader,
        policies: &'a Policies,
        rules: &'a RuleSet,
    ) -> Summary<'a> {
        let seen = self.last_time_ns.saturating_sub(reader.start.time_ns);
        let end = self.end.clone().unwrap_or_else(|| End {
            elapsed_ns: seen,
            ..End::default()
        });
        Summary {
            began_ns: reader.start.time_ns,
            elapsed: Duration::from_nanos(end.elapsed_ns),
            policies,
            rules,
            tally: &self.judge.tally,
            containers: self.containers.values().collect(),
            departed: &self.judge.departed,
            ledger: end.ledger(),
            fates: end.fates,
            metadata: end.metadata,
            needs: &self.judge.needs,
            unseen: &self.unseen,
        }
    }

    /// What the recording does not have.
    fn holes(&self, reader: &Reader) -> String {
        let mut text = String::new();
        match (&reader.cut, &self.end) {
            (Some(why), _) => text += &format!("THE RECORDING IS NOT WHOLE: {why}\n"),
            (None, None) => text += "THE RECORDING IS NOT WHOLE: it has no end\n",
            (None, Some(_)) => {}
        }
        if self.unrecorded > 0 {
            let events = self.unrecorded;
            text += &format!("{events} EVENTS WERE NOT RECORDED: violations may be missing\n");
        }
        if self.bad_lines > 0 {
            text += &format!("{} LINES OF THE RECORDING MAKE NO SENSE\n", self.bad_lines);
        }
        text
    }
}
