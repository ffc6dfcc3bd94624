//! What an item changes of an earlier one of its name: `override`, `append` and `enabled`.

use super::exceptions::Exception;
use super::{Place, Reader};
use crate::rules::engine::Priority;
use crate::rules::text::Text;
use crate::yaml::Node;

/// What becomes of an earlier item of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rules) enum How {
    /// It is replaced, if there is one.
    Define,
    /// This is added to it.
    Append,
    /// This takes the place of a part of it.
    Replace,
}

/// A change of a rule.
#[derive(Clone, Debug)]
pub(in crate::rules) struct Change {
    pub(in crate::rules) place: Place,
    pub(in crate::rules) append: bool,
    pub(in crate::rules) part: Part,
}

/// What is changed, with the new value.
#[derive(Clone, Debug)]
pub(in crate::rules) enum Part {
    Condition(Text),
    Output(Text),
    Description(String),
    Tags(Vec<String>),
    Exceptions(Vec<Exception>),
    Priority(Priority),
    Enabled(bool),
    WarnEventTypes(bool),
    SkipIfUnknownFilter(bool),
    /// Known, and without effect here.
    Nothing,
}

/// What `override` can add to.
const APPENDABLE: &[&str] = &["condition", "output", "desc", "tags", "exceptions"];
/// What it can replace.
const REPLACEABLE: &[&str] = &[
    "condition",
    "output",
    "desc",
    "priority",
    "tags",
    "exceptions",
    "enabled",
    "warn_evttypes",
    "skip-if-unknown-filter",
    "capture",
    "capture_duration",
];

impl Reader<'_> {
    /// What a list or a macro does to an earlier one; its only part is `key`.
    pub(super) fn how(&mut self, item: &Node, key: &str) -> Option<How> {
        let append = self.append(item)?;
        let Some(node) = item.get("override") else {
            return Some(if append { How::Append } else { How::Define });
        };
        let changes = self.overrides(item, node, &[key], &[key], append)?;
        match changes.first() {
            Some((_, true)) => Some(How::Append),
            Some((_, false)) => Some(How::Replace),
            None => Some(How::Define),
        }
    }

    /// The entries of `override`: which key, and whether it is added.
    fn overrides(
        &mut self,
        item: &Node,
        node: &Node,
        appendable: &[&str],
        replaceable: &[&str],
        append: bool,
    ) -> Option<Vec<(String, bool)>> {
        if append {
            self.error(node, "\"override\" and \"append: true\" exclude each other");
            return None;
        }
        let Some(entries) = node.as_mapping() else {
            let kind = node.kind();
            self.error(
                node,
                format!("\"override\" says for each key \"append\" or \"replace\"; this is {kind}"),
            );
            return None;
        };
        let mut changes = Vec::new();
        let mut is_right = true;
        for (key, how) in entries {
            let name = key.as_text().unwrap_or_default().into_owned();
            let (append, known) = match how.as_text().unwrap_or_default().as_ref() {
                "append" => (true, appendable),
                "replace" => (false, replaceable),
                other => {
                    let message =
                        format!("\"override\" knows \"append\" and \"replace\", not \"{other}\"");
                    self.error(how, message);
                    is_right = false;
                    continue;
                }
            };
            let word = if append { "append" } else { "replace" };
            if !known.contains(&name.as_str()) {
                let known = known.join(" ");
                self.error(key, format!("cannot {word} \"{name}\", only: {known}"));
                is_right = false;
            } else if item.get(&name).is_none() {
                self.error(key, format!("\"{name}\" is to {word}, but it is not here"));
                is_right = false;
            } else {
                changes.push((name, append));
            }
        }
        for (key, _) in item.as_mapping().unwrap_or_default() {
            let name = key.as_text().unwrap_or_default();
            let is_part = replaceable.contains(&&*name);
            if is_part
                && !entries
                    .iter()
                    .any(|(k, _)| k.as_text().as_deref() == Some(&*name))
            {
                let message = format!("\"{name}\" is here, but \"override\" does not name it");
                self.error(key, message);
                is_right = false;
            }
        }
        is_right.then_some(changes)
    }

    /// What a rule's item changes of an earlier rule; `None` if something is wrong, and an empty
    /// list if the item is a rule itself.
    pub(super) fn changes(&mut self, item: &Node) -> Option<Vec<Change>> {
        let append = self.append(item)?;
        if let Some(node) = item.get("override") {
            let entries = self.overrides(item, node, APPENDABLE, REPLACEABLE, append)?;
            if entries.is_empty() {
                self.error(node, "\"override\" is empty");
                return None;
            }
            let changes = entries
                .into_iter()
                .map(|(key, append)| self.change(item, &key, append));
            return changes.collect();
        }
        let keys = item.as_mapping().map_or(0, <[_]>::len);
        if append {
            let parts = ["condition", "exceptions"];
            let given: Vec<&str> = parts
                .into_iter()
                .filter(|key| item.get(key).is_some())
                .collect();
            if given.is_empty() {
                self.error(
                    item,
                    "what is appended has a \"condition\" or \"exceptions\"",
                );
                return None;
            }
            let changes = given.into_iter().map(|key| self.change(item, key, true));
            return changes.collect();
        }
        if keys == 2 && item.get("enabled").is_some() {
            return Some(vec![self.change(item, "enabled", false)?]);
        }
        Some(Vec::new())
    }

    fn change(&mut self, item: &Node, key: &str, append: bool) -> Option<Change> {
        let node = item.get(key)?;
        let part = match key {
            "condition" => Part::Condition(self.condition(item)?),
            "output" => Part::Output(self.output(item)?),
            "desc" => Part::Description(self.required_text(item, "desc")?),
            "tags" => Part::Tags(self.scalars(item, "tags", true)?),
            "exceptions" => Part::Exceptions(self.exceptions(item)?),
            "priority" => Part::Priority(self.priority(item)?),
            "enabled" => Part::Enabled(self.flag(item, key, true)?),
            "warn_evttypes" => Part::WarnEventTypes(self.flag(item, key, true)?),
            "skip-if-unknown-filter" => Part::SkipIfUnknownFilter(self.flag(item, key, false)?),
            _ => Part::Nothing,
        };
        Some(Change {
            place: self.place(node),
            append,
            part,
        })
    }
}
