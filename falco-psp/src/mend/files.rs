//! `falco-psp mend`: the user's own files, changed so that a policy breaks nothing, and what cannot be
//! mended so.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use similar::TextDiff;
use thiserror::Error;

use super::{Target, all, policy, proposals, spec};
use crate::check::{self, check_manifests};
use crate::control::Control;
use crate::input;
use crate::needs::Uses;
use crate::outputs::alert::Format;
use crate::own_rules::OwnRules;
use crate::policies::{Limits, Policies, PolicyError};
use crate::psp::Policy;
use crate::recording::ReadError;
use crate::report::answer::{Answer, Workload};
use crate::rules::escape;
use crate::sources::manifest::{Declared, Manifests};
use crate::watch::answer_of;
use crate::yaml::edit::{Edit, EditError, Step, edit};

/// What is to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The manifests of the workloads.
    Manifests,
    /// The policy.
    Policy,
}

/// What is known of the workloads.
#[derive(Clone, Debug)]
pub struct By {
    /// What their pods did.
    pub replay: Option<PathBuf>,
    /// Their manifests: files or folders.
    pub files: Vec<PathBuf>,
    /// The namespace of manifests that name none.
    pub namespace: String,
}

/// Why nothing can be mended.
#[derive(Debug, Error)]
pub enum MendError {
    /// The policy cannot be used.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The recording cannot be read.
    #[error(transparent)]
    Recording(#[from] ReadError),
    /// Manifests are not as they should be, in lines.
    #[error("{0}")]
    Manifests(String),
    /// A file cannot be read again.
    #[error("cannot read {}: {why}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {why}", .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// The policy's text cannot be changed.
    #[error("cannot change {}: {why}", .path.display())]
    Edit {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: EditError,
    },
    /// An empty file must not pass for one in which nothing breaks.
    #[error("no workload of the policy's scope in it: nothing was judged")]
    Nothing,
    /// Standard input cannot be changed, nor be read twice.
    #[error("what comes from standard input cannot be mended: name a file")]
    StandardInput,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Mended {
    /// The changes of the files, as a diff that `patch -p0` and `git apply -p0` take.
    pub diff: String,
    /// The files that are changed, as they are to be.
    files: Vec<(PathBuf, String)>,
    /// Why what is known may be less than all, in lines.
    weaknesses: Vec<String>,
    /// What the changes rest on, in lines.
    pub because: Vec<String>,
    /// What is broken still, in lines.
    pub left: Vec<String>,
}

impl Mended {
    /// Changes the files.
    ///
    /// # Errors
    /// One of them cannot be written.
    pub fn write(&self) -> Result<(), MendError> {
        for (path, text) in &self.files {
            replace(path, text).map_err(|why| MendError::Write {
                path: path.clone(),
                why,
            })?;
        }
        Ok(())
    }

    /// What is to be said besides the changes, in lines.
    pub fn said(&self) -> String {
        let because = self.because.iter().map(|line| format!("{line}\n"));
        let left = self.left.iter().map(|line| format!("not mended: {line}\n"));
        let weaknesses = self.weaknesses.iter();
        let weaknesses = weaknesses.map(|line| format!("not all was seen: {}\n", escape(line)));
        let mut text: String = weaknesses.chain(because).chain(left).collect();
        if self.diff.is_empty() && self.left.is_empty() {
            text += match self.weaknesses.is_empty() {
                true => "nothing is broken\n",
                false => "nothing that was seen is broken\n",
            };
        }
        text
    }
}

/// Changes the manifests, or the policy at `psp`, so that the policy breaks nothing of what is known, as
/// far as that can be done; whether it is done is judged by the rules.
///
/// # Errors
/// A file cannot be read, or not be changed.
pub fn mend(psp: &Path, limits: &Limits, of: Of, by: &By) -> Result<Mended, MendError> {
    if by.files.iter().any(|file| file == Path::new("-")) {
        return Err(MendError::StandardInput);
    }
    let load = || Policies::load(&[psp.to_owned()], limits);
    let mut answer = judge(&load, by)?;
    if answer.workloads.is_empty() {
        return Err(MendError::Nothing);
    }
    let weaknesses = std::mem::take(&mut answer.weaknesses);
    let policies = load()?;
    let Some(policy) = policies.each.first().map(|rules| &rules.policy) else {
        return Ok(Mended::default());
    };
    let mended = match of {
        Of::Policy => mend_policy(psp, policy, limits, &answer, by),
        Of::Manifests => mend_manifests(policy, &policies, &answer, by),
    };
    mended.map(|mended| Mended {
        weaknesses,
        ..mended
    })
}

/// What the policies come to by all that is known.
fn judge(load: &dyn Fn() -> Result<Policies, PolicyError>, by: &By) -> Result<Answer, MendError> {
    let mut answers = Vec::new();
    if let Some(replay) = &by.replay {
        answers.push(answer_of(replay, load()?)?);
    }
    if !by.files.is_empty() {
        let own = OwnRules::default();
        let checked = check::check(&load()?, &own, &by.files, &by.namespace, Format::Text)
            .map_err(|nothing| MendError::Manifests(nothing.to_string()))?;
        if !checked.errors.is_empty() {
            return Err(MendError::Manifests(checked.errors.join("\n")));
        }
        answers.push(checked.answer);
    }
    Ok(Answer::join(answers))
}

fn mend_policy(
    psp: &Path,
    policy: &Policy,
    limits: &Limits,
    answer: &Answer,
    by: &By,
) -> Result<Mended, MendError> {
    let mut broken: BTreeMap<Control, Uses> = BTreeMap::new();
    for workload in &answer.workloads {
        for cell in workload.cells.iter().filter(|cell| cell.state.is_broken()) {
            broken
                .entry(cell.control)
                .or_default()
                .absorb(&all(&workload.needs));
        }
    }
    let edits = broken.iter();
    let edits: Vec<Edit> = edits
        .flat_map(|(control, uses)| policy::changes(policy, *control, uses))
        .collect();
    let text = read(psp)?;
    let changed = edit(&text, document_of(&text), &edits).map_err(|why| MendError::Edit {
        path: psp.to_owned(),
        why,
    })?;
    let load = || Policies::of_texts(&[(psp.to_owned(), changed.clone())], limits);
    let after = judge(&load, by)?;
    Ok(Mended {
        diff: diff(psp, &text, &changed),
        files: vec![(psp.to_owned(), changed)],
        left: left(&after),
        ..Mended::default()
    })
}

/// The document that is the policy.
fn document_of(text: &str) -> usize {
    use serde::Deserialize as _;
    let mut documents = serde_yaml::Deserializer::from_str(text);
    let is_policy = |document| {
        let value = Value::deserialize(document).unwrap_or_default();
        value["kind"] == "PodSecurityPolicy"
    };
    documents.position(is_policy).unwrap_or(0)
}

/// What is broken in an answer.
fn left(answer: &Answer) -> Vec<String> {
    let broken = answer.workloads.iter().filter(|w| w.state.is_broken());
    broken
        .flat_map(|workload| {
            let cells = workload.cells.iter().filter(|cell| cell.state.is_broken());
            cells.map(|cell| format!("{}: {}", escape(&workload.id()), cell.control))
        })
        .collect()
}

fn mend_manifests(
    policy: &Policy,
    policies: &Policies,
    answer: &Answer,
    by: &By,
) -> Result<Mended, MendError> {
    let mut manifests = Manifests::default();
    for file in &by.files {
        manifests.add(file, &by.namespace);
    }
    let mut mended = Mended::default();
    let mut texts: BTreeMap<Arc<str>, (String, String)> = BTreeMap::new();
    let mut done: BTreeSet<(String, Control)> = BTreeSet::new();
    for declared in &manifests.declared {
        let row = answer
            .workloads
            .iter()
            .find(|w| w.id() == declared.workload);
        let Some(row) = row.filter(|row| row.state.is_broken()) else {
            continue;
        };
        if !texts.contains_key(&declared.file) {
            let text = read(Path::new(&*declared.file))?;
            texts.insert(Arc::clone(&declared.file), (text.clone(), text));
        }
        let Some((_, text)) = texts.get_mut(&declared.file) else {
            continue;
        };
        for cell in row.cells.iter().filter(|cell| cell.state.is_broken()) {
            let id = format!("{}: {}", escape(&declared.workload), cell.control);
            match mend_cell(policy, row, cell.control, declared, text) {
                Ok((changed, because)) => {
                    *text = changed;
                    mended.because.push(format!("{id}: {because}"));
                    done.insert((declared.workload.clone(), cell.control));
                }
                Err(why) => mended.left.push(format!("{id}: {why}")),
            }
        }
    }
    // What was done is judged as the files would be.
    let mut after = Manifests::default();
    for (file, (_, changed)) in &texts {
        after.add_text(file, changed, &by.namespace);
    }
    let own = OwnRules::default();
    let checked = check_manifests(policies, &own, after, Format::Text);
    for workload in &checked.answer.workloads {
        let cells = workload.cells.iter().filter(|cell| cell.state.is_broken());
        for cell in cells.filter(|cell| done.contains(&(workload.id(), cell.control))) {
            let id = format!("{}: {}", escape(&workload.id()), cell.control);
            let what = "the change does not mend all of it: other containers ask for it";
            mended.left.push(format!("{id}: {what}"));
        }
    }
    mended.left.extend(unwritten(answer, &manifests));
    for (file, (before, changed)) in &texts {
        mended.diff += &diff(Path::new(&**file), before, changed);
        if before != changed {
            mended.files.push((PathBuf::from(&**file), changed.clone()));
        }
    }
    Ok(mended)
}

/// Workloads that are broken, and of which there is no manifest.
fn unwritten(answer: &Answer, manifests: &Manifests) -> Vec<String> {
    let known: BTreeSet<&str> = manifests.declared.iter().map(|d| &*d.workload).collect();
    let broken = answer.workloads.iter().filter(|w| w.state.is_broken());
    broken
        .filter(|workload| !known.contains(&*workload.id()))
        .map(|workload| format!("{}: there is no manifest of it", escape(&workload.id())))
        .collect()
}

/// The text of a manifest with what mends one control, and what that rests on; or why there is nothing.
fn mend_cell(
    policy: &Policy,
    row: &Workload,
    control: Control,
    declared: &Declared,
    text: &str,
) -> Result<(String, String), String> {
    let hint = || {
        let proposals = proposals(policy, control, &row.needs).into_iter();
        let of_policy = proposals.filter(|proposal| proposal.of != Target::Spec);
        let changes: Vec<String> = of_policy.map(|proposal| proposal.change).collect();
        match changes.is_empty() {
            true => String::new(),
            false => format!("; the policy would admit it with {}", changes.join("; ")),
        }
    };
    if row.needs.observed.is_empty() {
        return Err(format!(
            "what its pods do was not recorded, so that nobody knows what it needs{}",
            hint()
        ));
    }
    let change = spec::change(policy, control, &row.needs);
    let change =
        change.ok_or_else(|| format!("no change of its specification is known{}", hint()))?;
    let edits = edits_of(&change, declared)?;
    let changed = edit(text, declared.document, &edits);
    let changed = changed.map_err(|why| format!("{}: {why}", escape(&declared.place)))?;
    Ok((changed, change.because))
}

/// The change of a pod as edits of its manifest.
fn edits_of(change: &spec::Change, declared: &Declared) -> Result<Vec<Edit>, String> {
    let mut edits = Vec::new();
    for (name, context) in &change.containers {
        let at = container_at(declared, name)
            .ok_or_else(|| format!("the manifest has no container {}", escape(name)))?;
        for (field, value) in context {
            let mut path = at.clone();
            path.extend(["securityContext".into(), field.as_str().into()]);
            // What it says of capabilities besides stays.
            match value.as_object().filter(|_| field == "capabilities") {
                Some(lists) => {
                    for (key, list) in lists {
                        let mut path = path.clone();
                        path.push(key.as_str().into());
                        edits.push(Edit::Set(path, list.clone()));
                    }
                    if !lists.contains_key("add") && has(declared, &at, "add") {
                        path.push("add".into());
                        edits.push(Edit::Set(path, Value::Array(Vec::new())));
                    }
                }
                None => edits.push(Edit::Set(path, value.clone())),
            }
        }
    }
    let mut spec = declared.steps.clone();
    spec.push("spec".into());
    for (name, folders) in &change.empty_dirs {
        let Some(at) = container_at(declared, name) else {
            continue;
        };
        for folder in folders {
            let volume = spec::volume_name(name, folder);
            let mut mounts = at.clone();
            mounts.push("volumeMounts".into());
            let mount = serde_json::json!({"name": volume, "mountPath": folder});
            edits.push(Edit::Add(mounts, mount));
            let mut volumes = spec.clone();
            volumes.push("volumes".into());
            let value = serde_json::json!({"name": volume, "emptyDir": {}});
            edits.push(Edit::Add(volumes, value));
        }
    }
    Ok(edits)
}

/// Whether a container adds or drops capabilities.
fn has(declared: &Declared, at: &[Step], list: &str) -> bool {
    let [.., Step::Key(kind), Step::Item(index)] = at else {
        return false;
    };
    let context = &declared.pod["spec"][kind.as_str()][index]["securityContext"];
    !context["capabilities"][list].is_null()
}

/// Where the container of this name stands in its document.
fn container_at(declared: &Declared, name: &str) -> Option<Vec<Step>> {
    ["containers", "initContainers"].iter().find_map(|kind| {
        let containers = declared.pod["spec"][*kind].as_array()?;
        let index = containers.iter().position(|c| c["name"] == name)?;
        let mut path = declared.steps.clone();
        path.extend(["spec".into(), (*kind).into(), index.into()]);
        Some(path)
    })
}

fn read(path: &Path) -> Result<String, MendError> {
    input::read_text(path).map_err(|why| MendError::Read {
        path: path.to_owned(),
        why,
    })
}

/// Puts a text in the place of a file's as a whole: on a full disk the file stays as it is.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    // What a link leads to, and not the link.
    let path = fs::canonicalize(path)?;
    let mut name = path.clone().into_os_string();
    name.push(".falco-psp-new");
    let new = PathBuf::from(name);
    let written = File::create_new(&new).and_then(|mut file| {
        file.set_permissions(fs::metadata(&path)?.permissions())?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)
    });
    if written
        .as_ref()
        .is_err_and(|why| why.kind() != io::ErrorKind::AlreadyExists)
    {
        // Not there, or of no use.
        let _ = fs::remove_file(&new);
    }
    written
}

fn diff(path: &Path, before: &str, after: &str) -> String {
    let name = path.display().to_string();
    let diff = TextDiff::from_lines(before, after);
    let mut diff = diff.unified_diff();
    diff.header(&name, &name).to_string()
}
