//! The items of a rules file: lists, macros, rules.
//!
//! As Falco's `userspace/engine/rule_loader_reader.cpp`.

mod changes;
mod exceptions;
mod requirements;
mod values;

pub(super) use changes::{Change, How, Part};
pub(super) use exceptions::{Exception, Fields, Values};

use std::collections::BTreeSet;
use std::sync::Arc;

use super::engine::Priority;
use super::text::{File, Text};
use crate::diagnostic::{Diagnostic, Position, nearest};
use crate::yaml::Node;

/// A place: the number of the file, and where in it.
pub(super) type Place = (usize, Position);

/// An item of a rules file.
#[derive(Debug)]
pub(super) enum Item {
    /// A list.
    List(Box<ListItem>),
    /// A macro.
    Macro(Box<MacroItem>),
    /// A rule, whole.
    Rule(Box<RuleItem>),
    /// What is changed of an earlier rule.
    ChangeRule {
        name: String,
        place: Place,
        changes: Vec<Change>,
    },
}

/// A list.
#[derive(Debug)]
pub(super) struct ListItem {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) items: Vec<String>,
    pub(super) how: How,
}

/// A macro.
#[derive(Debug)]
pub(super) struct MacroItem {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) condition: Text,
    pub(super) how: How,
}

/// A rule.
#[derive(Debug)]
pub(super) struct RuleItem {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) condition: Text,
    pub(super) output: Text,
    pub(super) exceptions: Vec<Exception>,
    pub(super) description: String,
    pub(super) priority: Priority,
    pub(super) source: String,
    pub(super) source_place: Place,
    pub(super) enabled: bool,
    pub(super) tags: BTreeSet<String>,
    pub(super) warn_event_types: bool,
    pub(super) skip_if_unknown_filter: bool,
}

const LIST_KEYS: &[&str] = &["list", "items", "append", "override"];
const MACRO_KEYS: &[&str] = &["macro", "condition", "append", "override"];
const RULE_KEYS: &[&str] = &[
    "rule",
    "condition",
    "output",
    "desc",
    "priority",
    "source",
    "enabled",
    "tags",
    "warn_evttypes",
    "skip-if-unknown-filter",
    "capture",
    "capture_duration",
    "exceptions",
    "append",
    "override",
];
/// Keys that Falco knows and that mean nothing here: nothing is recorded.
const WITHOUT_EFFECT: &[&str] = &["capture", "capture_duration"];

/// Reads the items of a document.
pub(super) fn read(
    number: usize,
    file: &File<'_>,
    document: &Node,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Item> {
    let mut reader = Reader {
        number,
        file,
        diagnostics,
    };
    if document.is_null() {
        return Vec::new();
    }
    let Some(items) = document.as_sequence() else {
        let message = format!(
            "a rules file is a list of rules, macros and lists; this is {}",
            document.kind()
        );
        reader.error(document, message);
        return Vec::new();
    };
    items.iter().filter_map(|item| reader.item(item)).collect()
}

struct Reader<'a> {
    number: usize,
    file: &'a File<'a>,
    diagnostics: &'a mut Vec<Diagnostic>,
}

impl Reader<'_> {
    fn item(&mut self, item: &Node) -> Option<Item> {
        if item.is_null() {
            return None;
        }
        if item.as_mapping().is_none() {
            let message = format!("an item is a mapping; this is {}", item.kind());
            self.error(item, message);
            return None;
        }
        // In the order in which Falco looks for them.
        if let Some(version) = item.get("required_engine_version") {
            self.engine_version(version);
            None
        } else if let Some(plugins) = item.get("required_plugin_versions") {
            self.plugin_versions(plugins);
            None
        } else if let Some(name) = item.get("list") {
            self.keys(item, LIST_KEYS);
            self.list(item, name)
        } else if let Some(name) = item.get("macro") {
            self.keys(item, MACRO_KEYS);
            self.macro_(item, name)
        } else if let Some(name) = item.get("rule") {
            self.keys(item, RULE_KEYS);
            self.rule(item, name)
        } else {
            let kinds = "rule, macro, list, required_engine_version or required_plugin_versions";
            self.warn(
                item,
                "unknown item, ignored",
                Some(format!("an item has one of the keys {kinds}")),
            );
            None
        }
    }

    /// Warns of keys that are not known or without effect.
    fn keys(&mut self, item: &Node, known: &[&str]) {
        for (key, _) in item.as_mapping().unwrap_or_default() {
            let name = key.as_text().unwrap_or_default();
            if WITHOUT_EFFECT.contains(&&*name) {
                self.warn(key, format!("\"{name}\" has no effect here"), None);
            } else if !known.contains(&&*name) {
                let near = nearest(&name, known.iter().copied());
                let help = near.map(|near| format!("did you mean \"{near}\"?"));
                self.warn(key, format!("unknown key \"{name}\", ignored"), help);
            }
        }
    }

    fn append(&mut self, item: &Node) -> Option<bool> {
        let append = self.flag(item, "append", false)?;
        if append && let Some(node) = item.get("append") {
            let help = "Falco will drop it in favour of \"override\"".to_owned();
            self.warn(node, "\"append\" is deprecated", Some(help));
        }
        Some(append)
    }

    fn condition(&mut self, item: &Node) -> Option<Text> {
        let Some(node) = item.get("condition") else {
            self.error(item, "\"condition\" is missing");
            return None;
        };
        let text = Text::new(self.number, node);
        if text.is_none() {
            let kind = node.kind();
            self.error(node, format!("\"condition\" must be text; this is {kind}"));
        }
        text
    }

    fn list(&mut self, item: &Node, name: &Node) -> Option<Item> {
        let place = self.place(name);
        let node = name;
        let name = self.text(name, "list")?;
        let forbidden = |c: char| c.is_whitespace() || "()\"'=,".contains(c);
        if name.contains(forbidden) {
            let message = format!("no condition can use a list of the name \"{name}\"");
            self.warn(node, message, None);
        }
        let items = self.scalars(item, "items", true);
        let how = self.how(item, "items");
        Some(Item::List(Box::new(ListItem {
            name,
            place,
            items: items?,
            how: how?,
        })))
    }

    fn macro_(&mut self, item: &Node, name: &Node) -> Option<Item> {
        let place = self.place(name);
        let node = name;
        let name = self.text(name, "macro")?;
        let starts = name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !starts || name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            let message = format!("no condition can use a macro of the name \"{name}\"");
            let help = "use letters, digits and _, with a letter first".to_owned();
            self.warn(node, message, Some(help));
        }
        let condition = self.condition(item);
        let how = self.how(item, "condition");
        Some(Item::Macro(Box::new(MacroItem {
            name,
            place,
            condition: condition?,
            how: how?,
        })))
    }

    fn output(&mut self, item: &Node) -> Option<Text> {
        self.required_text(item, "output")?;
        Some(Text::of_scalar(self.number, item.get("output")?))
    }

    fn rule(&mut self, item: &Node, name: &Node) -> Option<Item> {
        let place = self.place(name);
        let name = self.text(name, "rule")?;
        let changes = self.changes(item)?;
        if !changes.is_empty() {
            return Some(Item::ChangeRule {
                name,
                place,
                changes,
            });
        }
        let enabled = self.flag(item, "enabled", true);
        let condition = self.condition(item);
        let output = self.output(item);
        let exceptions = self.exceptions(item);
        let description = self.required_text(item, "desc");
        let priority = self.priority(item);
        let (source, source_place) = match item.get("source") {
            Some(node) => (self.text(node, "source"), self.place(node)),
            None => (Some("syscall".to_owned()), place),
        };
        let tags = self.scalars(item, "tags", false);
        let warn_event_types = self.flag(item, "warn_evttypes", true);
        let skip_if_unknown_filter = self.flag(item, "skip-if-unknown-filter", false);
        Some(Item::Rule(Box::new(RuleItem {
            name,
            place,
            condition: condition?,
            output: output?,
            exceptions: exceptions?,
            description: description?.trim().to_owned(),
            priority: priority?,
            source: source?,
            source_place,
            enabled: enabled?,
            tags: tags?.into_iter().collect(),
            warn_event_types: warn_event_types?,
            skip_if_unknown_filter: skip_if_unknown_filter?,
        })))
    }

    fn priority(&mut self, item: &Node) -> Option<Priority> {
        let text = self.required_text(item, "priority")?;
        let priority = Priority::parse(text.trim());
        if priority.is_none()
            && let Some(node) = item.get("priority")
        {
            let words = Priority::ALL.map(|priority| priority.word().to_lowercase());
            let name = Arc::clone(&self.file.name);
            let message = format!("unknown priority \"{text}\"");
            let help = format!("one of: {}", words.join(" "));
            let error = Diagnostic::error(&name, node.position, message).with_help(help);
            self.diagnostics.push(error);
        }
        priority
    }
}
