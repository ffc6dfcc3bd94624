//! `falco-psp compare`: the same workloads judged by several policies, each for itself.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::future::pending;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use thiserror::Error;
use tokio::sync::mpsc;

use crate::audit::Auditor;
use crate::check;
use crate::control::Control;
use crate::outputs::Outputs;
use crate::outputs::alert::Format;
use crate::own_rules::OwnRules;
use crate::policies::Policies;
use crate::recording::ReadError;
use crate::report::answer::{Answer, State, Verdict, Workload, answer};
use crate::rules::escape;
use crate::sources::k8s_audit::file::{AuditLog, LogError, LogOptions};
use crate::watch::answer_of;

/// The version of the JSON form. It changes when a consumer has to.
const VERSION: u32 = 1;
/// Batches of audit events that may wait.
const QUEUE: usize = 16;
/// The widest line, unless a name is wider.
const WIDTH: usize = 80;
/// Where the controls of a step begin.
const INDENT: usize = 10;

/// What the policies are compared by.
#[derive(Clone, Debug)]
pub enum By {
    /// A recording.
    Recording(PathBuf),
    /// An audit log; `-` is standard input.
    AuditLog(PathBuf),
    /// Manifests.
    Manifests {
        /// Files, folders, or `-` for standard input.
        files: Vec<PathBuf>,
        /// The namespace of those that name none.
        namespace: String,
    },
}

/// Why there is no comparison.
#[derive(Debug, Error)]
pub enum CompareError {
    /// The recording cannot be read.
    #[error(transparent)]
    Recording(#[from] ReadError),
    /// The audit log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Manifests are not as they should be, in lines.
    #[error("{0}")]
    Manifests(String),
    /// Standard input is there only once, and read once for each policy.
    #[error("manifests from standard input cannot be compared: name a file")]
    StandardInput,
    /// An empty file must not pass for one in which nothing breaks.
    #[error("no workload of the policies' scope in it: nothing was compared")]
    Nothing,
    /// The system refuses something that it gives every process.
    #[error("cannot read the audit log: {0}")]
    System(#[from] io::Error),
}

/// What each policy comes to.
#[derive(Debug, Serialize)]
pub struct Comparison {
    version: u32,
    policies: Vec<Column>,
    workloads: Vec<Row>,
    steps: Vec<Step>,
}

#[derive(Debug, Serialize)]
struct Column {
    name: String,
    verdict: Verdict,
    breaking: u64,
    weaknesses: Vec<String>,
}

/// A workload; one state for each policy, `null` where it is not in the policy's scope.
#[derive(Debug, Serialize)]
struct Row {
    workload: String,
    states: Vec<Option<State>>,
}

/// The step from one policy to the next.
#[derive(Debug, Serialize)]
struct Step {
    from: String,
    to: String,
    /// What breaks with it that did not before.
    breaks: Vec<Change>,
    /// What no longer breaks.
    mends: Vec<Change>,
}

#[derive(Debug, Serialize)]
struct Change {
    workload: String,
    controls: Vec<&'static str>,
}

/// What to call the policies: by their names, or, where two have the same, by their files.
pub fn names(paths: &[PathBuf], policies: &[Policies]) -> Vec<String> {
    let own: Vec<String> = policies.iter().map(Policies::names).collect();
    let all: BTreeSet<&String> = own.iter().collect();
    match all.len() == own.len() {
        true => own,
        false => paths
            .iter()
            .map(|path| path.display().to_string())
            .collect(),
    }
}

/// Judges by each of the policies, and compares.
///
/// # Errors
/// What they are compared by cannot be read.
pub fn compare(
    names: Vec<String>,
    policies: Vec<Policies>,
    by: &By,
) -> Result<Comparison, CompareError> {
    let answers = match by {
        By::Recording(path) => {
            let answers = policies
                .into_iter()
                .map(|policies| answer_of(path, policies));
            answers.collect::<Result<Vec<Answer>, ReadError>>()?
        }
        By::AuditLog(path) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(of_log(path, policies))?
        }
        By::Manifests { files, namespace } => {
            if policies.len() > 1 && files.iter().any(|file| file.as_os_str() == "-") {
                return Err(CompareError::StandardInput);
            }
            let mut answers = Vec::new();
            for policies in policies {
                let own = OwnRules::default();
                let checked = check::check(&policies, &own, files, namespace, Format::Text)
                    .map_err(|nothing| CompareError::Manifests(nothing.to_string()))?;
                if !checked.errors.is_empty() {
                    return Err(CompareError::Manifests(checked.errors.join("\n")));
                }
                answers.push(checked.answer);
            }
            answers
        }
    };
    if answers.iter().all(|answer| answer.workloads.is_empty()) {
        return Err(CompareError::Nothing);
    }
    Ok(Comparison::of(names, &answers))
}

/// The answers of an audit log, which is read once for all.
async fn of_log(path: &Path, policies: Vec<Policies>) -> Result<Vec<Answer>, CompareError> {
    let (sender, mut batches) = mpsc::channel(QUEUE);
    let log = AuditLog::open(&LogOptions::new(path))?;
    let reading = tokio::spawn(log.serve(sender, pending()));
    let own = OwnRules::default();
    let judges = policies.into_iter().map(|policies| {
        let policies = Arc::new(policies);
        let auditor = Auditor::new(Arc::clone(&policies), &own, Outputs::none(), false);
        (policies, auditor)
    });
    let mut judges: Vec<(Arc<Policies>, Auditor)> = judges.collect();
    // What is wrong with the log is told once.
    judges
        .iter_mut()
        .skip(1)
        .for_each(|(_, auditor)| auditor.hush());
    while let Some(batch) = batches.recv().await {
        for (_, auditor) in &mut judges {
            auditor.take(&batch);
        }
    }
    reading.await.map_err(io::Error::other)??;
    let answers = judges.iter().map(|(policies, auditor)| {
        let declared = auditor.declared();
        answer(policies, None, Some(&declared), "")
    });
    Ok(answers.collect())
}

impl Comparison {
    /// Compares the answers, which are about the same workloads, in the order of the steps.
    fn of(names: Vec<String>, answers: &[Answer]) -> Self {
        let mut rows: BTreeMap<String, Vec<Option<&Workload>>> = BTreeMap::new();
        for (column, answer) in answers.iter().enumerate() {
            for workload in &answer.workloads {
                let row = rows.entry(workload.id()).or_default();
                row.resize(answers.len(), None);
                if let Some(cell) = row.get_mut(column) {
                    *cell = Some(workload);
                }
            }
        }
        let mut steps = Vec::new();
        for ((from, to), index) in names.iter().zip(names.iter().skip(1)).zip(0..) {
            let mut step = Step {
                from: from.clone(),
                to: to.clone(),
                breaks: Vec::new(),
                mends: Vec::new(),
            };
            for (workload, row) in &rows {
                let broken = |index: usize| broken(row.get(index).copied().flatten());
                let (before, after) = (broken(index), broken(index + 1));
                for (list, controls) in [
                    (&mut step.breaks, after.difference(&before)),
                    (&mut step.mends, before.difference(&after)),
                ] {
                    let controls: Vec<&str> = controls.map(|control| control.name()).collect();
                    if !controls.is_empty() {
                        list.push(Change {
                            workload: workload.clone(),
                            controls,
                        });
                    }
                }
            }
            steps.push(step);
        }
        let columns = names.into_iter().zip(answers).map(|(name, answer)| Column {
            name,
            verdict: answer.verdict,
            breaking: answer.breaking,
            weaknesses: answer.weaknesses.clone(),
        });
        Self {
            version: VERSION,
            policies: columns.collect(),
            workloads: rows
                .into_iter()
                .map(|(workload, row)| Row {
                    workload,
                    states: row.into_iter().map(|of| of.map(|of| of.state)).collect(),
                })
                .collect(),
            steps,
        }
    }

    /// Whether some step breaks what worked before.
    pub fn breaks_any(&self) -> bool {
        self.steps.iter().any(|step| !step.breaks.is_empty())
    }

    /// The comparison as JSON.
    ///
    /// # Errors
    /// Never with what it is made of.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }

    /// The comparison as a table, and the steps.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let columns: Vec<(Cow<'_, str>, usize)> = self
            .policies
            .iter()
            .map(|policy| {
                let name = escape(&policy.name);
                let width = name.chars().count().max("unknown".len());
                (name, width)
            })
            .collect();
        for (name, width) in &columns {
            write!(text, "{name:<width$}  ")?;
        }
        writeln!(text, "workload")?;
        for row in &self.workloads {
            for ((_, width), state) in columns.iter().zip(&row.states) {
                let word = state.map_or("-", State::name);
                write!(text, "{word:<width$}  ")?;
            }
            writeln!(text, "{}", escape(&row.workload))?;
        }
        for (index, policy) in self.policies.iter().enumerate() {
            for weakness in &policy.weaknesses {
                // Most is wrong with what all of them are judged by.
                let is_of_all = |of: &Column| of.weaknesses.contains(weakness);
                match self.policies.iter().all(is_of_all) {
                    true if index > 0 => {}
                    true => writeln!(text, "not all was seen: {}", escape(weakness))?,
                    false => writeln!(
                        text,
                        "not all was seen for {}: {}",
                        escape(&policy.name),
                        escape(weakness)
                    )?,
                }
            }
        }
        for step in &self.steps {
            let (from, to) = (escape(&step.from), escape(&step.to));
            writeln!(text, "\nfrom {from} to {to}")?;
            if step.breaks.is_empty() && step.mends.is_empty() {
                writeln!(text, "  no workload breaks or is mended")?;
            }
            for (word, changes) in [("breaks", &step.breaks), ("mends", &step.mends)] {
                for change in changes {
                    writeln!(text, "  {word:<7} {}", escape(&change.workload))?;
                    for line in wrapped(&change.controls) {
                        writeln!(text, "{:INDENT$}{line}", "")?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The controls on which a workload breaks.
fn broken(workload: Option<&Workload>) -> BTreeSet<Control> {
    let cells = workload.map(|workload| workload.cells.as_slice());
    let cells = cells.unwrap_or_default().iter();
    cells
        .filter(|cell| cell.state.is_broken())
        .map(|cell| cell.control)
        .collect()
}

/// Names in lines that are no wider than a terminal.
fn wrapped(names: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let comma = if index + 1 < names.len() { "," } else { "" };
        match lines.last_mut() {
            Some(line) if INDENT + line.len() + 1 + name.len() + comma.len() <= WIDTH => {
                *line += &format!(" {name}{comma}");
            }
            _ => lines.push(format!("{name}{comma}")),
        }
    }
    lines
}
