//! Making one answer of several, as of all nodes of a cluster.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use super::{
    Allowance, Answer, Cell, DeclaredCell, Evidence, ObservedCell, Seen, VERSION, Verdict, Workload,
};
use crate::control::Control;
use crate::input;

/// Why reports cannot be made one.
#[derive(Debug, Error)]
pub enum MergeError {
    /// A file cannot be read.
    #[error("cannot read {}: {why}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// A file is no report.
    #[error("{}:{}:{}: no report (--report json): {why}", .path.display(), .why.line(), .why.column())]
    NoReport {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: serde_json::Error,
    },
    /// A report of another form.
    #[error("{}: a report of version {version}; this falco-psp reads {VERSION}", .path.display())]
    Version {
        /// Which.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// Reports about different policies do not add up to anything.
    #[error("{}: about policy {policies}, but the first report is about {first}", .path.display())]
    Policies {
        /// Which.
        path: PathBuf,
        /// What it is about.
        policies: String,
        /// What the first is about.
        first: String,
    },
    /// A report about another version of the policies, whose cells are others.
    #[error("{}: about policies of the same names that restrict other controls than the first's", .path.display())]
    Controls {
        /// Which.
        path: PathBuf,
    },
}

/// Reads reports in JSON and makes one of them: a workload is as bad as on its worst node.
///
/// # Errors
/// See [`MergeError`].
pub fn merge(paths: &[PathBuf]) -> Result<Answer, MergeError> {
    let mut merger = Merger::default();
    for path in paths {
        let answer = read(path)?;
        let added = merger.add(path.display(), answer);
        added.map_err(|mismatch| match mismatch {
            Mismatch::Policies { policies, first } => MergeError::Policies {
                path: path.clone(),
                policies,
                first,
            },
            Mismatch::Controls => MergeError::Controls { path: path.clone() },
        })?;
    }
    Ok(merger.finish(Vec::new(), Vec::new()))
}

/// Reports that become one, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Merger {
    merged: Option<Answer>,
    /// Workloads that break and are in no row of their report.
    unnamed: u64,
    rows: BTreeMap<(String, String, String), Workload>,
}

/// Why a report does not go together with those before.
#[derive(Debug)]
pub(crate) enum Mismatch {
    /// It is about other policies.
    Policies {
        /// What it is about.
        policies: String,
        /// What the first is about.
        first: String,
    },
    /// Its policies have the same names and restrict other controls.
    Controls,
}

impl Merger {
    /// Adds a report; its weaknesses and notes are told as those of `source`.
    ///
    /// # Errors
    /// It is not about the same as the first. Nothing of it was added then.
    pub(crate) fn add(&mut self, source: impl Display, mut answer: Answer) -> Result<(), Mismatch> {
        if let Some(first) = &self.merged {
            if first.policies != answer.policies {
                return Err(Mismatch::Policies {
                    policies: answer.policies.join(", "),
                    first: first.policies.join(", "),
                });
            }
            if first.controls != answer.controls {
                return Err(Mismatch::Controls);
            }
        }
        for text in answer.weaknesses.iter_mut().chain(&mut answer.notes) {
            *text = format!("{source}: {text}");
        }
        self.take(answer);
        Ok(())
    }

    fn take(&mut self, mut answer: Answer) {
        let named = answer.workloads.iter().filter(|w| w.state.is_broken());
        let of_node = answer.breaking.saturating_sub(named.count() as u64);
        self.unnamed = self.unnamed.saturating_add(of_node);
        for workload in std::mem::take(&mut answer.workloads) {
            let id = (
                workload.namespace.clone(),
                workload.kind.clone(),
                workload.name.clone(),
            );
            match self.rows.get_mut(&id) {
                Some(known) => known.add(workload),
                None => _ = self.rows.insert(id, workload),
            }
        }
        match &mut self.merged {
            None => self.merged = Some(answer),
            Some(first) => {
                first.seen.add(&answer.seen);
                first.add_allowances(answer.allowances);
                add_new(&mut first.weaknesses, answer.weaknesses);
                add_new(&mut first.notes, answer.notes);
            }
        }
    }

    /// The answer of all; `weaknesses` and `notes` are told before those of the reports.
    pub(crate) fn finish(self, mut weaknesses: Vec<String>, mut notes: Vec<String>) -> Answer {
        let mut merged = self.merged.unwrap_or_else(nothing);
        weaknesses.append(&mut merged.weaknesses);
        notes.append(&mut merged.notes);
        Answer {
            workloads: self.rows.into_values().collect(),
            weaknesses,
            notes,
            ..merged
        }
        .conclude(self.unnamed)
    }
}

impl Answer {
    /// One answer of several about the same policies, by different sources.
    pub fn join(answers: Vec<Self>) -> Self {
        let mut merger = Merger::default();
        for answer in answers {
            merger.take(answer);
        }
        merger.finish(Vec::new(), Vec::new())
    }

    fn add_allowances(&mut self, others: Vec<Allowance>) {
        for other in others {
            let is_same = |known: &&mut Allowance| {
                (&known.policy, known.control, &known.clause)
                    == (&other.policy, other.control, &other.clause)
            };
            match self.allowances.iter_mut().find(is_same) {
                Some(known) => known.add(other),
                None => self.allowances.push(other),
            }
        }
    }
}

/// The answer of no reports at all.
fn nothing() -> Answer {
    Answer {
        version: VERSION,
        policies: Vec::new(),
        verdict: Verdict::NotEnoughSeen,
        breaking: 0,
        seen: Seen::default(),
        weaknesses: vec!["no report was given".to_owned()],
        notes: Vec::new(),
        controls: Vec::new(),
        allowances: Vec::new(),
        workloads: Vec::new(),
    }
}

fn read(path: &Path) -> Result<Answer, MergeError> {
    let text = input::read(path).map_err(|why| MergeError::Read {
        path: path.to_owned(),
        why,
    })?;
    Answer::from_json(&text).map_err(|error| match error {
        ReadError::NoReport(why) => MergeError::NoReport {
            path: path.to_owned(),
            why,
        },
        ReadError::Version(version) => MergeError::Version {
            path: path.to_owned(),
            version,
        },
    })
}

/// Why a text is no report.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    /// It is none.
    #[error("no report: {0}")]
    NoReport(serde_json::Error),
    /// It is one of another form.
    #[error("a report of version {0}; this falco-psp reads {VERSION}")]
    Version(u32),
}

/// What every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Answer {
    /// Reads a report in JSON.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub(crate) fn from_json(text: &[u8]) -> Result<Self, ReadError> {
        let answer = match serde_json::from_slice::<Self>(text) {
            Ok(answer) => answer,
            // A later form may be one that cannot be read as this one.
            Err(why) => {
                return Err(match serde_json::from_slice::<Versioned>(text) {
                    Ok(Versioned { version }) if version != VERSION => ReadError::Version(version),
                    _ => ReadError::NoReport(why),
                });
            }
        };
        match answer.version {
            VERSION => Ok(answer),
            version => Err(ReadError::Version(version)),
        }
    }
}

impl Seen {
    fn add(&mut self, other: &Self) {
        let sum = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (one, other) => one.or(other),
        };
        // The times are of one form and zone, so they are ordered as texts.
        self.began = match (self.began.take(), &other.began) {
            (Some(a), Some(b)) => Some(a.min(b.clone())),
            (one, other) => one.or_else(|| other.clone()),
        };
        // What all nodes were watched for.
        self.window_seconds = match (self.window_seconds, other.window_seconds) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, other) => one.or(other),
        };
        self.containers = sum(self.containers, other.containers);
        self.declared_pods = sum(self.declared_pods, other.declared_pods);
        self.events_lost = self.events_lost.saturating_add(other.events_lost);
    }
}

impl Workload {
    /// Adds what another node has seen of it.
    fn add(&mut self, other: Self) {
        self.containers = self.containers.saturating_add(other.containers);
        self.declared_pods = self.declared_pods.saturating_add(other.declared_pods);
        add_new(&mut self.places, other.places);
        self.needs.absorb(&other.needs);
        let cells = std::mem::take(&mut self.cells);
        let mut cells: BTreeMap<Control, Cell> =
            cells.into_iter().map(|cell| (cell.control, cell)).collect();
        for cell in other.cells {
            let merged = match cells.remove(&cell.control) {
                Some(known) => known.and(cell),
                None => cell,
            };
            cells.insert(merged.control, merged);
        }
        self.cells = cells.into_values().collect();
        self.state = Self::worst(&self.cells);
    }
}

impl Cell {
    fn and(self, other: Self) -> Self {
        let declared = match (self.declared, other.declared) {
            (Some(one), Some(other)) => Some(one.and(other)),
            (one, other) => one.or(other),
        };
        let observed = match (self.observed, other.observed) {
            (Some(one), Some(other)) => Some(one.and(other)),
            (one, other) => one.or(other),
        };
        let mut proposals = self.proposals;
        for proposal in other.proposals {
            if !proposals.contains(&proposal) {
                proposals.push(proposal);
            }
        }
        Self {
            proposals,
            ..Self::of(self.control, declared, observed)
        }
    }
}

impl DeclaredCell {
    fn and(mut self, other: Self) -> Self {
        self.state = self.state.max(other.state);
        add_new(&mut self.messages, other.messages);
        self
    }
}

impl ObservedCell {
    fn and(mut self, other: Self) -> Self {
        self.state = self.state.max(other.state);
        add_new(&mut self.unknown, other.unknown);
        for found in other.evidence {
            let is_same = |known: &&mut Evidence| {
                (&known.policy, &known.rule) == (&found.policy, &found.rule)
            };
            match self.evidence.iter_mut().find(is_same) {
                Some(known) => known.add(found),
                None => self.evidence.push(found),
            }
        }
        self
    }
}

fn add_new(texts: &mut Vec<String>, others: Vec<String>) {
    for text in others {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
}
