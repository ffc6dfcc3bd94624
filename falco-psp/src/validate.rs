//! `falco-psp validate`: are these rules files right? All that is wrong with them, where, and what
//! to do.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::rules::{self, ReadError, escape, read_files};

/// What was found.
#[derive(Debug)]
pub struct Validated {
    /// The findings, for people.
    pub text: String,
    /// The same as data.
    pub document: Document,
}

/// The result as data, much as Falco's own `-V` gives it.
#[derive(Debug, Serialize)]
pub struct Document {
    /// Whether all files load.
    pub successful: bool,
    /// How many rules there are.
    pub rules: usize,
    /// One for each file.
    pub results: Vec<FileResult>,
}

/// What was found in one file.
#[derive(Debug, Serialize)]
pub struct FileResult {
    /// The file.
    pub name: String,
    /// Whether it has no errors.
    pub successful: bool,
    /// What prevents its use.
    pub errors: Vec<Finding>,
    /// What its author should know.
    pub warnings: Vec<Finding>,
}

/// An error or a warning.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// What is wrong.
    pub message: String,
    /// The line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column in characters, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// What to do about it, if that is not obvious.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl From<&Diagnostic> for Finding {
    fn from(diagnostic: &Diagnostic) -> Self {
        Self {
            message: diagnostic.message.clone(),
            line: diagnostic.position.map(|position| position.line),
            column: diagnostic.position.map(|position| position.column),
            help: diagnostic.help.clone(),
        }
    }
}

/// Loads the files as one sequence, as Falco does: later ones can change what is in earlier ones.
/// Of a folder its files `*.yaml` and `*.yml` by name.
///
/// # Errors
/// A file cannot be read.
pub fn validate(paths: &[PathBuf]) -> Result<Validated, ReadError> {
    let files = read_files(paths)?;
    let texts = files.iter().map(|(name, text)| (name, text.as_str()));
    let (count, found) = match rules::load_files(texts) {
        Ok((rules, warnings)) => (rules.rules().len(), warnings),
        Err(found) => (0, found),
    };
    let mut text = String::new();
    let mut results = Vec::new();
    for (name, content) in &files {
        let of_file: Vec<&Diagnostic> = found.iter().filter(|d| d.file == *name).collect();
        for diagnostic in &of_file {
            text += &diagnostic.with_line(content);
        }
        let (errors, warnings): (Vec<_>, Vec<_>) = of_file.iter().partition(|d| d.is_error());
        let state = match (errors.len(), warnings.len()) {
            (0, 0) => "ok".to_owned(),
            (0, warnings) => format!("ok, {}", counted(warnings, "warning")),
            (errors, 0) => counted(errors, "error"),
            (errors, warnings) => {
                let errors = counted(errors, "error");
                format!("{errors}, {}", counted(warnings, "warning"))
            }
        };
        // Writing to a String does not fail.
        let _ = writeln!(text, "{}: {state}", escape(name));
        let findings = |of: Vec<&Diagnostic>| of.into_iter().map(Finding::from).collect();
        results.push(FileResult {
            name: name.to_string(),
            successful: errors.is_empty(),
            errors: findings(errors),
            warnings: findings(warnings),
        });
    }
    let successful = !found.iter().any(Diagnostic::is_error);
    if successful {
        let _ = writeln!(text, "{} can be loaded", counted(count, "rule"));
    }
    Ok(Validated {
        text,
        document: Document {
            successful,
            rules: count,
            results,
        },
    })
}

fn counted(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}
