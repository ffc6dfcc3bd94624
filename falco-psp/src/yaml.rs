//! YAML with positions: the one place that knows the YAML library.
//!
//! `serde_yaml` says what a file holds, `saphyr-parser` where it stands. The two are laid over
//! one another; where they ever disagreed about the shape of a file, a value would get the
//! position of what it is in, but never another value.

pub mod edit;
mod places;
mod scalar;
mod values;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Position};
use places::Place;
use values::Raw;

/// A value of a YAML document, with its place in the file.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where the value begins.
    pub position: Position,
    /// The value.
    pub value: Value,
}

/// What a YAML node holds. Tags are dropped, aliases resolved.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    String(String),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys with values, in the order of the file. A key is any node; a key twice is an error.
    Mapping(Vec<(Node, Node)>),
}

/// Where a text begins.
const START: Position = Position { line: 1, column: 1 };

/// Reads all documents of `text`; an empty text has none.
///
/// # Errors
/// What is not YAML, with its place.
pub fn parse(file: &Arc<str>, text: &str) -> Result<Vec<Node>, Diagnostic> {
    let documents = values::read(text).map_err(|error| {
        let position = error
            .position
            .map(|position| within(text, position))
            .unwrap_or(START);
        Diagnostic::error(file, position, error.message)
    })?;
    let places = places::read(text);
    if places.is_empty() && matches!(documents.as_slice(), [Raw::Null]) {
        return Ok(Vec::new()); // blanks and comments
    }
    let mut nodes = Vec::with_capacity(documents.len());
    for (index, document) in documents.into_iter().enumerate() {
        let node = attach(document, places.get(index), START);
        refuse_duplicate_keys(file, &node)?;
        nodes.push(node);
    }
    Ok(nodes)
}

/// The position, moved back to the end of the last line if it is behind the end of the text,
/// where nobody finds it.
fn within(text: &str, position: Position) -> Position {
    let lines = text.lines().count().max(1);
    if position.line <= lines {
        return position;
    }
    let last = text.lines().last().unwrap_or_default();
    Position {
        line: lines,
        column: last.chars().count() + 1,
    }
}

/// Lays the places over the values.
fn attach(raw: Raw, place: Option<&Place>, parent: Position) -> Node {
    let position = place.map_or(parent, |place| place.position);
    let value = match raw {
        Raw::Null => Value::Null,
        Raw::Bool(value) => Value::Bool(value),
        Raw::Int(value) => Value::Int(value),
        Raw::Float(value) => Value::Float(value),
        Raw::String(value) => Value::String(value),
        Raw::Sequence(items) => {
            let places = place.and_then(|place| place.items(items.len()));
            let node = |(index, item)| attach(item, places.and_then(|p| p.get(index)), position);
            Value::Sequence(items.into_iter().enumerate().map(node).collect())
        }
        Raw::Mapping(entries) => {
            let places = place.and_then(|place| place.entries(entries.len()));
            let node = |(index, (key, value))| {
                let (key_place, value_place) = places
                    .and_then(|places| places.get(index))
                    .map(|(key, value)| (key, value))
                    .unzip();
                let key = attach(key, key_place, position);
                // A missing value has no place of its own that helps: it is at its key.
                let value_place = value_place.filter(|place: &&Place| {
                    !place.is_nothing() || place.position.line == key.position.line
                });
                let value = attach(value, value_place, key.position);
                (key, value)
            };
            Value::Mapping(entries.into_iter().enumerate().map(node).collect())
        }
    };
    Node { position, value }
}

fn refuse_duplicate_keys(file: &Arc<str>, node: &Node) -> Result<(), Diagnostic> {
    match &node.value {
        Value::Sequence(items) => items
            .iter()
            .try_for_each(|item| refuse_duplicate_keys(file, item)),
        Value::Mapping(entries) => {
            let mut seen = HashMap::with_capacity(entries.len());
            for (key, value) in entries {
                if let Some(first) = seen.insert(key.value.identity(), key.position) {
                    let name = key.as_text().unwrap_or(Cow::Borrowed(key.kind()));
                    return Err(Diagnostic::error(
                        file,
                        key.position,
                        format!("key \"{name}\" is here twice; the first one is at {first}"),
                    ));
                }
                refuse_duplicate_keys(file, key)?;
                refuse_duplicate_keys(file, value)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

impl Value {
    /// A text that is the same for equal values, and only for these.
    fn identity(&self) -> String {
        match self {
            Self::String(text) => format!("{text:?}"),
            Self::Sequence(items) => {
                let items: Vec<_> = items.iter().map(|item| item.value.identity()).collect();
                format!("[{}]", items.join(","))
            }
            Self::Mapping(entries) => {
                let mut entries: Vec<_> = entries
                    .iter()
                    .map(|(key, value)| (key.value.identity(), value.value.identity()))
                    .collect();
                entries.sort_unstable();
                format!("{entries:?}")
            }
            scalar => format!("{scalar:?}"),
        }
    }
}

impl Node {
    /// The text, if it is text.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self.value {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The whole number, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self.value {
            Value::Int(value) => Some(value),
            _ => None,
        }
    }

    /// Text, and numbers and truth values as text: `80` is "80". `None` for the others.
    pub fn as_text(&self) -> Option<Cow<'_, str>> {
        match &self.value {
            Value::String(text) => Some(Cow::Borrowed(text)),
            Value::Bool(value) => Some(Cow::Owned(value.to_string())),
            Value::Int(value) => Some(Cow::Owned(value.to_string())),
            Value::Float(value) => Some(Cow::Owned(value.to_string())),
            Value::Null | Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }

    /// The items, if it is a list.
    pub fn as_sequence(&self) -> Option<&[Self]> {
        match &self.value {
            Value::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// The keys with their values, if it is a mapping.
    pub fn as_mapping(&self) -> Option<&[(Self, Self)]> {
        match &self.value {
            Value::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of `key`, if it is a mapping that has the key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_mapping()?
            .iter()
            .find(|(name, _)| name.as_str() == Some(key))
            .map(|(_, value)| value)
    }

    /// Whether it is nothing, `~` or `null`.
    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// What it is, in the words of a message: "a list".
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a number",
            Value::String(_) => "a string",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }

    /// Where in the file byte `offset` of this text value stands; `text` is the whole file. For
    /// plain, quoted, literal (`|`) and folded (`>`) scalars.
    ///
    /// For anything else, an alias among them, it is where the value begins.
    pub fn position_at(&self, text: &str, offset: usize) -> Position {
        self.as_str()
            .and_then(|value| scalar::position_at(text, self.position, value, offset))
            .unwrap_or(self.position)
    }
}

#[cfg(test)]
mod tests;
