//! `falco-psp check`: what admission would say of the pods that manifests declare.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::tz::TimeZone;

use crate::event::Event;
use crate::outputs::alert::{Alert, Format};
use crate::rules::{Priority, RuleSet, Source, escape};
use crate::sources::manifest::Manifests;

/// What admission would do with a workload's pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Verdict {
    /// Controls on which it would deny them.
    denied: BTreeSet<&'static str>,
    /// Controls on which it would fill something in.
    changed: BTreeSet<&'static str>,
}

/// The result of a check.
#[derive(Debug)]
pub struct Checked {
    /// The alerts, one a line.
    pub alerts: String,
    /// Verdicts by workload, and what could not be judged.
    pub summary: String,
    /// Whether admission would deny any pod.
    pub denied: bool,
    /// Whether a file could not be read.
    pub failed: bool,
}

/// Judges the pods that `files` declare. What names no namespace is in `namespace`.
pub fn check(rules: &RuleSet, files: &[PathBuf], namespace: &str, format: Format) -> Checked {
    let mut manifests = Manifests::default();
    for file in files {
        manifests.add(file, namespace);
    }
    let hostname = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let zone = TimeZone::system();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));

    let mut alerts = String::new();
    let mut verdicts: BTreeMap<&str, Verdict> = BTreeMap::new();
    for (declared, number) in manifests.declared.iter().zip(1..) {
        let event = Event::from(declared.event(number, now));
        let verdict = verdicts.entry(&declared.workload).or_default();
        for (_, rule) in rules.matching(&event) {
            if let Some(control) = rule.control() {
                match rule.priority {
                    Priority::Notice => verdict.changed.insert(control.name()),
                    _ => verdict.denied.insert(control.name()),
                };
            }
            let alert = Alert {
                time_ns: now,
                rule: rule.name.clone(),
                priority: rule.priority.word(),
                output: rule.output.render(&event),
                output_fields: rule.output.fields(&event),
                source: Source::K8sAudit.name(),
                tags: rule.tags.iter().cloned().collect(),
            };
            alerts += &alert.line(format, &hostname, &zone);
            alerts.push('\n');
        }
    }
    Checked {
        alerts,
        summary: summary(&verdicts, &manifests),
        denied: verdicts.values().any(|verdict| !verdict.denied.is_empty()),
        failed: !manifests.errors.is_empty(),
    }
}

fn summary(verdicts: &BTreeMap<&str, Verdict>, manifests: &Manifests) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    for error in &manifests.errors {
        let _ = writeln!(text, "{error}");
    }
    let names = |controls: &BTreeSet<&str>| {
        let names: Vec<&str> = controls.iter().copied().collect();
        names.join(", ")
    };
    let mut counts = [0_usize; 3];
    for (workload, verdict) in verdicts {
        let (which, word, controls) = if !verdict.denied.is_empty() {
            (0, "denied", names(&verdict.denied))
        } else if !verdict.changed.is_empty() {
            (1, "changed", names(&verdict.changed))
        } else {
            (2, "fine", String::new())
        };
        counts[which] += 1;
        let line = format!("{word:<8} {}  {controls}", escape(workload));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let [denied, changed, fine] = counts;
    let _ = writeln!(
        text,
        "{} workloads: {denied} denied, {changed} allowed after admission has filled something in, \
         {fine} fine",
        verdicts.len()
    );
    if !manifests.others.is_empty() {
        let others: Vec<String> = manifests
            .others
            .iter()
            .map(|(kind, count)| format!("{count} {}", escape(kind)))
            .collect();
        let _ = writeln!(
            text,
            "not judged, for they have no pods: {}",
            others.join(", ")
        );
    }
    text
}
