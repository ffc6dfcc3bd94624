//! Exceptions of a rule: cases in which it does not fire, as data.

use super::{Place, Reader};
use crate::rules::text::Text;
use crate::yaml::Node;

/// Exceptions of a rule, under one name.
#[derive(Clone, Debug)]
pub(in crate::rules) struct Exception {
    pub(in crate::rules) name: String,
    pub(in crate::rules) place: Place,
    /// What is compared; `None` where values are added to an earlier one.
    pub(in crate::rules) fields: Option<Fields>,
    /// Each with what the author wrote there, for messages.
    pub(in crate::rules) values: Vec<(Text, Values)>,
}

/// What an exception compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rules) enum Fields {
    /// One field with a list: `proc.name in (...)`.
    One { field: String, operator: String },
    /// Several fields, each with a value of its own.
    Many(Vec<(String, String)>),
}

/// A value, or values in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::rules) enum Values {
    One(String),
    Many(Vec<Values>),
}

const KEYS: &[&str] = &["name", "fields", "comps", "values"];
/// What can compare one field with a list.
const LIST_OPERATORS: [&str; 3] = ["in", "pmatch", "intersects"];

impl Reader<'_> {
    /// The exceptions of an item; `None` if something is wrong with them.
    pub(super) fn exceptions(&mut self, item: &Node) -> Option<Vec<Exception>> {
        let Some(node) = item.get("exceptions") else {
            return Some(Vec::new());
        };
        let Some(all) = node.as_sequence() else {
            let kind = node.kind();
            self.error(node, format!("\"exceptions\" is a list; this is {kind}"));
            return None;
        };
        let read: Vec<_> = all.iter().map(|node| self.exception(node)).collect();
        let read: Vec<Exception> = read.into_iter().collect::<Option<_>>()?;
        for (index, exception) in read.iter().enumerate() {
            if read[..index].iter().any(|e| e.name == exception.name)
                && let Some(node) = all.get(index)
            {
                let message = format!("there are several exceptions \"{}\"", exception.name);
                self.warn(node, message, None);
            }
        }
        Some(read)
    }

    fn exception(&mut self, node: &Node) -> Option<Exception> {
        if node.as_mapping().is_none() {
            let kind = node.kind();
            self.error(
                node,
                format!("an exception has a name, fields and values; this is {kind}"),
            );
            return None;
        }
        self.keys(node, KEYS);
        let name = self.required_text(node, "name")?;
        let fields = match (node.get("fields"), node.get("comps")) {
            (None, None) => None,
            (None, Some(comps)) => {
                self.error(comps, "\"comps\" is of no use without \"fields\"");
                return None;
            }
            (Some(fields), comps) => Some(self.exception_fields(fields, comps)?),
        };
        let mut values = Vec::new();
        if let Some(node) = node.get("values") {
            let Some(all) = node.as_sequence() else {
                let kind = node.kind();
                self.error(node, format!("\"values\" is a list; this is {kind}"));
                return None;
            };
            for value in all {
                let read = self.exception_value(value, 0)?;
                values.push((Text::generated(self.number, value, ""), read));
            }
        }
        Some(Exception {
            name,
            place: self.place(node),
            fields,
            values,
        })
    }

    fn exception_fields(&mut self, fields: &Node, comps: Option<&Node>) -> Option<Fields> {
        let lengths = "\"fields\" and \"comps\" have one length: each field has its operator";
        if fields.as_sequence().is_none() {
            let field = self.text(fields, "fields")?;
            let operator = match comps {
                None => "in".to_owned(),
                Some(comps) if comps.as_sequence().is_some() => {
                    self.error(comps, lengths);
                    return None;
                }
                Some(comps) => self.text(comps, "comps")?,
            };
            if !LIST_OPERATORS.contains(&operator.as_str())
                && let Some(comps) = comps
            {
                let known = LIST_OPERATORS.join(" ");
                let message = format!(
                    "one field is compared with a list, by one of: {known}; not {operator}"
                );
                self.error(comps, message);
                return None;
            }
            return Some(Fields::One { field, operator });
        }
        let fields_read = self.texts_of(fields, "fields")?;
        let operators = match comps {
            None => vec!["=".to_owned(); fields_read.len()],
            Some(comps) if comps.as_sequence().is_none() => {
                self.error(comps, lengths);
                return None;
            }
            Some(comps) => self.texts_of(comps, "comps")?,
        };
        if fields_read.len() != operators.len() || fields_read.is_empty() {
            self.error(comps.unwrap_or(fields), lengths);
            return None;
        }
        Some(Fields::Many(
            fields_read.into_iter().zip(operators).collect(),
        ))
    }

    fn texts_of(&mut self, node: &Node, key: &str) -> Option<Vec<String>> {
        let items = node.as_sequence().unwrap_or_default();
        items.iter().map(|item| self.text(item, key)).collect()
    }

    fn exception_value(&mut self, node: &Node, depth: usize) -> Option<Values> {
        match node.as_sequence() {
            Some(items) if depth < 2 => {
                let items = items
                    .iter()
                    .map(|item| self.exception_value(item, depth + 1));
                Some(Values::Many(items.collect::<Option<_>>()?))
            }
            _ => match self.scalar(node) {
                Some(text) => Some(Values::One(text)),
                None => {
                    let kind = node.kind();
                    self.error(
                        node,
                        format!("a value of an exception is text; this is {kind}"),
                    );
                    None
                }
            },
        }
    }
}
