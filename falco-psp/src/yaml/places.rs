//! The places of a file's values, as `saphyr-parser` finds them.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use crate::diagnostic::Position;

/// Where a value stands.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) position: Position,
    shape: Shape,
    /// Whether the end of it was never seen.
    cut: bool,
}

#[derive(Debug)]
enum Shape {
    /// An absent value: `key:`.
    Nothing,
    /// A scalar, or an alias: all that it stands for is at this one place.
    Leaf,
    Sequence(Vec<Place>),
    Mapping(Vec<(Place, Place)>),
}

impl Place {
    /// The places of a list's items, if this is a list of `len` items; the first ones if it is
    /// cut.
    pub(super) fn items(&self, len: usize) -> Option<&[Self]> {
        match &self.shape {
            Shape::Sequence(items) if self.fits(items.len(), len) => Some(items),
            _ => None,
        }
    }

    /// The places of a mapping's entries, if this is a mapping of `len` entries; the first ones
    /// if it is cut.
    pub(super) fn entries(&self, len: usize) -> Option<&[(Self, Self)]> {
        match &self.shape {
            Shape::Mapping(entries) if self.fits(entries.len(), len) => Some(entries),
            _ => None,
        }
    }

    fn fits(&self, here: usize, len: usize) -> bool {
        here == len || (self.cut && here < len)
    }

    /// Whether nothing is written here.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self.shape, Shape::Nothing)
    }
}

/// A list or mapping whose end has not come yet.
struct Open {
    position: Position,
    mapping: bool,
    children: Vec<Place>,
}

impl Open {
    fn close(self, cut: bool) -> Place {
        let shape = if self.mapping {
            let mut children = self.children.into_iter();
            let pair = || Some((children.next()?, children.next()?));
            Shape::Mapping(std::iter::from_fn(pair).collect())
        } else {
            Shape::Sequence(self.children)
        };
        Place {
            position: self.position,
            shape,
            cut,
        }
    }
}

/// The places of the documents of `text`, as far as it parses: `serde_yaml` is laxer in a few
/// corners.
pub(super) fn read(text: &str) -> Vec<Place> {
    let lines: Vec<&str> = text.lines().collect();
    let mut documents = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut parser = Parser::new_from_str(text);
    while let Some(next) = parser.next_event() {
        let Ok((event, span)) = next else {
            break;
        };
        let finished = match event {
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                open.push(Open {
                    position: start(span),
                    mapping: matches!(event, Event::MappingStart(..)),
                    children: Vec::new(),
                });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(collection) => collection.close(false),
                None => break,
            },
            Event::Scalar(value, style, ..) => Place {
                position: match style {
                    ScalarStyle::Literal | ScalarStyle::Folded => header(&lines, start(span)),
                    _ => start(span),
                },
                shape: if value.is_empty() && style == ScalarStyle::Plain {
                    Shape::Nothing
                } else {
                    Shape::Leaf
                },
                cut: false,
            },
            Event::Alias(_) => Place {
                position: start(span),
                shape: Shape::Leaf,
                cut: false,
            },
            Event::StreamEnd => break,
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {
                continue;
            }
        };
        match open.last_mut() {
            Some(parent) => parent.children.push(finished),
            None => documents.push(finished),
        }
    }
    while let Some(collection) = open.pop() {
        let collection = collection.close(true);
        match open.last_mut() {
            Some(parent) => parent.children.push(collection),
            None => documents.push(collection),
        }
    }
    documents
}

fn start(span: Span) -> Position {
    Position {
        line: span.start.line(),
        column: span.start.col() + 1,
    }
}

/// Where the `|` or `>` of a block scalar stands. The library gives the first line of its text.
fn header(lines: &[&str], content: Position) -> Position {
    let above = (1..=content.line.min(lines.len())).rev();
    let header = above
        .skip_while(|&line| line == content.line && content.column > 1 || is_blank(lines, line))
        .find_map(|line| Some((line, indicator(lines.get(line - 1)?)?)));
    header.map_or(content, |(line, column)| Position { line, column })
}

fn is_blank(lines: &[&str], line: usize) -> bool {
    lines
        .get(line - 1)
        .is_none_or(|line| line.trim().is_empty())
}

/// The column of the `|` or `>` with which a line ends, but for what may follow it.
fn indicator(line: &str) -> Option<usize> {
    let mut before = ' ';
    for (column, (offset, c)) in (1..).zip(line.char_indices()) {
        if matches!(c, '|' | '>') && before.is_whitespace() {
            let rest = line[offset + 1..].trim_start_matches(|c: char| "+-0123456789".contains(c));
            if rest.trim().is_empty() || rest.trim_start().starts_with('#') && rest != rest.trim() {
                return Some(column);
            }
        }
        before = c;
    }
    None
}
