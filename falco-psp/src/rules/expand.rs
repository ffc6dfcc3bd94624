//! Lists and macros: what their names in a condition stand for.
//!
//! Lists are replaced in the condition's text before it is parsed, as Falco does it
//! (`resolve_list` in `userspace/engine/rule_loader_compiler.cpp`): wherever the name stands
//! between blanks, `(`, `)`, `,`, `=` or an end of the text, in quotes too. Macros are replaced in
//! the tree, as a whole; so the operators around a macro's name do not reach into it.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};

use super::ast::{Expr, Name};
use super::text::{Edit, Problem, Text};
use crate::diagnostic::nearest;

/// How long a condition may become when its lists are filled in.
const MAX_LENGTH: usize = 4 << 20;
/// How many checks and macros a condition may have when its macros are filled in.
const MAX_PARTS: usize = 100_000;
/// How deep a condition may nest when its macros are filled in, in levels of its tree.
const MAX_DEPTH: usize = 1000;

/// A list, ready to be filled in.
#[derive(Debug)]
pub(super) struct List {
    /// Its name.
    pub(super) name: String,
    /// Its items, joined and quoted where needed.
    text: String,
    /// Whether any condition or list names it.
    pub(super) used: Cell<bool>,
}

impl List {
    /// A list of these items. One that holds a blank is quoted, unless it is already; nothing is
    /// escaped.
    pub(super) fn new(name: String, items: &[String]) -> Self {
        let quoted: Vec<String> = items
            .iter()
            .map(|item| {
                if item.contains(' ') && !item.starts_with(['"', '\'']) {
                    format!("\"{item}\"")
                } else {
                    item.clone()
                }
            })
            .collect();
        Self {
            name,
            text: quoted.join(", "),
            used: Cell::new(false),
        }
    }
}

/// Replaces every list's name in a condition's text by its items.
///
/// Returns whether the text has stayed below the limit of length.
pub(super) fn fill_lists(text: &mut Text, lists: &[List]) -> bool {
    lists.iter().all(|list| fill_list(text, list))
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn is_delimiter(byte: u8) -> bool {
    is_blank(byte) || matches!(byte, b'(' | b')' | b',' | b'=')
}

fn fill_list(text: &mut Text, list: &List) -> bool {
    let Some(first) = list.name.chars().next() else {
        return true;
    };
    let bytes = text.as_str().as_bytes();
    let mut length = bytes.len();
    let mut edits: Vec<Edit> = Vec::new();
    // Where to look for the name, and where the last part that was replaced ends.
    let (mut from, mut done) = (0, 0);
    while let Some(found) = text.as_str()[from..].find(&list.name) {
        let anchor = from + found;
        let (mut start, mut end) = (anchor, anchor + list.name.len());
        let delimited = (start == 0 || is_delimiter(bytes[start - 1]))
            && bytes.get(end).is_none_or(|b| is_delimiter(*b));
        if !delimited {
            from = anchor + first.len_utf8();
            continue;
        }
        while start > done && is_blank(bytes[start - 1]) {
            start -= 1;
        }
        while bytes.get(end).is_some_and(|b| is_blank(*b)) {
            end += 1;
        }
        // An empty list takes the comma before or after it along.
        if list.text.is_empty() {
            if start > done && bytes[start - 1] == b',' {
                start -= 1;
            } else if bytes.get(end) == Some(&b',') {
                end += 1;
            }
        }
        let with = format!(" {} ", list.text);
        length += with.len();
        if length > MAX_LENGTH {
            return false;
        }
        edits.push(Edit {
            part: start..end,
            anchor,
            with,
        });
        (from, done) = (end, end);
    }
    if !edits.is_empty() {
        *text = text.replaced(&edits);
        list.used.set(true);
    }
    true
}

/// A macro.
#[derive(Debug)]
pub(super) struct Macro {
    /// Its name.
    pub(super) name: String,
    /// The number of the item that first defined it.
    pub(super) first: usize,
    /// The number of the item that last changed it: it sees macros first defined before.
    pub(super) last: usize,
    /// What it stands for; `None` if that is not readable, which has been reported.
    pub(super) condition: Option<Expr>,
    /// Whether a rule or another macro names it.
    pub(super) used: Cell<bool>,
}

/// All macros.
#[derive(Debug)]
pub(super) struct Macros {
    all: Vec<Macro>,
    by_name: HashMap<String, usize>,
}

/// A condition without macros, or what prevents it.
pub(super) struct Inlined {
    /// The condition; still with macros where there are problems.
    pub(super) condition: Expr,
    /// What is wrong.
    pub(super) problems: Vec<Problem>,
    /// Whether the condition can be used.
    pub(super) complete: bool,
}

impl Macros {
    /// From these, each with another name.
    pub(super) fn new(all: Vec<Macro>) -> Self {
        let names = all.iter().map(|m| m.name.clone());
        let by_name = names.enumerate().map(|(i, name)| (name, i)).collect();
        Self { all, by_name }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Macro> {
        self.all.iter()
    }

    /// A rule's condition without macros. A rule sees all macros.
    pub(super) fn inline_rule(&self, condition: &Expr) -> Inlined {
        self.inline(condition, usize::MAX, HashSet::new())
    }

    /// What is wrong with a macro itself, whether or not a rule uses it.
    pub(super) fn check(&self, index: usize) -> Vec<Problem> {
        match self.all.get(index) {
            Some(Macro {
                condition: Some(condition),
                last,
                ..
            }) => self.inline(condition, *last, [index].into()).problems,
            _ => Vec::new(),
        }
    }

    fn inline(&self, condition: &Expr, before: usize, open: HashSet<usize>) -> Inlined {
        let mut inliner = Inliner {
            macros: self,
            open,
            parts: 0,
            too_large: false,
            problems: Vec::new(),
            complete: true,
        };
        let condition = inliner.expr(condition, before, 1);
        Inlined {
            condition,
            problems: inliner.problems,
            complete: inliner.complete,
        }
    }
}

struct Inliner<'a> {
    macros: &'a Macros,
    /// The macros that are being filled in.
    open: HashSet<usize>,
    parts: usize,
    too_large: bool,
    problems: Vec<Problem>,
    complete: bool,
}

impl Inliner<'_> {
    fn expr(&mut self, expr: &Expr, before: usize, depth: usize) -> Expr {
        match expr {
            Expr::Or(parts) => Expr::Or(self.all(parts, before, depth)),
            Expr::And(parts) => Expr::And(self.all(parts, before, depth)),
            Expr::Not(inner) => Expr::Not(Box::new(self.expr(inner, before, depth + 1))),
            Expr::Macro(name) => self.name(name, before, depth),
            Expr::Check(check) => {
                self.parts += 1;
                Expr::Check(check.clone())
            }
        }
    }

    fn all(&mut self, parts: &[Expr], before: usize, depth: usize) -> Vec<Expr> {
        let each = parts.iter().map(|part| self.expr(part, before, depth + 1));
        each.collect()
    }

    fn name(&mut self, name: &Name, before: usize, depth: usize) -> Expr {
        self.parts += 1;
        let unresolved = Expr::Macro(name.clone());
        if self.parts > MAX_PARTS {
            if !self.too_large {
                self.too_large = true;
                let message = "the condition is too large when its macros are filled in";
                self.fail(Problem::new(name.at, message));
            }
            return unresolved;
        }
        let found = self.macros.by_name.get(&name.name).copied();
        let Some((index, found)) = found.and_then(|i| Some((i, self.macros.all.get(i)?))) else {
            let names = self.macros.all.iter().map(|m| m.name.as_str());
            let help = nearest(&name.name, names).map(|near| format!("did you mean \"{near}\"?"));
            let message = format!("undefined macro \"{}\"", name.name);
            self.fail(Problem::new(name.at, message).with_help(help));
            return unresolved;
        };
        found.used.set(true);
        if self.open.contains(&index) {
            let message = format!("the macro \"{}\" is defined by itself", name.name);
            self.fail(Problem::new(name.at, message));
            return unresolved;
        }
        if found.first >= before {
            let message = format!("the macro \"{}\" is defined only after its use", name.name);
            let help = "a macro can use those that stand before it".to_owned();
            self.fail(Problem::new(name.at, message).with_help(help));
            return unresolved;
        }
        let Some(condition) = &found.condition else {
            self.complete = false;
            return unresolved;
        };
        if depth + condition.depth() > MAX_DEPTH + 1 {
            let message = format!(
                "the condition is nested more than {MAX_DEPTH} deep when its macros are filled in"
            );
            self.fail(Problem::new(name.at, message));
            return unresolved;
        }
        self.open.insert(index);
        let expr = self.expr(condition, found.last, depth);
        self.open.remove(&index);
        expr
    }

    fn fail(&mut self, problem: Problem) {
        self.complete = false;
        self.problems.push(problem);
    }
}
