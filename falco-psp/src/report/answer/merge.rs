//! Making one answer of several, as of all nodes of a cluster.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{
    Allowance, Answer, Cell, DeclaredCell, Evidence, ObservedCell, Seen, VERSION, Verdict, Workload,
};
use crate::control::Control;

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
    let mut merged: Option<Answer> = None;
    let mut unnamed = 0;
    let mut rows: BTreeMap<(String, String, String), Workload> = BTreeMap::new();
    for path in paths {
        let mut answer = read(path)?;
        let named = answer.workloads.iter().filter(|w| w.state.is_broken());
        let of_node = answer.breaking.saturating_sub(named.count() as u64);
        unnamed = u64::saturating_add(unnamed, of_node);
        add_rows(&mut rows, std::mem::take(&mut answer.workloads));
        for text in answer.weaknesses.iter_mut().chain(&mut answer.notes) {
            *text = format!("{}: {text}", path.display());
        }
        match &mut merged {
            None => merged = Some(answer),
            Some(first) if first.policies != answer.policies => {
                return Err(MergeError::Policies {
                    path: path.clone(),
                    policies: answer.policies.join(", "),
                    first: first.policies.join(", "),
                });
            }
            Some(first) if first.controls != answer.controls => {
                return Err(MergeError::Controls { path: path.clone() });
            }
            Some(first) => {
                first.seen.add(&answer.seen);
                first.add_allowances(answer.allowances);
                first.weaknesses.extend(answer.weaknesses);
                first.notes.extend(answer.notes);
            }
        }
    }
    let merged = merged.unwrap_or_else(nothing);
    Ok(Answer {
        workloads: rows.into_values().collect(),
        ..merged
    }
    .conclude(unnamed))
}

impl Answer {
    /// One answer of several about the same policies, by different sources.
    pub fn join(answers: Vec<Self>) -> Self {
        let mut rows: BTreeMap<(String, String, String), Workload> = BTreeMap::new();
        let mut joined: Option<Self> = None;
        for mut answer in answers {
            add_rows(&mut rows, std::mem::take(&mut answer.workloads));
            match &mut joined {
                None => joined = Some(answer),
                Some(first) => {
                    first.seen.add(&answer.seen);
                    first.add_allowances(answer.allowances);
                    add_new(&mut first.weaknesses, answer.weaknesses);
                    add_new(&mut first.notes, answer.notes);
                }
            }
        }
        Self {
            workloads: rows.into_values().collect(),
            ..joined.unwrap_or_else(nothing)
        }
        .conclude(0)
    }
}

impl Answer {
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

fn add_rows(
    rows: &mut BTreeMap<(String, String, String), Workload>,
    workloads: impl IntoIterator<Item = Workload>,
) {
    for workload in workloads {
        let id = (
            workload.namespace.clone(),
            workload.kind.clone(),
            workload.name.clone(),
        );
        match rows.get_mut(&id) {
            Some(known) => known.add(workload),
            None => _ = rows.insert(id, workload),
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
    let text = fs::read(path).map_err(|why| MergeError::Read {
        path: path.to_owned(),
        why,
    })?;
    let answer: Answer = serde_json::from_slice(&text).map_err(|why| MergeError::NoReport {
        path: path.to_owned(),
        why,
    })?;
    match answer.version {
        VERSION => Ok(answer),
        version => Err(MergeError::Version {
            path: path.to_owned(),
            version,
        }),
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
