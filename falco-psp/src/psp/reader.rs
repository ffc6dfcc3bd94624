//! Reads the fields of a YAML document by their types, and gathers all that is wrong with them.

use std::borrow::Cow;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Position, nearest};
use crate::yaml::{Node, Value};

/// Gathers the findings about one file.
pub(super) struct Reader {
    pub(super) file: Arc<str>,
    pub(super) findings: Vec<Diagnostic>,
}

/// A field that is there, with its path: `spec.runAsUser.ranges[0]`.
#[derive(Clone)]
pub(super) struct Field<'a> {
    pub(super) path: String,
    pub(super) node: &'a Node,
}

/// A mapping.
pub(super) struct Object<'a> {
    path: String,
    pub(super) position: Position,
    entries: Vec<(&'a str, &'a Node)>,
}

impl<'a> Field<'a> {
    pub(super) fn position(&self) -> Position {
        self.node.position
    }
}

impl<'a> Object<'a> {
    /// The path of a field in it.
    pub(super) fn path(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// The field, if it is there. Kubernetes takes null for absent.
    pub(super) fn field(&self, name: &str) -> Option<Field<'a>> {
        let (_, node) = self.entries.iter().find(|(key, _)| *key == name)?;
        (!node.is_null()).then(|| Field {
            path: self.path(name),
            node,
        })
    }

    /// The fields that are there.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&'a str, Field<'a>)> {
        self.entries
            .iter()
            .filter_map(|(key, _)| Some((*key, self.field(key)?)))
    }
}

impl Reader {
    pub(super) fn new(file: &Arc<str>) -> Self {
        Self {
            file: Arc::clone(file),
            findings: Vec::new(),
        }
    }

    pub(super) fn error(&mut self, at: impl Into<Option<Position>>, message: impl Into<String>) {
        self.findings
            .push(Diagnostic::error(&self.file, at, message));
    }

    pub(super) fn warning(&mut self, at: impl Into<Option<Position>>, message: impl Into<String>) {
        self.findings
            .push(Diagnostic::warning(&self.file, at, message));
    }

    /// Adds advice to the last finding.
    pub(super) fn help(&mut self, help: impl Into<String>) {
        if let Some(last) = self.findings.last_mut() {
            last.help = Some(help.into());
        }
    }

    /// An error about a name that is none of the known ones, with the nearest of them.
    pub(super) fn unknown<'k>(
        &mut self,
        at: Position,
        message: String,
        name: &str,
        known: impl IntoIterator<Item = &'k str> + Clone,
    ) {
        self.error(at, message);
        let all: Vec<_> = known.clone().into_iter().collect();
        if let Some(meant) = nearest(name, known) {
            self.help(format!("did you mean \"{meant}\"?"));
        } else if all.len() <= 5 {
            self.help(format!("known are {}", all.join(", ")));
        }
    }

    /// Reads a mapping whose keys are all known.
    pub(super) fn object<'a>(&mut self, field: &Field<'a>, known: &[&str]) -> Option<Object<'a>> {
        let object = self.map(field)?;
        let place = if object.path.is_empty() {
            String::new()
        } else {
            format!(" in {}", object.path)
        };
        for (key, _) in field.node.as_mapping().unwrap_or_default() {
            if let Some(name) = key.as_str().filter(|name| !known.contains(name)) {
                let message = format!("unknown field \"{name}\"{place}");
                self.unknown(key.position, message, name, known.iter().copied());
            }
        }
        Some(object)
    }

    /// Reads a mapping with any keys.
    pub(super) fn map<'a>(&mut self, field: &Field<'a>) -> Option<Object<'a>> {
        let Value::Mapping(entries) = &field.node.value else {
            self.wrong_type(field, "a mapping");
            return None;
        };
        let mut named = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            match key.as_str() {
                Some(name) => named.push((name, value)),
                None => {
                    let name = key.as_text().unwrap_or(Cow::Borrowed("this"));
                    let kind = key.kind();
                    let message = format!("the key {name} must be a string, but is {kind}");
                    self.error(key.position, message);
                }
            }
        }
        Some(Object {
            path: field.path.clone(),
            position: field.node.position,
            entries: named,
        })
    }

    /// The items of a list; none if the field is absent.
    pub(super) fn list<'a>(&mut self, object: &Object<'a>, name: &str) -> Vec<Field<'a>> {
        let Some(field) = object.field(name) else {
            return Vec::new();
        };
        let Some(items) = field.node.as_sequence() else {
            self.wrong_type(&field, "a list");
            return Vec::new();
        };
        let path = |index| format!("{}[{index}]", field.path);
        let item = |(index, node)| Field {
            path: path(index),
            node,
        };
        items.iter().enumerate().map(item).collect()
    }

    /// The items of a list of strings; none if the field is absent.
    pub(super) fn strings<'a>(
        &mut self,
        object: &Object<'a>,
        name: &str,
    ) -> Vec<(Field<'a>, &'a str)> {
        let items = self.list(object, name).into_iter();
        items
            .filter_map(|item| self.string(&item).map(|text| (item, text)))
            .collect()
    }

    pub(super) fn string<'a>(&mut self, field: &Field<'a>) -> Option<&'a str> {
        let text = field.node.as_str();
        if text.is_none() {
            self.wrong_type(field, "a string");
        }
        text
    }

    /// The boolean; `None` if the field is absent or no boolean.
    pub(super) fn boolean(&mut self, object: &Object<'_>, name: &str) -> Option<bool> {
        let field = object.field(name)?;
        let value = field.node.as_bool();
        if value.is_none() {
            self.wrong_type(&field, "true or false");
        }
        value
    }

    /// The whole number; missing is an error.
    pub(super) fn integer(&mut self, object: &Object<'_>, name: &str) -> Option<i64> {
        let Some(field) = object.field(name) else {
            self.error(object.position, format!("{} is missing", object.path(name)));
            return None;
        };
        let value = field.node.as_int();
        if value.is_none() {
            self.wrong_type(&field, "an integer");
        }
        value
    }

    fn wrong_type(&mut self, field: &Field<'_>, wanted: &str) {
        let kind = field.node.kind();
        let path = if field.path.is_empty() {
            "the document"
        } else {
            &field.path
        };
        let message = match field.node.as_text() {
            Some(text) => format!("{path} must be {wanted}, but is {kind}: {text:?}"),
            None => format!("{path} must be {wanted}, but is {kind}"),
        };
        self.error(field.position(), message);
        match (wanted, &field.node.value) {
            ("a string", Value::Bool(_) | Value::Int(_) | Value::Float(_)) => {
                self.help("put it in quotes");
            }
            ("true or false", Value::String(text)) => match text.as_str() {
                "true" | "false" => self.help("remove the quotes"),
                "yes" | "Yes" | "YES" | "on" | "On" | "ON" => self.help("write true"),
                "no" | "No" | "NO" | "off" | "Off" | "OFF" => self.help("write false"),
                _ => {}
            },
            ("an integer", Value::String(text)) if text.parse::<i64>().is_ok() => {
                self.help("remove the quotes");
            }
            _ => {}
        }
    }
}
