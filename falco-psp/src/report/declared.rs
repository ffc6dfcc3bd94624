//! What was found about declared pods: a table by workload and by control, or one JSON document.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use serde::Serialize;

use crate::control::Control;
use crate::needs::Uses;
use crate::pod::PodFacts;
use crate::policies::Policies;
use crate::rules::escape;

/// The widest line of the table.
const WIDTH: usize = 80;
/// How many workloads are told by name. Bare pods and jobs have ever new names, and a webhook is
/// listened to for months.
pub const MAX_NAMED: usize = 20_000;
/// Where the controls begin in a line.
const INDENT: usize = 9;

/// What admission would do with a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// No policy is about it.
    OutOfScope,
    /// Some policy admits it as it is.
    Fine,
    /// It is admitted, after some policy has filled something in.
    Changed,
    /// No policy admits it.
    Denied,
}

/// The workload that a pod belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// `namespace/kind/name`
    pub id: &'a str,
    /// Where it is declared, if that is a file: `web.yaml:12`.
    pub place: Option<&'a str>,
    /// Whether the pod was not really made.
    pub dry_run: bool,
}

/// What a policy has against a pod, or would fill in.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The number of the policy.
    pub policy: usize,
    /// The control.
    pub control: Control,
    /// The alert's text, the first time that it is said of the workload.
    pub message: Option<String>,
}

/// What was found, by workload.
#[derive(Debug, Default)]
pub struct Report {
    workloads: BTreeMap<String, Workload>,
    /// Names in the order of their coming: those that are denied, and the others. A name whose
    /// workload was denied later is in both.
    denied: VecDeque<String>,
    admitted: VecDeque<String>,
    others: Others,
}

/// What was found of a workload that is told by name.
#[derive(Debug)]
pub struct Named<'a> {
    /// `namespace/kind/name`
    pub id: &'a str,
    /// The worst of its pods'.
    pub verdict: Verdict,
    /// How many of its pods were declared.
    pub pods: u64,
    /// Where those of that verdict are declared, if that is a file: `web.yaml:12`.
    pub places: &'a [String],
    /// What its pods ask for.
    pub uses: &'a Uses,
    findings: &'a BTreeMap<(usize, Control), Vec<String>>,
}

impl Named<'_> {
    /// What was found: the number of the policy, the control, and the alerts' texts.
    pub fn findings(&self) -> impl Iterator<Item = (usize, Control, &[String])> {
        let findings = self.findings.iter();
        findings.map(|((policy, control), texts)| (*policy, *control, texts.as_slice()))
    }
}

/// Workloads that are no longer told by name. One that comes again counts again.
#[derive(Debug, Default)]
struct Others {
    verdicts: BTreeMap<Verdict, usize>,
    controls: BTreeMap<Control, [u64; 2]>,
}

#[derive(Debug)]
struct Workload {
    verdict: Verdict,
    pods: u64,
    dry_runs: u64,
    /// Where pods of the worst verdict are declared.
    places: Vec<String>,
    uses: Uses,
    /// What was found of the worst verdict, with the messages.
    findings: BTreeMap<(usize, Control), Vec<String>>,
}

impl Report {
    /// Takes note of a pod. A workload's verdict is the worst of its pods'.
    pub fn note(
        &mut self,
        subject: &Subject<'_>,
        verdict: Verdict,
        findings: impl Iterator<Item = Finding>,
    ) {
        let is_new = !self.workloads.contains_key(subject.id);
        if is_new {
            let workload = Workload {
                verdict,
                pods: 0,
                dry_runs: 0,
                places: Vec::new(),
                uses: Uses::default(),
                findings: BTreeMap::new(),
            };
            self.workloads.insert(subject.id.to_owned(), workload);
        }
        let Some(workload) = self.workloads.get_mut(subject.id) else {
            return;
        };
        let was_denied = !is_new && workload.verdict == Verdict::Denied;
        let is_denied = was_denied || verdict == Verdict::Denied;
        match is_denied {
            true if !was_denied => self.denied.push_back(subject.id.to_owned()),
            false if is_new => self.admitted.push_back(subject.id.to_owned()),
            _ => {}
        }
        workload.pods += 1;
        workload.dry_runs += u64::from(subject.dry_run);
        if verdict > workload.verdict {
            workload.verdict = verdict;
            workload.places.clear();
            workload.findings.clear();
        }
        if verdict < workload.verdict {
            return;
        }
        workload.places.extend(subject.place.map(str::to_owned));
        for finding in findings {
            let messages = workload
                .findings
                .entry((finding.policy, finding.control))
                .or_default();
            messages.extend(finding.message);
        }
    }

    /// Takes note of what a pod of a workload asks for that was noted before.
    pub fn note_pod(&mut self, id: &str, pod: &PodFacts) {
        if let Some(workload) = self.workloads.get_mut(id) {
            workload.uses.note_pod(pod);
        }
    }

    /// Takes out the names that are too many, the oldest first, and those that would be denied last.
    /// What was found of them stays in sum.
    pub fn fold(&mut self) -> Vec<String> {
        let mut folded = Vec::new();
        while self.workloads.len() > MAX_NAMED {
            let known = |id: &String| self.workloads.get(id);
            let is_denied = |id| known(id).is_some_and(|known| known.verdict == Verdict::Denied);
            let id = match self.admitted.pop_front() {
                // It is in the other list as well.
                Some(id) if is_denied(&id) => continue,
                Some(id) => id,
                None => match self.denied.pop_front() {
                    Some(id) => id,
                    None => break,
                },
            };
            let Some(workload) = self.workloads.remove(&id) else {
                continue;
            };
            *self.others.verdicts.entry(workload.verdict).or_default() += 1;
            workload.count_controls(&mut self.others.controls);
            folded.push(id);
        }
        folded
    }

    /// Whether any pod would be denied.
    pub fn any_denied(&self) -> bool {
        self.count(Verdict::Denied) > 0
    }

    fn count(&self, verdict: Verdict) -> usize {
        let all = self.workloads.values();
        let named = all.filter(|workload| workload.verdict == verdict).count();
        named + self.others(verdict)
    }

    /// How many workloads are not told by name.
    fn others(&self, verdict: Verdict) -> usize {
        self.others.verdicts.get(&verdict).copied().unwrap_or(0)
    }

    fn len(&self) -> usize {
        self.workloads.len() + self.others.verdicts.values().sum::<usize>()
    }

    /// How many workloads are no longer told by name, and how many of them are denied.
    pub fn unnamed(&self) -> (usize, usize) {
        let all = self.others.verdicts.values().sum();
        (all, self.others(Verdict::Denied))
    }

    /// What was found of each workload that is told by name.
    pub fn each(&self) -> impl Iterator<Item = Named<'_>> {
        self.workloads.iter().map(|(id, workload)| Named {
            id,
            verdict: workload.verdict,
            pods: workload.pods,
            places: &workload.places,
            uses: &workload.uses,
            findings: &workload.findings,
        })
    }

    /// The table, no wider than 80 columns unless a name is.
    pub fn table(&self, policies: &Policies) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = self.write_workloads(policies, &mut text);
        if self.len() > self.workloads.len() {
            let _ = writeln!(
                text,
                "and {} that came before and are not named, {} of them denied",
                self.len() - self.workloads.len(),
                self.others(Verdict::Denied)
            );
        }
        let _ = self.write_controls(&mut text);
        let _ = writeln!(
            text,
            "{} workloads: {} denied, {} changed (admission would fill something in), {} fine",
            self.len(),
            self.count(Verdict::Denied),
            self.count(Verdict::Changed),
            self.count(Verdict::Fine),
        );
        let out_of_scope = self.count(Verdict::OutOfScope);
        if out_of_scope > 0 {
            let _ = writeln!(
                text,
                "{out_of_scope} workloads are in no policy's scope: not judged"
            );
        }
        text
    }

    fn write_workloads(&self, policies: &Policies, text: &mut String) -> std::fmt::Result {
        for (id, workload) in &self.workloads {
            write!(text, "{:<INDENT$}{}", word(workload.verdict), escape(id))?;
            let mut notes = Vec::new();
            if workload.pods > 1 {
                notes.push(format!("{} pods", workload.pods));
            }
            if workload.dry_runs == workload.pods {
                notes.push("dry run".to_owned());
            }
            let place = workload.places.first();
            notes.extend(place.map(|place| escape(place).into_owned()));
            if !notes.is_empty() {
                write!(text, " ({})", notes.join(", "))?;
            }
            writeln!(text)?;
            for (index, policy) in policies.each.iter().enumerate() {
                let of_policy = workload.findings.keys().filter(|(p, _)| *p == index);
                let names: Vec<&str> = of_policy.map(|(_, control)| control.name()).collect();
                if names.is_empty() {
                    continue;
                }
                let begin = match policies.each.len() {
                    1 => String::new(),
                    _ => format!("{}: ", escape(&policy.name)),
                };
                wrap(text, &begin, &names)?;
            }
        }
        Ok(())
    }

    fn write_controls(&self, text: &mut String) -> std::fmt::Result {
        let mut counts = self.others.controls.clone();
        for workload in self.workloads.values() {
            workload.count_controls(&mut counts);
        }
        if counts.is_empty() {
            return Ok(());
        }
        writeln!(
            text,
            "{:<26}{:>8}{:>9}",
            "workloads by control", "denied", "changed"
        )?;
        for (control, [denied, changed]) in counts {
            writeln!(text, "  {:<24}{denied:>8}{changed:>9}", control.name())?;
        }
        Ok(())
    }

    /// The whole result as data. The version changes when a consumer has to.
    pub fn document(
        &self,
        policies: &Policies,
        rules_fired: BTreeMap<String, u64>,
        not_judged: NotJudged,
    ) -> Document {
        let workloads = self.workloads.iter().map(|(id, workload)| {
            let mut parts = id.splitn(3, '/').map(str::to_owned);
            let mut part = || parts.next().unwrap_or_default();
            let (file, line) = match workload.places.first().and_then(|p| p.rsplit_once(':')) {
                Some((file, line)) => (Some(file.to_owned()), line.parse().ok()),
                None => (None, None),
            };
            let mut findings = Vec::new();
            for ((policy, control), messages) in &workload.findings {
                let policy = policies.each.get(*policy).map(|policy| policy.name.clone());
                findings.push(DocumentFinding {
                    policy: policy.unwrap_or_default(),
                    control: control.name(),
                    messages: messages.clone(),
                });
            }
            DocumentWorkload {
                namespace: part(),
                kind: part(),
                name: part(),
                verdict: word(workload.verdict),
                file,
                line,
                pods: workload.pods,
                findings,
            }
        });
        Document {
            version: 1,
            policies: policies.each.iter().map(|p| p.name.clone()).collect(),
            summary: DocumentSummary {
                workloads: self.len(),
                denied: self.count(Verdict::Denied),
                changed: self.count(Verdict::Changed),
                fine: self.count(Verdict::Fine),
                out_of_scope: self.count(Verdict::OutOfScope),
            },
            workloads: workloads.collect(),
            rules_fired,
            not_judged,
        }
    }
}

impl Workload {
    /// Counts the workload once for each control that is in the way (first) or would be filled in.
    fn count_controls(&self, counts: &mut BTreeMap<Control, [u64; 2]>) {
        let column = usize::from(self.verdict != Verdict::Denied);
        let controls = self.findings.keys().map(|(_, control)| *control);
        // Once, even if several policies lack it.
        for control in controls.collect::<BTreeSet<Control>>() {
            if let Some(count) = counts.entry(control).or_default().get_mut(column) {
                *count += 1;
            }
        }
    }
}

/// The result of a check as data.
#[derive(Debug, Serialize)]
pub struct Document {
    version: u32,
    policies: Vec<String>,
    summary: DocumentSummary,
    workloads: Vec<DocumentWorkload>,
    /// How often each rule of the user's own fired.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    rules_fired: BTreeMap<String, u64>,
    not_judged: NotJudged,
}

#[derive(Debug, Serialize)]
struct DocumentSummary {
    workloads: usize,
    denied: usize,
    changed: usize,
    fine: usize,
    out_of_scope: usize,
}

#[derive(Debug, Serialize)]
struct DocumentWorkload {
    namespace: String,
    kind: String,
    name: String,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    pods: u64,
    findings: Vec<DocumentFinding>,
}

#[derive(Debug, Serialize)]
struct DocumentFinding {
    policy: String,
    control: &'static str,
    messages: Vec<String>,
}

/// What could not be judged.
#[derive(Debug, Default, Serialize)]
pub struct NotJudged {
    /// Objects without pods, by kind.
    pub other_kinds: BTreeMap<String, u64>,
    /// What could not be read, and why.
    pub errors: Vec<String>,
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::OutOfScope => "unscoped",
        Verdict::Fine => "fine",
        Verdict::Changed => "changed",
        Verdict::Denied => "denied",
    }
}

/// Writes names in lines that begin at the indent.
fn wrap(text: &mut String, begin: &str, names: &[&str]) -> std::fmt::Result {
    let mut line = format!("{:INDENT$}{begin}", "");
    let mut is_first = true;
    for (index, name) in names.iter().enumerate() {
        let comma = if index + 1 < names.len() { "," } else { "" };
        let blank = usize::from(!is_first);
        if !is_first && line.chars().count() + blank + name.len() + comma.len() > WIDTH {
            writeln!(text, "{line}")?;
            line = format!("{:INDENT$}", "");
            is_first = true;
        }
        if !is_first {
            line.push(' ');
        }
        line += name;
        line += comma;
        is_first = false;
    }
    writeln!(text, "{line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(report: &mut Report, id: &str, verdict: Verdict) {
        let subject = Subject {
            id,
            place: None,
            dry_run: false,
        };
        let finding = Finding {
            policy: 0,
            control: Control::Privileged,
            message: None,
        };
        let findings = (verdict != Verdict::Fine).then_some(finding);
        report.note(&subject, verdict, findings.into_iter());
    }

    #[test]
    fn names_are_bounded_and_sums_are_not() {
        let mut report = Report::default();
        let policies = Policies::default();
        for n in 0..MAX_NAMED {
            note(&mut report, &format!("n/Pod/{n}"), Verdict::Fine);
        }
        assert!(report.fold().is_empty());
        // The first one is denied later: it is kept as long as others can go.
        note(&mut report, "n/Pod/0", Verdict::Denied);
        note(&mut report, "n/Pod/new", Verdict::Changed);
        assert_eq!(report.fold(), ["n/Pod/1"]);
        let table = report.table(&policies);
        let last = format!(
            "{} workloads: 1 denied, 1 changed (admission would fill something in), {} fine\n",
            MAX_NAMED + 1,
            MAX_NAMED - 1
        );
        assert!(table.ends_with(&last), "{}", &table[table.len() - 300..]);
        assert!(table.contains("and 1 that came before and are not named, 0 of them denied\n"));
        for n in 0..2 * MAX_NAMED {
            note(&mut report, &format!("m/Pod/{n}"), Verdict::Denied);
            report.fold();
        }
        assert_eq!(report.workloads.len(), MAX_NAMED);
        assert!(report.denied.len() + report.admitted.len() <= MAX_NAMED + 1);
        assert_eq!(report.count(Verdict::Denied), 2 * MAX_NAMED + 1);
        assert_eq!(report.count(Verdict::Fine), MAX_NAMED - 1);
        let table = report.table(&policies);
        let controls = format!("  {:<24}{:>8}{:>9}\n", "privileged", 2 * MAX_NAMED + 1, 1);
        assert!(table.contains(&controls));
    }
    #[test]
    fn the_places_are_those_of_the_worst_verdict() {
        let mut report = Report::default();
        for (place, verdict) in [
            ("a.yaml:1", Verdict::Fine),
            ("b.yaml:2", Verdict::Denied),
            ("c.yaml:3", Verdict::Changed),
            ("d.yaml:4", Verdict::Denied),
        ] {
            let subject = Subject {
                id: "n/Pod/p",
                place: Some(place),
                dry_run: false,
            };
            report.note(&subject, verdict, std::iter::empty());
        }
        let named: Vec<Named<'_>> = report.each().collect();
        assert_eq!((named.len(), named[0].pods), (1, 4));
        assert_eq!(named[0].places, ["b.yaml:2", "d.yaml:4"]);
    }
}
