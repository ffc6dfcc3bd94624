//! Condition texts that remember where in the rules files each part of them stands.
//!
//! The text that is parsed is not the text of the file: appended conditions are joined and list
//! names are replaced. An error is still shown at the place where its author can mend it.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use super::ast::At;
use crate::diagnostic::{Diagnostic, Position, Severity};
use crate::yaml::Node;

/// A rules file.
#[derive(Clone, Debug)]
pub(super) struct File<'a> {
    /// Its name.
    pub(super) name: Arc<str>,
    /// Its whole text.
    pub(super) text: &'a str,
}

/// A text made of parts of files.
#[derive(Clone, Debug, Default)]
pub(super) struct Text {
    text: String,
    /// In the order of their starts, which begin with 0.
    pieces: Vec<Piece>,
}

/// Another text in the place of a part of a text.
#[derive(Clone, Debug)]
pub(super) struct Edit {
    /// The part, in bytes.
    pub(super) part: Range<usize>,
    /// The byte whose place the new text gets.
    pub(super) anchor: usize,
    /// The new text.
    pub(super) with: String,
}

/// Where a part of a text comes from.
#[derive(Clone, Debug)]
struct Piece {
    /// Where it begins in the text; it ends where the next one begins.
    start: usize,
    /// The number of the file.
    file: usize,
    /// The value in the file.
    node: Rc<Node>,
    /// The place in the value that belongs to `start`.
    offset: usize,
    /// Whether all of the piece stands for that one place.
    replaced: bool,
}

impl Text {
    /// The text that `node` of a file holds; `None` if it holds no text.
    pub(super) fn new(file: usize, node: &Node) -> Option<Self> {
        Some(Self {
            text: node.as_str()?.to_owned(),
            pieces: vec![Piece {
                start: 0,
                file,
                node: Rc::new(node.clone()),
                offset: 0,
                replaced: false,
            }],
        })
    }

    /// The text that a scalar of a file is.
    pub(super) fn of_scalar(file: usize, node: &Node) -> Self {
        Self::new(file, node).unwrap_or_else(|| {
            let text = node.as_text().unwrap_or_default();
            Self::generated(file, node, &text)
        })
    }

    /// A text all of which stands for one place in a file.
    pub(super) fn generated(file: usize, node: &Node, text: &str) -> Self {
        Self {
            text: text.to_owned(),
            pieces: vec![Piece {
                start: 0,
                file,
                node: Rc::new(node.clone()),
                offset: 0,
                replaced: true,
            }],
        }
    }

    /// Another text that stands for the place of this one's begin.
    pub(super) fn in_place(&self, text: &str) -> Self {
        let first = self.pieces.first().cloned();
        Self {
            text: text.to_owned(),
            pieces: first
                .map(|piece| Piece {
                    start: 0,
                    replaced: true,
                    ..piece
                })
                .into_iter()
                .collect(),
        }
    }

    /// The text.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Adds a blank and another text.
    pub(super) fn append(&mut self, other: Self) {
        self.text.push(' ');
        let start = self.text.len();
        self.text.push_str(&other.text);
        self.pieces
            .extend(other.pieces.into_iter().map(|piece| Piece {
                start: piece.start + start,
                ..piece
            }));
    }

    /// The text with other texts in the place of some parts, which are in order and apart.
    pub(super) fn replaced(&self, edits: &[Edit]) -> Self {
        let mut new = Self::default();
        let mut done = 0;
        for edit in edits {
            self.copy(done..edit.part.start, &mut new);
            if let Some(piece) = self.piece(edit.anchor) {
                new.pieces.push(Piece {
                    start: new.text.len(),
                    offset: piece.offset_of(edit.anchor),
                    replaced: true,
                    ..piece.clone()
                });
            }
            new.text.push_str(&edit.with);
            done = edit.part.end;
        }
        self.copy(done..self.text.len(), &mut new);
        new
    }

    /// Adds a part of this text to another, with its places.
    fn copy(&self, part: Range<usize>, to: &mut Self) {
        let start = |at: usize| at - part.start + to.text.len();
        if let Some(piece) = self.piece(part.start) {
            to.pieces.push(Piece {
                start: start(part.start),
                offset: piece.offset_of(part.start),
                ..piece.clone()
            });
        }
        let first = self.pieces.partition_point(|p| p.start <= part.start);
        let inside = self.pieces[first..].iter();
        to.pieces.extend(
            inside
                .take_while(|piece| piece.start < part.end)
                .map(|piece| Piece {
                    start: start(piece.start),
                    ..piece.clone()
                }),
        );
        to.text.push_str(&self.text[part]);
    }

    /// The piece that a byte of the text is in.
    fn piece(&self, at: usize) -> Option<&Piece> {
        let after = self.pieces.partition_point(|piece| piece.start <= at);
        self.pieces.get(after.checked_sub(1)?)
    }

    /// The file and the place in it of a byte of the text.
    fn place(&self, offset: usize, files: &[File<'_>]) -> Option<(Arc<str>, Position)> {
        let piece = self.piece(offset)?;
        let file = files.get(piece.file)?;
        let position = piece.node.position_at(file.text, piece.offset_of(offset));
        Some((Arc::clone(&file.name), position))
    }
}

impl Piece {
    /// The offset in the value of a byte of the text.
    fn offset_of(&self, at: usize) -> usize {
        if self.replaced {
            self.offset
        } else {
            self.offset + (at - self.start)
        }
    }
}

/// All texts, by number, with the files that they come from.
#[derive(Debug)]
pub(super) struct Texts<'a> {
    /// The files.
    pub(super) files: Vec<File<'a>>,
    texts: Vec<Text>,
}

impl<'a> Texts<'a> {
    /// Of these files, with no texts yet.
    pub(super) fn new(files: Vec<File<'a>>) -> Self {
        Self {
            files,
            texts: Vec::new(),
        }
    }

    /// The number that the next text will get.
    pub(super) fn next_number(&self) -> u32 {
        u32::try_from(self.texts.len()).unwrap_or(u32::MAX)
    }

    /// Adds a text.
    pub(super) fn push(&mut self, text: Text) {
        self.texts.push(text);
    }

    /// A problem as an error in its file.
    pub(super) fn error(&self, problem: &Problem) -> Diagnostic {
        self.diagnostic(problem, Severity::Error)
    }

    /// The problem as one that a file may have.
    pub(super) fn warning(&self, problem: &Problem) -> Diagnostic {
        self.diagnostic(problem, Severity::Warning)
    }

    fn diagnostic(&self, problem: &Problem, severity: Severity) -> Diagnostic {
        let place = self
            .texts
            .get(problem.at.text as usize)
            .and_then(|text| text.place(problem.at.offset as usize, &self.files));
        let (file, position) = match place {
            Some((file, position)) => (file, Some(position)),
            None => (Arc::from("rules"), None),
        };
        let mut diagnostic = Diagnostic::error(&file, position, problem.message.clone());
        diagnostic.severity = severity;
        diagnostic.help.clone_from(&problem.help);
        diagnostic
    }
}

/// What is wrong with a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Where.
    pub(super) at: At,
    /// What, in one sentence without a full stop.
    pub(super) message: String,
    /// What to do about it, if that is not obvious.
    pub(super) help: Option<String>,
    /// Whether it names a field that does not exist, for `skip-if-unknown-filter`.
    pub(super) unknown_field: bool,
}

impl Problem {
    /// A problem at a place.
    pub(super) fn new(at: At, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
            help: None,
            unknown_field: false,
        }
    }

    /// The same problem with advice.
    pub(super) fn with_help(mut self, help: impl Into<Option<String>>) -> Self {
        self.help = help.into();
        self
    }
}
