//! The answer: may the policies be enforced, and if not, which workload breaks on which control.
//!
//! One cell for each workload and control, made of what was declared and what was observed, with the
//! evidence; above all a verdict, and beside it all that weakens it.

mod allowances;
mod cells;
mod html;
mod junit;
mod markdown;
mod merge;
mod policyreport;
mod request;
mod sarif;
mod text;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::control::Control;
use crate::mend::Proposal;
use crate::needs::Needs;
use crate::needs::checks::refused;
use crate::report::tally::MAX_EXAMPLES;
use crate::rules::escape;
pub use allowances::Allowance;
pub use cells::{Declared, answer};
pub(crate) use html::security_policy;
pub(crate) use merge::Merger;
pub use merge::{MergeError, merge};
pub use policyreport::Error as PolicyReportError;
pub use request::{Format, Request, RequestError, Requests};

/// The version of the JSON form. It changes when a consumer has to.
const VERSION: u32 = 1;

/// What a workload and a control come to, from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing is in the way.
    Fine,
    /// It cannot be told.
    Unknown,
    /// Admission would fill something in.
    Changed,
    /// What was observed conflicts with what would be enforced.
    Breaks,
    /// Admission would refuse it.
    Denied,
}

impl State {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Unknown => "unknown",
            Self::Changed => "changed",
            Self::Breaks => "breaks",
            Self::Denied => "denied",
        }
    }

    /// Whether it speaks against enforcing the policies.
    pub fn is_broken(self) -> bool {
        self >= Self::Breaks
    }
}

/// The verdict on all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing that was seen speaks against enforcing the policies, and nothing is known to be missing.
    Safe,
    /// Some workloads break.
    Breaks,
    /// No workload breaks as far as was seen, but that is not enough.
    NotEnoughSeen,
}

/// The whole answer.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Of this form.
    pub version: u32,
    /// The names of the policies, in the order in which admission tries them.
    pub policies: Vec<String>,
    /// Whether they may be enforced.
    pub verdict: Verdict,
    /// How many workloads break, those that are no longer named included.
    pub breaking: u64,
    /// What it rests on.
    pub seen: Seen,
    /// Why what was seen is not enough, or may be less than all.
    pub weaknesses: Vec<String>,
    /// What else is to be known to read it.
    pub notes: Vec<String>,
    /// The controls that a policy restricts: the columns.
    pub controls: Vec<Control>,
    /// What the policies allow, and who uses it.
    #[serde(default)]
    pub allowances: Vec<Allowance>,
    /// The workloads, those that break first.
    pub workloads: Vec<Workload>,
}

/// What an answer rests on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// When the watching began, in RFC 3339; `null` if pods were not watched, or if that is not known.
    #[serde(default)]
    pub began: Option<String>,
    /// How long pods were watched, in seconds; `null` if they were not.
    pub window_seconds: Option<f64>,
    /// Containers that were watched; `null` if they were not.
    pub containers: Option<u64>,
    /// Declared pods that were judged; `null` if none could be.
    pub declared_pods: Option<u64>,
    /// Events that the kernel side had to drop.
    pub events_lost: u64,
}

/// A workload: a row.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// Empty outside Kubernetes.
    pub namespace: String,
    /// `Deployment`, `Pod`, ..., or `Container` outside Kubernetes.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The worst of its cells.
    pub state: State,
    /// Its pods that were declared.
    pub declared_pods: u64,
    /// Its containers that were watched.
    pub containers: u64,
    /// The files and lines at which it is declared, `web.yaml:12`, as far as that is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<String>,
    /// What it was seen to use and what it asks for, whatever the policies say of it.
    #[serde(default, skip_serializing_if = "Needs::is_empty")]
    pub needs: Needs,
    /// A cell for each control that a policy restricts, in that order.
    pub cells: Vec<Cell>,
}

/// What a workload and a control come to.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The control.
    pub control: Control,
    /// What declared and observed come to together.
    pub state: State,
    /// What admission would do; `null` if nothing was declared.
    pub declared: Option<DeclaredCell>,
    /// What was observed; `null` if nothing was watched.
    pub observed: Option<ObservedCell>,
    /// What would mend it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proposals: Vec<Proposal>,
}

/// The declared side of a cell.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct DeclaredCell {
    /// Fine, changed or denied.
    pub state: State,
    /// What admission would say, or fill in.
    pub messages: Vec<String>,
}

/// The observed side of a cell.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct ObservedCell {
    /// Fine, unknown or breaks.
    pub state: State,
    /// Why it is unknown.
    pub unknown: Vec<String>,
    /// What was seen.
    pub evidence: Vec<Evidence>,
}

/// What was seen of one rule.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The rule's policy.
    pub policy: String,
    /// The rule.
    pub rule: String,
    /// How often.
    pub count: u64,
    /// When first, in RFC 3339.
    pub first: String,
    /// When last, but for repeats that the kernel only counts.
    pub last: String,
    /// The first alerts.
    pub examples: Vec<String>,
}

/// So many of something, in words.
fn count(n: u64, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

impl Serialize for Control {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Control {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        Self::parse(&name).ok_or_else(|| D::Error::custom(format!("no control \"{name}\"")))
    }
}

impl Answer {
    /// The answer as text of several lines, coloured for a terminal if `colour`.
    pub fn text(&self, colour: bool) -> String {
        text::text(self, colour)
    }

    /// The answer in Markdown, as for a pull request.
    pub fn markdown(&self) -> String {
        markdown::markdown(self)
    }

    /// The answer as JUnit's XML, for CI.
    pub fn junit(&self) -> String {
        junit::junit(self)
    }

    /// The answer as SARIF 2.1.0, for code scanning.
    ///
    /// # Errors
    /// Never with what it is made of.
    pub fn sarif(&self) -> Result<String, serde_json::Error> {
        sarif::sarif(self)
    }

    /// The answer as PolicyReport objects in YAML, for a cluster.
    ///
    /// # Errors
    /// Never with what it is made of.
    pub fn policy_reports(&self) -> Result<String, PolicyReportError> {
        policyreport::policy_reports(self, Timestamp::now())
    }

    /// The answer as a page that needs nothing else.
    ///
    /// # Errors
    /// The page's template is wrong: a defect of falco-psp.
    pub fn html(&self) -> Result<String, minijinja::Error> {
        html::html(self, None)
    }

    /// The same page, for a run that goes on: it is told at `events` what is new.
    ///
    /// # Errors
    /// As for [`Self::html`].
    pub fn live_html(&self, events: &str) -> Result<String, minijinja::Error> {
        html::html(self, Some(events))
    }

    /// What the page shows, as JSON of one line: the answer, with its headline and what it rests on.
    ///
    /// # Errors
    /// As for [`Self::json`].
    pub fn shown(&self) -> Result<String, serde_json::Error> {
        html::shown(self)
    }

    /// The answer as JSON.
    ///
    /// # Errors
    /// Never with what it is made of.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }

    /// Whether it tells the same as another, but for how long was watched.
    pub(crate) fn tells_same(&self, other: &Self) -> bool {
        let Self {
            version,
            policies,
            verdict,
            breaking,
            seen,
            weaknesses,
            notes,
            controls,
            allowances,
            workloads,
        } = self;
        let window_seconds = other.seen.window_seconds;
        let seen = Seen {
            window_seconds,
            ..seen.clone()
        };
        (version, policies, verdict, breaking)
            == (
                &other.version,
                &other.policies,
                &other.verdict,
                &other.breaking,
            )
            && seen == other.seen
            && (weaknesses, notes, controls) == (&other.weaknesses, &other.notes, &other.controls)
            && (allowances, workloads) == (&other.allowances, &other.workloads)
    }

    /// The verdict in words.
    pub fn headline(&self) -> String {
        let policies = match self.policies.as_slice() {
            [] => return "no policy: nothing to enforce".to_owned(),
            [one] => format!("policy {one}"),
            several => format!("policies {}", several.join(", ")),
        };
        match (self.verdict, self.breaking) {
            (Verdict::Safe, _) => format!("{policies}: safe to enforce, as far as was seen"),
            (Verdict::NotEnoughSeen, _) => {
                format!("{policies}: nothing breaks, but not enough was seen")
            }
            (Verdict::Breaks, 1) => format!("{policies}: 1 workload breaks"),
            (Verdict::Breaks, n) => format!("{policies}: {n} workloads break"),
        }
    }

    /// What stands below the workloads, list by list: what is said of it, and the items.
    pub fn lists(&self) -> Vec<(String, Vec<String>)> {
        let mut lists = self.unused();
        let refused = self.refused();
        if !refused.is_empty() {
            lists.push(("asked for, and refused by the kernel".to_owned(), refused));
        }
        lists
    }

    /// The capabilities that workloads were refused.
    fn refused(&self) -> Vec<String> {
        let each = self.workloads.iter().flat_map(|workload| {
            let observed = workload.needs.all_observed().unwrap_or_default();
            let refused = refused(&observed.capability_checks).into_iter();
            refused.map(|refused| format!("{}: {refused}", workload.id()))
        });
        each.collect()
    }

    /// What the policies allow and nobody uses: what is said of them, and the clauses.
    fn unused(&self) -> Vec<(String, Vec<String>)> {
        let several = self.policies.len() > 1;
        let shown = |allowance: &Allowance| match several {
            true => format!("{}: {}", allowance.policy, allowance.clause),
            false => allowance.clause.clone(),
        };
        let unused = self
            .allowances
            .iter()
            .filter(|allowance| allowance.is_unused());
        let (undeclared, declared): (Vec<_>, Vec<_>) =
            unused.partition(|allowance| allowance.is_undeclared());
        let asked = match self.seen.declared_pods {
            Some(_) => "allowed, and neither used nor asked for by anyone seen",
            None => "allowed, and not used by anyone seen",
        };
        [
            (asked, undeclared),
            (
                "allowed and asked for, but not used by anyone seen",
                declared,
            ),
        ]
        .into_iter()
        .filter(|(_, clauses)| !clauses.is_empty())
        .map(|(what, clauses)| (what.to_owned(), clauses.into_iter().map(shown).collect()))
        .collect()
    }

    /// What it rests on, in words.
    pub fn basis(&self) -> String {
        let observed = match (self.seen.window_seconds, self.seen.containers) {
            (Some(seconds), Some(containers)) => {
                format!(
                    "watched {} for {seconds:.0} s",
                    count(containers, "container")
                )
            }
            _ => "watched no containers".to_owned(),
        };
        let declared = match self.seen.declared_pods {
            Some(pods) => format!("judged {}", count(pods, "declared pod")),
            None => "read no declared pods".to_owned(),
        };
        format!("{observed}; {declared}")
    }

    /// Orders the workloads and draws the verdict. `unnamed` workloads break that are in no row.
    fn conclude(mut self, unnamed: u64) -> Self {
        self.workloads
            .sort_by_key(|workload| Reverse(workload.state));
        let broken = self.workloads.iter().filter(|w| w.state.is_broken());
        self.breaking = unnamed.saturating_add(broken.count() as u64);
        self.verdict = match (self.breaking, self.weaknesses.is_empty()) {
            (0, true) => Verdict::Safe,
            (0, false) => Verdict::NotEnoughSeen,
            _ => Verdict::Breaks,
        };
        self
    }

    /// How many workloads are of each state, the worst first.
    fn counts(&self) -> Vec<(State, usize)> {
        let mut counts: BTreeMap<State, usize> = BTreeMap::new();
        for workload in &self.workloads {
            *counts.entry(workload.state).or_default() += 1;
        }
        counts.into_iter().rev().collect()
    }
}

/// `namespace/kind/name`, without the namespace outside Kubernetes.
fn id_of(namespace: &str, kind: &str, name: &str) -> String {
    let parts = [namespace, kind, name];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("/")
}

impl Workload {
    /// The worst of its cells.
    fn worst(cells: &[Cell]) -> State {
        let states = cells.iter().map(|cell| cell.state);
        states.max().unwrap_or(State::Fine)
    }

    /// `namespace/kind/name`, without the namespace outside Kubernetes.
    pub fn id(&self) -> String {
        id_of(&self.namespace, &self.kind, &self.name)
    }

    /// How much of it was seen, in words.
    fn basis(&self) -> String {
        let parts = [
            (self.containers, "container"),
            (self.declared_pods, "declared pod"),
        ];
        let parts = parts.into_iter().filter(|(n, _)| *n > 0);
        let parts: Vec<String> = parts.map(|(n, what)| count(n, what)).collect();
        parts.join(", ")
    }
}

impl Evidence {
    /// Adds what else was seen of the same rule.
    fn add(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        // The times are of one form and zone, so they are ordered as texts.
        self.first = std::mem::take(&mut self.first).min(other.first);
        self.last = std::mem::take(&mut self.last).max(other.last);
        for text in other.examples {
            if self.examples.len() < MAX_EXAMPLES && !self.examples.contains(&text) {
                self.examples.push(text);
            }
        }
    }
}

impl Cell {
    fn of(
        control: Control,
        declared: Option<DeclaredCell>,
        observed: Option<ObservedCell>,
    ) -> Self {
        let state = match (&declared, &observed) {
            // What is declared as it should be is fine, whatever could not be seen of it.
            (Some(declared), Some(observed)) if observed.state != State::Breaks => declared.state,
            (Some(declared), Some(observed)) => declared.state.max(observed.state),
            (Some(declared), None) => declared.state,
            (None, Some(observed)) => observed.state,
            (None, None) => State::Unknown,
        };
        Self {
            control,
            state,
            declared,
            observed,
            proposals: Vec::new(),
        }
    }

    /// An alert without the policy and the control, with which it begins.
    fn without_header<'a>(&self, text: &'a str) -> &'a str {
        let header = format!("({}) ", self.control.name());
        text.split_once(&header).map_or(text, |(_, rest)| rest)
    }

    /// Why it is as it is: the first thing to say of it, and how often it was seen.
    fn why(&self) -> (Option<u64>, String) {
        let declared = self.declared.as_ref();
        let declared = declared.filter(|declared| declared.state == self.state);
        if let Some(declared) = declared
            && let Some(message) = declared.messages.first()
        {
            return (None, self.without_header(message).to_owned());
        }
        let Some(observed) = &self.observed else {
            return (None, String::new());
        };
        let counts = observed.evidence.iter().map(|found| found.count);
        let count = counts.fold(0, u64::saturating_add);
        let mut examples = observed.evidence.iter().flat_map(|found| &found.examples);
        let unknown = observed.unknown.first();
        match (examples.next(), unknown) {
            (_, Some(why)) if observed.state == State::Unknown => (Some(count), why.clone()),
            (Some(example), _) => (Some(count), self.without_header(example).to_owned()),
            (None, Some(why)) => (None, why.clone()),
            (None, None) => (None, String::new()),
        }
    }

    /// Why it is as it is, as one line that is never empty.
    fn message(&self) -> String {
        let (_, why) = self.why();
        match escape(&why).trim() {
            "" => self.state.name().to_owned(),
            why => why.to_owned(),
        }
    }

    /// How often it was observed, when first and when last.
    fn times(&self) -> Option<(u64, &str, &str)> {
        let evidence = &self.observed.as_ref()?.evidence;
        let counts = evidence.iter().map(|found| found.count);
        // The times are of one form and zone, so they are ordered as texts.
        let first = evidence.iter().map(|found| &*found.first).min()?;
        let last = evidence.iter().map(|found| &*found.last).max()?;
        Some((counts.fold(0, u64::saturating_add), first, last))
    }
}

#[cfg(test)]
mod tests;
