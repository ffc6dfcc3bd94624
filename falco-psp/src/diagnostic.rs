//! What is wrong with a file of the user's: where (`file:line:column`), what, and what to do.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use crate::rules::escape;

/// A place in a text file. Lines and columns count from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file can be used, but may not mean what its author thinks.
    Warning,
    /// The file cannot be used.
    Error,
}

/// One finding in a user's file.
///
/// Shown as `p.yaml:7:3: error: unknown field "hostPid"; did you mean "hostPID"?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file's name as the user gave it.
    pub file: Arc<str>,
    /// Where in the file; `None` when the finding is about the whole of it.
    pub position: Option<Position>,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to do about it, if that is not obvious.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error in `file`, at `position` where there is one.
    pub fn error(
        file: &Arc<str>,
        position: impl Into<Option<Position>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            file: Arc::clone(file),
            position: position.into(),
            severity: Severity::Error,
            message: message.into(),
            help: None,
        }
    }

    /// A warning about `file`, at `position` where there is one.
    pub fn warning(
        file: &Arc<str>,
        position: impl Into<Option<Position>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(file, position, message)
        }
    }

    /// The same finding with advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The finding, the line of `content` that it is about, and a caret under its place.
    pub fn with_line(&self, content: &str) -> String {
        const WIDEST: usize = 100;
        let mut text = format!("{self}\n");
        let Some(position) = self.position else {
            return text;
        };
        let Some(line) = content.lines().nth(position.line.saturating_sub(1)) else {
            return text;
        };
        // Of a long line the part around the place.
        let start = position.column.saturating_sub(WIDEST / 2);
        let start = if line.chars().count() > WIDEST {
            start
        } else {
            0
        };
        let part: String = line.chars().skip(start).take(WIDEST).collect();
        let before = position.column.saturating_sub(1 + start);
        let shown = |part: &str| escape(&part.replace('\t', " ")).into_owned();
        let width = shown(&part.chars().take(before).collect::<String>());
        // Writing to a String does not fail.
        let _ = writeln!(text, "  | {}", shown(&part));
        let _ = writeln!(text, "  | {}^", " ".repeat(width.chars().count()));
        text
    }

    /// Whether the file cannot be used.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if let Some(position) = self.position {
            write!(f, "{position}:")?;
        }
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, " {severity}: {}", self.message)?;
        if let Some(help) = &self.help {
            write!(f, "; {help}")?;
        }
        Ok(())
    }
}

/// The known name nearest to `name`, if one is near enough to be what was meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    known
        .into_iter()
        .map(|candidate| {
            let distance = strsim::damerau_levenshtein(&lower, &candidate.to_lowercase());
            (distance, candidate)
        })
        .filter(|(distance, candidate)| *distance <= candidate.chars().count().max(3) / 3)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_file_line_column_message_and_help() {
        let file = Arc::from("p.yaml");
        let position = Position { line: 7, column: 3 };
        let diagnostic = Diagnostic::error(&file, position, "unknown field \"hostPid\"")
            .with_help("did you mean \"hostPID\"?");
        assert_eq!(
            diagnostic.to_string(),
            "p.yaml:7:3: error: unknown field \"hostPid\"; did you mean \"hostPID\"?"
        );
        assert_eq!(
            Diagnostic::warning(&file, None, "empty").to_string(),
            "p.yaml: warning: empty"
        );
    }

    #[test]
    fn nearest_name_is_near_or_nothing() {
        let known = ["hostPID", "hostIPC", "volumes"];
        assert_eq!(nearest("hostPid", known), Some("hostPID"));
        assert_eq!(nearest("volume", known), Some("volumes"));
        assert_eq!(nearest("readOnlyRootFilesystem", known), None);
    }
}
