//! Rules of the user's own, beside or instead of a policy's: `--rules`.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::event::{Activity, CAPABLE, Event, ROOT_WRITE, VOLUME_WRITE};
use crate::listen::alerts::AlertCounts;
use crate::outputs::alert::Alert;
use crate::policies::SourceFile;
use crate::report::declared::MAX_NAMED;
use crate::report::tally::{Tally, Violation, facts};
use crate::rules::{self, EventTypes, ReadError, RuleSet, Source, escape, read_files};
use crate::sources::syscall::calls::CALLS;

/// Why rules files cannot be used.
#[derive(Debug, Error)]
pub enum OwnRulesError {
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What is wrong in them, with the lines that it is about.
    #[error("{0}")]
    Rules(String),
}

/// The rules of the user's files.
#[derive(Clone, Debug, Default)]
pub struct OwnRules {
    /// The rules, as one sequence over all files.
    pub rules: Arc<RuleSet>,
    /// How many files there are.
    pub files: usize,
    /// The files.
    pub sources: Vec<SourceFile>,
    /// What their author should know, with the lines that it is about.
    pub warnings: String,
}

impl OwnRules {
    /// Reads rules files and folders.
    ///
    /// # Errors
    /// One cannot be read or used.
    pub fn load(paths: &[PathBuf]) -> Result<Self, OwnRulesError> {
        let files = read_files(paths)?;
        let texts = files.iter().map(|(name, text)| (name, text.as_str()));
        let (loaded, found) = match rules::load_files(texts) {
            Ok((loaded, found)) => (Some(loaded), found),
            Err(found) => (None, found),
        };
        let mut told = String::new();
        for diagnostic in &found {
            let file = files.iter().find(|(name, _)| *name == diagnostic.file);
            told += &diagnostic.with_line(file.map_or("", |(_, text)| text));
        }
        match loaded {
            Some(rules) => Ok(Self {
                rules: Arc::new(rules),
                files: files.len(),
                sources: files
                    .iter()
                    .map(|(name, text)| SourceFile::new(name, text))
                    .collect(),
                warnings: told,
            }),
            None => Err(OwnRulesError::Rules(told.trim_end().to_owned())),
        }
    }

    /// The rules of policies, then these.
    pub fn after(&self, policies: &RuleSet) -> RuleSet {
        let own = RuleSet::clone(&self.rules).into_rules();
        policies.clone().into_rules().chain(own).collect()
    }

    /// In the words of a header: `3 rules of 1 file`; `None` if there are none.
    pub fn describe(&self) -> Option<String> {
        let s = |count| if count == 1 { "" } else { "s" };
        let rules = self.rules.rules().len();
        (self.files > 0).then(|| {
            let (of_rules, of_files) = (s(rules), s(self.files));
            format!("{rules} rule{of_rules} of {} file{of_files}", self.files)
        })
    }

    /// The rules that this run cannot judge, or only in part, in a line each.
    pub fn blind(&self, sources: &[Source]) -> String {
        let mut text = String::new();
        for rule in self.rules.rules() {
            let why = if !sources.contains(&rule.source) {
                let source = rule.source.name();
                Some(format!(
                    "not judged: this run has no events of {source}{}",
                    match rule.source {
                        Source::Syscall => "",
                        Source::K8sAudit => " (--audit-log, --audit-listen, or check)",
                    }
                ))
            } else if rule.source == Source::Syscall {
                unseen(&rule.event_types)
            } else {
                None
            };
            if let Some(why) = why {
                // Writing to a String does not fail.
                let _ = writeln!(text, "rule \"{}\": {why}", escape(&rule.name));
            }
        }
        text
    }
}

/// What of these event types no hook gives.
fn unseen(types: &EventTypes) -> Option<String> {
    let EventTypes::Only(types) = types else {
        return None;
    };
    let is_seen = |name: &str| {
        let is_made = [Activity::Container, Activity::Exec];
        is_made.iter().any(|made| made.event_type() == name)
            || [CAPABLE, ROOT_WRITE, VOLUME_WRITE].contains(&name)
            || CALLS.iter().any(|call| call.name == name)
    };
    let missing: Vec<&str> = types.iter().map(|t| &**t).filter(|t| !is_seen(t)).collect();
    let names = missing.join(", ");
    match (missing.len(), types.len()) {
        (0, _) => None,
        (all, of) if all == of => Some(format!("not judged: no event is of type {names}")),
        _ => Some(format!("judged only in part: no event is of type {names}")),
    }
}

/// Judges events by the user's own rules, and counts those that fire.
#[derive(Debug, Default)]
pub struct OwnJudge {
    rules: Arc<RuleSet>,
    all: bool,
    tally: Tally,
    /// Those that a rule has fired about, in the order of their coming.
    subjects: VecDeque<String>,
    /// The alerts that were told.
    pub alerts: AlertCounts,
}

impl OwnJudge {
    /// One that has every match told if `all`, otherwise the first of each kind.
    pub fn new(rules: &OwnRules, all: bool) -> Self {
        Self {
            rules: Arc::clone(&rules.rules),
            all,
            tally: Tally::default(),
            subjects: VecDeque::new(),
            alerts: AlertCounts::default(),
        }
    }

    /// Whether some rule judges events of `source`.
    pub fn wants(&self, source: Source) -> bool {
        self.rules.count_by_source().contains_key(&source)
    }

    /// Judges an event about `subject`, and gives the alerts that are to be told.
    pub fn judge(&mut self, event: &Event, subject: &str, mut tell: impl FnMut(Alert)) {
        let known = self.tally.subjects();
        for (index, rule) in self.rules.matching(event) {
            let violation = Violation {
                rule: index,
                subject: self.tally.subject(subject),
                facts: facts(rule, event, None),
            };
            if self.tally.count(violation, 0, event.time_ns()) || self.all {
                self.alerts.note(None, rule, event);
                tell(Alert::of(rule, event));
            }
        }
        if self.tally.subjects() > known {
            self.subjects.push_back(subject.to_owned());
        }
        if self.subjects.len() > MAX_NAMED
            && let Some(oldest) = self.subjects.pop_front()
        {
            self.tally.fold(&[oldest]);
        }
    }

    /// Whether any rule has fired.
    pub fn fired(&self) -> bool {
        !self.tally.is_empty()
    }

    /// How often each rule fired, by its name.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        let named = self.tally.counts();
        let named = named.map(|(_, index, count)| (index, count));
        let folded = self.tally.folded().flat_map(|(rules, folded)| {
            let counts = rules.iter().zip(&folded.counts);
            counts.map(|(index, count)| (*index, *count))
        });
        for (index, count) in named.chain(folded) {
            if let Some(rule) = self.rules.rules().get(index) {
                *counts.entry(rule.name.clone()).or_default() += count;
            }
        }
        counts
    }

    /// The lines of a summary: the rules that fired, and how often.
    pub fn table(&self) -> String {
        let mut text = String::new();
        if self.rules.is_empty() {
            return text;
        }
        let counts = self.counts();
        if counts.is_empty() {
            text += "none of the rules fired\n";
        }
        for (name, count) in counts {
            // Writing to a String does not fail.
            let _ = writeln!(text, "rule fired {count} times: {}", escape(&name));
        }
        text
    }
}
