//! The values in an item, each of the type that it must have.

use std::sync::Arc;

use super::{Place, Reader};
use crate::diagnostic::Diagnostic;
use crate::yaml::Node;

impl Reader<'_> {
    pub(super) fn error(&mut self, node: &Node, message: impl Into<String>) {
        let name = Arc::clone(&self.file.name);
        let diagnostic = Diagnostic::error(&name, node.position, message);
        self.diagnostics.push(diagnostic);
    }

    pub(super) fn warn(&mut self, node: &Node, message: impl Into<String>, help: Option<String>) {
        let name = Arc::clone(&self.file.name);
        let mut diagnostic = Diagnostic::warning(&name, node.position, message);
        diagnostic.help = help;
        self.diagnostics.push(diagnostic);
    }

    pub(super) fn place(&self, node: &Node) -> Place {
        (self.number, node.position)
    }

    /// The text of a value that must be there, and not be empty.
    pub(super) fn required_text(&mut self, item: &Node, key: &str) -> Option<String> {
        let Some(node) = item.get(key) else {
            self.error(item, format!("\"{key}\" is missing"));
            return None;
        };
        self.text(node, key)
    }

    pub(super) fn text(&mut self, node: &Node, key: &str) -> Option<String> {
        match node.as_text() {
            Some(text) if !text.trim().is_empty() => Some(text.into_owned()),
            Some(_) => {
                self.error(node, format!("\"{key}\" is empty"));
                None
            }
            None => {
                self.error(
                    node,
                    format!("\"{key}\" must be text; this is {}", node.kind()),
                );
                None
            }
        }
    }

    pub(super) fn flag(&mut self, item: &Node, key: &str, default: bool) -> Option<bool> {
        let Some(node) = item.get(key) else {
            return Some(default);
        };
        let flag = node.as_bool();
        if flag.is_none() {
            let kind = node.kind();
            self.error(node, format!("\"{key}\" is true or false; this is {kind}"));
        }
        flag
    }

    pub(super) fn scalars(
        &mut self,
        item: &Node,
        key: &str,
        required: bool,
    ) -> Option<Vec<String>> {
        let Some(node) = item.get(key) else {
            if required {
                self.error(item, format!("\"{key}\" is missing"));
                return None;
            }
            return Some(Vec::new());
        };
        let Some(values) = node.as_sequence() else {
            self.error(
                node,
                format!("\"{key}\" must be a list; this is {}", node.kind()),
            );
            return None;
        };
        let mut texts = Vec::new();
        let mut complete = true;
        for value in values {
            match self.scalar(value) {
                Some(text) => texts.push(text),
                None => {
                    let kind = value.kind();
                    self.error(
                        value,
                        format!("an item of \"{key}\" is text; this is {kind}"),
                    );
                    complete = false;
                }
            }
        }
        complete.then_some(texts)
    }

    /// A scalar as it is written: `1.10` is not 1.1.
    pub(super) fn scalar(&self, node: &Node) -> Option<String> {
        let text = node.as_text()?;
        if node.as_str().is_some() {
            return Some(text.into_owned());
        }
        let line = self
            .file
            .text
            .lines()
            .nth(node.position.line.checked_sub(1)?);
        let written: String = line
            .unwrap_or_default()
            .chars()
            .skip(node.position.column.checked_sub(1)?)
            .take_while(|c| !c.is_whitespace() && !",]}".contains(*c))
            .collect();
        // An alias stands where the value is used, not where it is written.
        let same = match (written.parse::<f64>(), text.parse::<f64>()) {
            (Ok(written), Ok(value)) => written.total_cmp(&value).is_eq(),
            _ => false,
        };
        Some(if same { written } else { text.into_owned() })
    }
}
