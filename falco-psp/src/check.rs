//! `falco-psp check`: what admission would say of the pods that manifests declare.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::declared::Judge;
use crate::diagnostic::Diagnostic;
use crate::event::Event;
use crate::outputs::alert::{Alert, Format, Style};
use crate::own_rules::{OwnJudge, OwnRules};
use crate::policies::Policies;
use crate::report::answer::{Answer, Declared, answer};
use crate::report::declared::{Document, NotJudged, Subject};
use crate::rules::escape;
use crate::sources::k8s_audit::counts::Counts;
use crate::sources::manifest::Manifests;

/// The result of a check.
#[derive(Debug)]
pub struct Checked {
    /// The alerts, one a line.
    pub alerts: String,
    /// Verdicts by workload, and what could not be judged.
    pub summary: String,
    /// The same as data.
    pub document: Document,
    /// The same by workload and control.
    pub answer: Answer,
    /// Whether admission would deny any pod, or a rule of the user's own has fired.
    pub found_any: bool,
    /// What could not be read, and why.
    pub errors: Vec<String>,
}

/// Judges the pods that `files` declare. What names no namespace is in `namespace`.
///
/// # Errors
/// No manifest was given at all.
pub fn check(
    policies: &Policies,
    own: &OwnRules,
    files: &[PathBuf],
    namespace: &str,
    format: Format,
) -> Result<Checked, Diagnostic> {
    let mut manifests = Manifests::default();
    for file in files {
        manifests.add(file, namespace);
    }
    // An empty pipe must not pass for a clean one.
    if manifests.declared.is_empty() && manifests.others.is_empty() && manifests.errors.is_empty() {
        let names: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
        let place = names.join(", ").into();
        let why = "no manifest in it: nothing was judged";
        return Err(Diagnostic::error(&place, None, why));
    }
    Ok(check_manifests(policies, own, manifests, format))
}

/// Judges the pods of manifests that were read before.
pub fn check_manifests(
    policies: &Policies,
    own: &OwnRules,
    mut manifests: Manifests,
    format: Format,
) -> Checked {
    let style = Style::new(format);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));

    let mut alerts = String::new();
    let mut judged = 0;
    // Of a manifest every violation is told.
    let mut judge = Judge::new(true);
    let mut own = OwnJudge::new(own, true);
    for (declared, number) in manifests.declared.iter().zip(1..) {
        let event = match declared.event(number, now) {
            Ok(event) => Event::from(event),
            Err(why) => {
                let message = format!("{}: {why}", escape(&declared.workload));
                let place = declared.place.as_str().into();
                manifests
                    .errors
                    .push(Diagnostic::error(&place, None, message));
                continue;
            }
        };
        judged += 1;
        let subject = Subject {
            id: &declared.workload,
            place: Some(&declared.place),
            dry_run: false,
        };
        let mut tell = |alert: Alert| {
            alerts += &alert.line(&style);
            alerts.push('\n');
        };
        if !policies.each.is_empty() {
            judge.judge(policies, &event, &subject, &mut tell);
        }
        own.judge(&event, subject.id, tell);
    }
    let not_judged = NotJudged {
        errors: manifests.errors.iter().map(ToString::to_string).collect(),
        other_kinds: manifests.others.clone(),
    };
    let declared = Declared {
        report: &judge.report,
        counts: &Counts {
            judged,
            ..Counts::default()
        },
    };
    let mut table = own.table();
    if !policies.each.is_empty() {
        table += &judge.report.table(policies);
    }
    Checked {
        alerts,
        summary: summary(&table, &manifests),
        found_any: judge.report.any_denied() || own.fired(),
        errors: not_judged.errors.clone(),
        answer: answer(
            policies,
            None,
            Some(&declared),
            &not_judged.errors.join("\n"),
        ),
        document: judge.report.document(policies, own.counts(), not_judged),
    }
}

fn summary(table: &str, manifests: &Manifests) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    for error in &manifests.errors {
        let _ = writeln!(text, "{error}");
    }
    text += table;
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
