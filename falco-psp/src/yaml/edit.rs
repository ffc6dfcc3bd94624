//! Changing a file's values and leaving all the rest of its text as it is, comments included.
//!
//! What an edit makes is read again and compared with the same edit of the plain values: a text that
//! this module does not understand is refused, and never changed into something else.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value, json};
use thiserror::Error;

/// One step on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The value of a key.
    Key(String),
    /// The item of a list, by its index.
    Item(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Item(index)
    }
}

/// A change of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// The value there is this one from now on.
    Set(Vec<Step>, Value),
    /// The list there has this item, too.
    Add(Vec<Step>, Value),
}

/// Why a text cannot be changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EditError {
    /// It is no YAML.
    #[error("it is no YAML")]
    NotYaml,
    /// It has no such document.
    #[error("there is no such document")]
    NoDocument,
    /// It is written in a way that this program does not change.
    #[error("it is written in a way that is left to people to change (line {0})")]
    Unusual(usize),
}

/// Makes the changes in the document with this index of `text`, in their order.
///
/// # Errors
/// See [`EditError`].
pub fn edit(text: &str, document: usize, edits: &[Edit]) -> Result<String, EditError> {
    edits.iter().try_fold(text.to_owned(), |text, edit| {
        let before = values(&text).ok_or(EditError::NotYaml)?;
        let root = nodes(&text)?
            .into_iter()
            .nth(document)
            .ok_or(EditError::NoDocument)?;
        let changed = Text::new(&text).apply(&root, edit)?;
        let mut expected = before;
        let value = expected.get_mut(document).ok_or(EditError::NoDocument)?;
        let unusual = EditError::Unusual(root.start.0);
        change(value, edit).ok_or(unusual.clone())?;
        match values(&changed).is_some_and(|changed| changed == expected) {
            true => Ok(changed),
            false => Err(unusual),
        }
    })
}

/// The values of all documents, empty ones included.
fn values(text: &str) -> Option<Vec<Value>> {
    use serde::Deserialize as _;
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).ok())
        .collect()
}

/// Makes the change in plain values. `None` if there is something else on the way.
fn change(root: &mut Value, edit: &Edit) -> Option<()> {
    let (path, value) = match edit {
        Edit::Set(path, value) | Edit::Add(path, value) => (path, value),
    };
    let mut at = root;
    for step in path {
        at = match step {
            Step::Key(key) => {
                if at.is_null() {
                    *at = Value::Object(Map::new());
                }
                at.as_object_mut()?
                    .entry(key.clone())
                    .or_insert(Value::Null)
            }
            Step::Item(index) => at.as_array_mut()?.get_mut(*index)?,
        };
    }
    match edit {
        Edit::Set(..) => *at = value.clone(),
        Edit::Add(..) => {
            if at.is_null() {
                *at = json!([]);
            }
            at.as_array_mut()?.push(value.clone());
        }
    }
    Some(())
}

/// Line, from 1, and column in characters, from 0.
type Mark = (usize, usize);

/// A value, and where it stands in the text.
#[derive(Debug)]
struct Node {
    start: Mark,
    /// Behind its last character; of a collection in block style behind its last value's.
    end: Mark,
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    Nothing,
    Scalar(String),
    /// A scalar over several lines, or something that stands for another value.
    Other,
    Sequence(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
}

/// The documents of a text.
fn nodes(text: &str) -> Result<Vec<Node>, EditError> {
    let mut documents = Vec::new();
    let mut open: Vec<(Mark, bool, Vec<Node>)> = Vec::new();
    for next in Parser::new_from_str(text) {
        let (event, span) = next.map_err(|_| EditError::NotYaml)?;
        let start = (span.start.line(), span.start.col());
        let end = (span.end.line(), span.end.col());
        let node = match event {
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                open.push((start, matches!(event, Event::MappingStart(..)), Vec::new()));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                // Where the bracket stands, in flow style; what comes after it may be a comment.
                let end = (start.0, start.1 + 1);
                let (start, is_mapping, children) = open.pop().ok_or(EditError::NotYaml)?;
                close(text, start, end, is_mapping, children)
            }
            Event::Scalar(value, style, ..) => Node {
                start,
                end,
                shape: match style {
                    ScalarStyle::Plain if value.is_empty() => Shape::Nothing,
                    ScalarStyle::Literal | ScalarStyle::Folded => Shape::Other,
                    _ if start.0 != end.0 => Shape::Other,
                    _ => Shape::Scalar(value.into_owned()),
                },
            },
            Event::Alias(_) => Node {
                start,
                end,
                shape: Shape::Other,
            },
            Event::DocumentEnd | Event::StreamEnd => continue,
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => continue,
        };
        match open.last_mut() {
            Some((_, _, children)) => children.push(node),
            None => documents.push(node),
        }
    }
    Ok(documents)
}

fn close(text: &str, start: Mark, end: Mark, is_mapping: bool, children: Vec<Node>) -> Node {
    let is_flow = Text::new(text).is_flow(start);
    let last = children.iter().rev().find(|child| child.start.0 > 0);
    let end = match last {
        Some(last) if !is_flow => last.end,
        _ => end,
    };
    let shape = match is_mapping {
        true => {
            let mut children = children.into_iter();
            let pair = || Some((children.next()?, children.next()?));
            Shape::Mapping(std::iter::from_fn(pair).collect())
        }
        false => Shape::Sequence(children),
    };
    Node { start, end, shape }
}

/// A text by its lines.
struct Text<'t> {
    lines: Vec<&'t str>,
}

impl<'t> Text<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            lines: text.split_inclusive('\n').collect(),
        }
    }

    fn line(&self, line: usize) -> &'t str {
        self.lines.get(line.wrapping_sub(1)).copied().unwrap_or("")
    }

    /// Where a mark is in its line, in bytes.
    fn byte(&self, (line, column): Mark) -> usize {
        let line = self.line(line);
        let at = line.char_indices().nth(column);
        at.map_or(line.trim_end_matches(['\n', '\r']).len(), |(at, _)| at)
    }

    fn is_flow(&self, at: Mark) -> bool {
        let rest = self.line(at.0).get(self.byte(at)..).unwrap_or("");
        rest.starts_with(['{', '['])
    }

    /// The text with `new` instead of what is between two marks of one line.
    fn replace(&self, from: Mark, to: Mark, new: &str) -> Result<String, EditError> {
        if from.0 != to.0 {
            return Err(EditError::Unusual(from.0));
        }
        let (line, from_byte, to_byte) = (self.line(from.0), self.byte(from), self.byte(to));
        let (Some(before), Some(after)) = (line.get(..from_byte), line.get(to_byte..)) else {
            return Err(EditError::Unusual(from.0));
        };
        Ok(self.with(from.0, &format!("{before}{new}{after}")))
    }

    /// The text with another line instead of one.
    fn with(&self, number: usize, new: &str) -> String {
        let lines = self.lines.iter().zip(1..);
        lines
            .map(|(line, n)| if n == number { new } else { line })
            .collect()
    }

    /// The text with a line more, behind the one with this number.
    fn insert(&self, number: usize, new: &str) -> String {
        let line = self.line(number);
        let ending = if line.ends_with("\r\n") { "\r\n" } else { "\n" };
        match line.ends_with('\n') {
            true => self.with(number, &format!("{line}{new}{ending}")),
            false => self.with(number, &format!("{line}{ending}{new}")),
        }
    }

    fn apply(&self, root: &Node, edit: &Edit) -> Result<String, EditError> {
        let (path, value) = match edit {
            Edit::Set(path, value) | Edit::Add(path, value) => (path, value),
        };
        let mut node = root;
        // The key by which the last node was reached.
        let mut key = None;
        for (index, step) in path.iter().enumerate() {
            let rest = path.get(index + 1..).unwrap_or_default();
            match (step, &node.shape) {
                (Step::Key(wanted), Shape::Mapping(entries)) => {
                    let is_wanted = |(key, _): &&(Node, Node)| matches!(&key.shape, Shape::Scalar(key) if key == wanted);
                    match entries.iter().find(is_wanted) {
                        Some((of, value)) => (node, key) = (value, Some(of)),
                        None => {
                            let value = wrap(rest, edit, value).ok_or(unusual(node))?;
                            return self.add_key(node, entries, wanted, &value);
                        }
                    }
                }
                (Step::Item(wanted), Shape::Sequence(items)) => {
                    node = items.get(*wanted).ok_or(unusual(node))?;
                    key = None;
                }
                (Step::Key(_), Shape::Nothing) => {
                    let rest = path.get(index..).unwrap_or_default();
                    let value = wrap(rest, edit, value).ok_or(unusual(node))?;
                    return self.fill(key, node, &value);
                }
                _ => return Err(unusual(node)),
            }
        }
        match (edit, &node.shape) {
            (Edit::Set(..), Shape::Scalar(_)) => self.replace(node.start, node.end, &flow(value)),
            (Edit::Set(..), Shape::Nothing) => self.fill(key, node, value),
            (Edit::Set(..), _) if self.is_flow(node.start) => {
                self.replace(node.start, node.end, &flow(value))
            }
            (Edit::Set(..), Shape::Sequence(_) | Shape::Mapping(_)) => {
                self.flatten(key, node, value)
            }
            (Edit::Add(..), Shape::Nothing) => self.fill(key, node, &json!([value])),
            (Edit::Add(..), Shape::Sequence(items)) => self.add_item(node, items, value),
            _ => Err(unusual(node)),
        }
    }

    /// Gives a key a value that has none.
    fn fill(&self, key: Option<&Node>, node: &Node, value: &Value) -> Result<String, EditError> {
        let key = key.ok_or(unusual(node))?;
        let line = self.line(key.end.0);
        let rest = line.get(self.byte(key.end)..).unwrap_or("");
        let colon = rest.find(':').ok_or(unusual(key))?;
        let at = rest.get(..colon).map_or(0, |before| before.chars().count());
        let mark = (key.end.0, key.end.1 + at + 1);
        self.replace(mark, mark, &format!(" {}", flow(value)))
    }

    /// Puts a value in the place of a collection in block style: behind its key, instead of its lines.
    fn flatten(&self, key: Option<&Node>, node: &Node, value: &Value) -> Result<String, EditError> {
        let key = key.ok_or(unusual(node))?;
        let (first, last) = (node.start.0, self.last_line(self.last(node)));
        if first <= key.end.0 {
            return Err(unusual(node));
        }
        let lines = self.lines.iter().zip(1..);
        let kept = lines.filter(|(_, number)| !(first..=last).contains(number));
        let text: String = kept.map(|(line, _)| *line).collect();
        Text::new(&text).fill(Some(key), node, value)
    }

    fn add_key(
        &self,
        node: &Node,
        entries: &[(Node, Node)],
        key: &str,
        value: &Value,
    ) -> Result<String, EditError> {
        let entry = format!("{}: {}", flow(&key.into()), flow(value));
        if self.is_flow(node.start) {
            return self.add_in_flow(node, entries.is_empty(), &entry);
        }
        let (first, _) = entries.first().ok_or(unusual(node))?;
        let (last_key, last) = entries.last().ok_or(unusual(node))?;
        let last = match last.shape {
            Shape::Nothing => last_key.end,
            _ => self.last(last),
        };
        let indent = " ".repeat(first.start.1);
        Ok(self.insert(self.last_line(last), &format!("{indent}{entry}")))
    }

    fn add_item(&self, node: &Node, items: &[Node], value: &Value) -> Result<String, EditError> {
        if self.is_flow(node.start) {
            return self.add_in_flow(node, items.is_empty(), &flow(value));
        }
        let (first, last) = (items.first(), items.last());
        let (first, last) = first.zip(last).ok_or(unusual(node))?;
        let line = self.line(first.start.0);
        let before = line.get(..self.byte(first.start)).unwrap_or("");
        let dash = before.rfind('-').ok_or(unusual(first))?;
        let indent = " ".repeat(before.get(..dash).map_or(0, |text| text.chars().count()));
        let last = self.last_line(self.last(last));
        Ok(self.insert(last, &format!("{indent}- {}", flow(value))))
    }

    fn add_in_flow(&self, node: &Node, is_empty: bool, new: &str) -> Result<String, EditError> {
        let close = (node.end.0, node.end.1.saturating_sub(1));
        let line = self.line(close.0);
        let at = self.byte(close);
        let before = line.get(..at).unwrap_or("");
        // `{ a: b }`: the blank stays before the bracket.
        let blanks = before.chars().rev().take_while(|c| *c == ' ').count();
        let is_own_line = before.trim().is_empty();
        let is_there = line
            .get(at..)
            .is_some_and(|rest| rest.starts_with([']', '}']));
        let has_comma = before.trim_end().ends_with(',');
        if !is_there || is_own_line || has_comma || blanks > close.1 {
            return Err(unusual(node));
        }
        let mark = (close.0, close.1 - blanks);
        let comma = if is_empty { "" } else { ", " };
        self.replace(mark, mark, &format!("{comma}{new}"))
    }

    /// The end of a value's last part.
    fn last(&self, node: &Node) -> Mark {
        if self.is_flow(node.start) {
            return node.end;
        }
        match &node.shape {
            Shape::Sequence(items) => items.last().map_or(node.end, |item| self.last(item)),
            Shape::Mapping(entries) => match entries.last() {
                Some((key, value)) if matches!(value.shape, Shape::Nothing) => key.end,
                Some((_, value)) => self.last(value),
                None => node.end,
            },
            _ => node.end,
        }
    }

    /// The line of a mark; that before if nothing is before it in its line, as behind a text over
    /// several lines.
    fn last_line(&self, mark: Mark) -> usize {
        match mark {
            (line, 0) if line > 1 => line - 1,
            (line, _) => line,
        }
    }
}

fn unusual(node: &Node) -> EditError {
    EditError::Unusual(node.start.0)
}

/// What is to be where the rest of a path does not exist yet.
fn wrap(rest: &[Step], edit: &Edit, value: &Value) -> Option<Value> {
    let inner = match edit {
        Edit::Set(..) => value.clone(),
        Edit::Add(..) => json!([value]),
    };
    rest.iter().rev().try_fold(inner, |inner, step| match step {
        Step::Key(key) => Some(json!({ key.as_str(): inner })),
        Step::Item(_) => None,
    })
}

/// A value in one line.
pub fn flow(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(entries) => {
            let mut entries: Vec<(&String, &Value)> = entries.iter().collect();
            // As people write them.
            let rank = |key: &str| ["name", "min"].iter().position(|first| *first == key);
            entries.sort_by_key(|(key, _)| rank(key).unwrap_or(usize::MAX));
            let entries: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{}: {}", flow(&key.as_str().into()), flow(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::String(text) if is_plain(text) => text.clone(),
        // A text in JSON is one in YAML.
        value => value.to_string(),
    }
}

/// Whether a text can be written without quotes and stays one.
fn is_plain(text: &str) -> bool {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || "/_".contains(c));
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_word = words.iter().any(|word| text.eq_ignore_ascii_case(word));
    begins && !is_word && text.chars().all(is_safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<Step> {
        let steps = text.split(' ').filter(|step| !step.is_empty());
        steps
            .map(|step| step.parse().map_or_else(|_| step.into(), Step::Item))
            .collect()
    }

    fn set(at: &str, value: Value) -> Edit {
        Edit::Set(path(at), value)
    }

    fn add(at: &str, value: Value) -> Edit {
        Edit::Add(path(at), value)
    }

    fn edited(text: &str, of: Edit) -> String {
        edit(text, 0, &[of]).unwrap()
    }

    #[test]
    fn scalars_are_changed_in_their_place() {
        let text = "a: 1 # one\nb: {c: \"x\", d: y} # two\n";
        assert_eq!(
            edited(text, set("a", json!(true))),
            "a: true # one\nb: {c: \"x\", d: y} # two\n"
        );
        assert_eq!(
            edited(text, set("b c", json!("no"))),
            "a: 1 # one\nb: {c: \"no\", d: y} # two\n"
        );
        assert_eq!(
            edited("a: # none\nb: 1\n", set("a", json!(5))),
            "a: 5 # none\nb: 1\n"
        );
        assert_eq!(edited("é: ö\n", set("é", json!("x"))), "é: x\n");
    }

    #[test]
    fn lists_grow_in_their_own_style() {
        assert_eq!(
            edited("v: [a, b] # types\n", add("v", json!("c"))),
            "v: [a, b, c] # types\n"
        );
        assert_eq!(edited("v: []\n", add("v", json!("c"))), "v: [c]\n");
        assert_eq!(edited("v: [ a ]\n", add("v", json!("c"))), "v: [ a, c ]\n");
        let text = "v:\n- a # first\n# about b\n- b\n\n# about w\nw: 1\n";
        assert_eq!(
            edited(text, add("v", json!("c"))),
            "v:\n- a # first\n# about b\n- b\n- c\n\n# about w\nw: 1\n"
        );
        let text = "v:\n  - min: 1\n    max: 2 # two\nw: 1\n";
        assert_eq!(
            edited(text, add("v", json!({"min": 5, "max": 6}))),
            "v:\n  - min: 1\n    max: 2 # two\n  - {min: 5, max: 6}\nw: 1\n"
        );
    }

    #[test]
    fn what_is_missing_is_added_at_the_end_of_its_mapping() {
        let text = "spec:\n  a: 1\n  b:\n  - x\n\n# end\n";
        assert_eq!(
            edited(text, set("spec c", json!([1]))),
            "spec:\n  a: 1\n  b:\n  - x\n  c: [1]\n\n# end\n"
        );
        assert_eq!(edited("a: 1", set("b c", json!("d"))), "a: 1\nb: {c: d}");
        assert_eq!(edited("a: {}\n", set("a b", json!(1))), "a: {b: 1}\n");
        let text = "c:\n- name: x\n  image: y\n- name: z\n";
        assert_eq!(
            edited(text, set("c 0 s u", json!(5))),
            "c:\n- name: x\n  image: y\n  s: {u: 5}\n- name: z\n"
        );
        let text = "a: |\n  text\n  more\nb: 1\n";
        assert_eq!(
            edited(text, set("c", json!(2))),
            "a: |\n  text\n  more\nb: 1\nc: 2\n"
        );
        let text = "b: 1\na: |\n  text\n";
        assert_eq!(
            edited(text, set("c", json!(2))),
            "b: 1\na: |\n  text\nc: 2\n"
        );
    }

    #[test]
    fn a_collection_makes_place_for_another_value() {
        let text = "a: # why\n  # first\n  - b\n  - c\n# then\nd: 1\n";
        assert_eq!(
            edited(text, set("a", json!(["x"]))),
            "a: [x] # why\n  # first\n# then\nd: 1\n"
        );
        assert_eq!(
            edited("a:\n  b: 1\n  c:\n  - d\n", set("a", json!({}))),
            "a: {}\n"
        );
    }

    #[test]
    fn other_documents_stay() {
        let text = "a: 1\n---\n# two\na: 2\n---\na: 3\n";
        let changed = edit(text, 1, &[set("a", json!(5)), set("b", json!("x"))]).unwrap();
        assert_eq!(changed, "a: 1\n---\n# two\na: 5\nb: x\n---\na: 3\n");
        assert_eq!(
            edit(text, 7, &[set("a", json!(5))]),
            Err(EditError::NoDocument)
        );
    }

    #[test]
    fn what_is_unusual_is_left_to_people() {
        for (text, of) in [
            ("a: &x [b]\nc: *x\n", add("c", json!("d"))),
            ("a: >\n  long\n  text\n", set("a", json!("d"))),
            ("a: [b,\n  c,\n  ]\n", add("a", json!("d"))),
            ("a: 1\n", set("a b", json!("d"))),
            ("a: [", set("a", json!("d"))),
            // Changing one would change the other.
            ("a: &x [b]\nc: *x\n", add("a", json!("d"))),
        ] {
            assert!(edit(text, 0, &[of]).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[a-c:\\- \\[\\]{},#\n&*|>\"']{0,60}", at in "[a-c]( [a-c0])?") {
            let _ = edit(&text, 0, &[set(&at, json!("x")), add(&at, json!({"y": 1}))]);
        }

        #[test]
        fn texts_stay_texts(text: String) {
            let changed = edited("a: 1\n", set("a", json!(text)));
            proptest::prop_assert_eq!(values(&changed).unwrap(), vec![json!({"a": text})]);
        }
    }
}
