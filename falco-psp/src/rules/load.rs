//! Rules files to rule set.
//!
//! As Falco's `rule_loader_collector.cpp` and `rule_loader_compiler.cpp`: an item of a name that
//! is known replaces the earlier one in its place; `append: true` adds to it. All files of a run
//! are one sequence of items.

mod changes;
mod collected;
mod exceptions;
mod parsed;

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use self::collected::{Collected, lists};
use self::exceptions::with_exceptions;
pub use self::parsed::{Parsed, ParsedRule, parse_file};
use super::ast::{At, Expr};
use super::caution::cautions;
use super::compile::compile;
use super::engine::{Rule, RuleSet};
use super::expand::{Inlined, List, Macro, Macros, fill_lists};
use super::guard::EventTypes;
use super::items::{self, How, Item, MacroItem, Place, RuleItem};
use super::output::Output;
use super::parse::parse_numbered;
use super::text::{File, Problem, Text, Texts};
use crate::diagnostic::Diagnostic;
use crate::fields::{Reference, Source};
use crate::yaml;

/// Findings that are told; who has more, mends these first.
const MAX_FINDINGS: usize = 100;

/// Loads one rules file: the rules, and what its author should know.
///
/// # Errors
/// All that is wrong with the file; warnings are among it.
pub fn load(file: &Arc<str>, text: &str) -> Result<(RuleSet, Vec<Diagnostic>), Vec<Diagnostic>> {
    load_files([(file, text)])
}

/// Loads several rules files as one: later ones can replace and add to what is in the earlier.
///
/// # Errors
/// All that is wrong with the files; warnings are among it.
pub fn load_files<'a>(
    files: impl IntoIterator<Item = (&'a Arc<str>, &'a str)>,
) -> Result<(RuleSet, Vec<Diagnostic>), Vec<Diagnostic>> {
    let files = files.into_iter().map(|(name, text)| File {
        name: Arc::clone(name),
        text,
    });
    let mut loader = Loader::new(files.collect());
    let collected = loader.collected();
    let rules = loader.compile(collected);
    let untold = loader.untold();
    let mut diagnostics = loader.diagnostics;
    let order: HashMap<_, _> = loader
        .texts
        .files
        .iter()
        .map(|f| &f.name)
        .zip(0..)
        .collect();
    diagnostics.sort_by_key(|d| (order.get(&d.file).copied(), d.position));
    diagnostics.extend(untold);
    if diagnostics.iter().any(Diagnostic::is_error) {
        Err(diagnostics)
    } else {
        Ok((rules, diagnostics))
    }
}

struct Loader<'a> {
    texts: Texts<'a>,
    diagnostics: Vec<Diagnostic>,
    /// Findings that are not told, and rules that were not looked at, after too many.
    untold: usize,
}

impl<'a> Loader<'a> {
    fn new(files: Vec<File<'a>>) -> Self {
        Self {
            texts: Texts::new(files),
            diagnostics: Vec::new(),
            untold: 0,
        }
    }
}

impl Loader<'_> {
    /// Adds a finding, unless it is known: a macro is looked at for each rule that uses it.
    fn report(&mut self, diagnostic: Diagnostic) {
        // Whether the files can be used is told in any case.
        if self.is_full() && (!diagnostic.is_error() || self.has_failed()) {
            self.untold += 1;
            return;
        }
        if !self.diagnostics.contains(&diagnostic) {
            self.diagnostics.push(diagnostic);
        }
    }

    fn untold(&self) -> Option<Diagnostic> {
        let last = self.diagnostics.last().filter(|_| self.untold > 0)?;
        let message = format!(
            "mend these first; {} more findings or rules wait",
            self.untold
        );
        Some(Diagnostic::warning(&last.file, None, message))
    }

    fn is_full(&self) -> bool {
        self.diagnostics.len() >= MAX_FINDINGS
    }

    fn has_failed(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }

    fn report_all(&mut self, problems: &[Problem]) {
        // Finding the place of one in a large file takes its time.
        if self.is_full() && self.has_failed() {
            self.untold += problems.len();
            return;
        }
        for problem in problems {
            let error = self.texts.error(problem);
            self.report(error);
        }
    }

    fn error(&mut self, place: Place, message: impl Into<String>) {
        let (file, position) = place;
        if let Some(file) = self.texts.files.get(file) {
            let error = Diagnostic::error(&file.name, position, message);
            self.report(error);
        }
    }

    fn warn(&mut self, place: Place, message: impl Into<String>) {
        let (file, position) = place;
        if let Some(file) = self.texts.files.get(file) {
            let warning = Diagnostic::warning(&file.name, position, message);
            self.report(warning);
        }
    }

    /// The items of all files, those of one name as one.
    fn collected(&mut self) -> Collected {
        let mut collected = Collected::default();
        for item in self.read() {
            self.collect(&mut collected, item);
        }
        collected
    }

    fn read(&mut self) -> Vec<Item> {
        let mut items = Vec::new();
        for (number, file) in self.texts.files.iter().enumerate() {
            match yaml::parse(&file.name, file.text) {
                Ok(documents) => items.extend(documents.iter().flat_map(|document| {
                    items::read(number, file, document, &mut self.diagnostics)
                })),
                Err(error) => self.diagnostics.push(error),
            }
        }
        items
    }

    fn collect(&mut self, collected: &mut Collected, item: Item) {
        collected.count += 1;
        let number = collected.count;
        let missing = |kind: &str, name: &str| format!("there is no {kind} \"{name}\" before this");
        match item {
            Item::List(list) if list.how != How::Define => {
                match collected.lists.get_mut(&list.name) {
                    Some(entry) => {
                        if list.how == How::Replace {
                            entry.item.items.clear();
                        }
                        entry.item.items.extend(list.items);
                        entry.last = number;
                    }
                    None => self.error(list.place, missing("list", &list.name)),
                }
            }
            Item::List(list) => {
                let name = list.name.clone();
                collected.lists.define(&name, *list, number);
            }
            Item::Macro(item) if item.how != How::Define => {
                match collected.macros.get_mut(&item.name) {
                    Some(entry) => {
                        match item.how {
                            How::Append => entry.item.condition.append(item.condition),
                            How::Define | How::Replace => entry.item.condition = item.condition,
                        }
                        entry.last = number;
                    }
                    None => self.error(item.place, missing("macro", &item.name)),
                }
            }
            Item::Macro(item) => {
                let name = item.name.clone();
                collected.macros.define(&name, *item, number);
            }
            Item::Rule(rule) => match collected.rules.get(&rule.name) {
                Some(earlier) if earlier.item.source != rule.source => {
                    let source = &earlier.item.source;
                    let message =
                        format!("the rule \"{}\" already has the source {source}", rule.name);
                    self.error(rule.place, message);
                }
                _ => {
                    let name = rule.name.clone();
                    collected.rules.define(&name, *rule, number);
                }
            },
            Item::ChangeRule {
                name,
                place,
                changes,
            } => self.change_rule(collected, &name, place, changes),
        }
    }

    fn compile(&mut self, collected: Collected) -> RuleSet {
        let lists = lists(&collected.lists);
        let mut places = Vec::new();
        let mut macros = Vec::new();
        for entry in collected.macros.all {
            let MacroItem {
                name,
                place,
                condition,
                ..
            } = entry.item;
            places.push(place);
            macros.push(Macro {
                name,
                first: entry.first,
                last: entry.last,
                condition: self.parse(condition, &lists),
                used: Cell::new(false),
            });
        }
        let macros = Macros::new(macros);
        for index in 0..places.len() {
            self.report_all(&macros.check(index));
        }
        let rules = collected.rules.all.into_iter();
        let rules: Vec<Rule> = rules
            .filter_map(|entry| {
                if self.is_full() && self.has_failed() {
                    self.untold += 1;
                    return None;
                }
                self.rule(entry.item, &lists, &macros)
            })
            .collect();
        // With an error somewhere nobody knows what is used.
        if self.has_failed() {
            return RuleSet::default();
        }
        for (item, place) in macros.iter().zip(places) {
            if !item.used.get() {
                self.warn(place, format!("the macro \"{}\" is not used", item.name));
            }
        }
        for (list, entry) in lists.iter().zip(&collected.lists.all) {
            if !list.used.get() {
                let message = format!("the list \"{}\" is not used", list.name);
                self.warn(entry.item.place, message);
            }
        }
        rules.into_iter().collect()
    }

    /// Parses a condition; `None`, and a finding, if it is none.
    fn parse(&mut self, text: Text, lists: &[List]) -> Option<Expr> {
        let (parsed, problem) = self.parse_quietly(text, lists);
        self.report_all(problem.as_slice());
        parsed
    }

    fn parse_quietly(&mut self, mut text: Text, lists: &[List]) -> (Option<Expr>, Option<Problem>) {
        let number = self.texts.next_number();
        let at = |offset| At {
            text: number,
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
        };
        let short_enough = fill_lists(&mut text, lists);
        let parsed = parse_numbered(text.as_str(), number);
        self.texts.push(text);
        if !short_enough {
            let message = "the condition is too long when its lists are filled in";
            return (None, Some(Problem::new(at(0), message)));
        }
        match parsed {
            Ok(expr) => (Some(expr), None),
            Err(error) => {
                let problem = Problem::new(at(error.offset), error.message);
                (None, Some(problem.with_help(error.help)))
            }
        }
    }

    /// Compiles a rule; `None` if it is not to be used, for whatever reason.
    fn rule(&mut self, item: RuleItem, lists: &[List], macros: &Macros) -> Option<Rule> {
        let Some(source) = Source::parse(&item.source) else {
            let (name, source) = (&item.name, &item.source);
            let message = format!("the rule \"{name}\" is skipped: unknown source \"{source}\"");
            self.warn(item.source_place, message);
            // What it uses is in use all the same.
            if let (Some(condition), _) = self.parse_quietly(item.condition, lists) {
                macros.inline_rule(&condition);
            }
            return None;
        };
        let mut problems = Vec::new();
        let mut condition = None;
        let mut guard = None;
        let mut syntax = None;
        for exception in item.exceptions.iter().filter(|e| e.fields.is_none()) {
            let message = format!("the exception \"{}\" needs \"fields\"", exception.name);
            self.error(exception.place, message);
        }
        let text = match with_exceptions(item.condition.clone(), &item.exceptions) {
            Ok(text) => text,
            Err((place, message)) => {
                let number = self.texts.next_number();
                self.texts.push(place);
                let at = At {
                    text: number,
                    offset: 0,
                };
                self.report_all(&[Problem::new(at, message)]);
                return None;
            }
        };
        if let Some(expr) = self.parse(text, lists) {
            let Inlined {
                condition: expr,
                problems: found,
                complete,
            } = macros.inline_rule(&expr);
            problems.extend(found);
            for caution in cautions(&expr) {
                let warning = self.texts.warning(&caution);
                self.report(warning);
            }
            if complete {
                match compile(&expr, source) {
                    Ok(compiled) => {
                        condition = Some(compiled);
                        guard = leading_macro(&expr).map(|expr| expr.to_string().into());
                        syntax = Some(expr.into());
                    }
                    Err(found) => problems.extend(found),
                }
            }
        }
        let output = match self.output(&item, source) {
            Ok(output) => Some(output),
            Err(found) => {
                problems.extend(found);
                None
            }
        };
        let unknown = problems.iter().find(|problem| problem.unknown_field);
        if item.skip_if_unknown_filter
            && let Some(unknown) = unknown
        {
            let message = format!("the rule \"{}\" is skipped: {}", item.name, unknown.message);
            self.warn(item.place, message);
            return None;
        }
        self.report_all(&problems);
        let (condition, syntax, output) = (condition?, syntax?, output?);
        if let Some(names) = unseen(|mut give| condition.for_each_field(&mut give)) {
            let message = format!(
                "the rule \"{}\" is skipped: falco-psp does not observe {names}",
                item.name
            );
            self.warn(item.place, message);
            return None;
        }
        if let Some(names) = unseen(|mut give| output.for_each_field(&mut give)) {
            let message = format!(
                "the output of the rule \"{}\" has <NA> for what falco-psp does not observe: \
                 {names}",
                item.name
            );
            self.warn(item.place, message);
        }
        let event_types = EventTypes::of(&condition);
        match &event_types {
            EventTypes::Only(types) if types.is_empty() => {
                let message = format!("the rule \"{}\" can match no type of event", item.name);
                self.warn(item.place, message);
            }
            EventTypes::AllBut(_) if item.warn_event_types && source == Source::Syscall => {
                let message = format!(
                    "the rule \"{}\" names no evt.type: it looks at every event",
                    item.name
                );
                self.warn(item.place, message);
            }
            EventTypes::Only(_) | EventTypes::AllBut(_) => {}
        }
        item.enabled.then_some(Rule {
            name: item.name,
            description: item.description,
            priority: item.priority,
            tags: item.tags,
            source,
            condition,
            syntax,
            guard,
            output,
            event_types,
        })
    }

    fn output(&mut self, item: &RuleItem, source: Source) -> Result<Output, Vec<Problem>> {
        Output::new(item.output.as_str(), source).map_err(|errors| {
            let number = self.texts.next_number();
            self.texts.push(item.output.clone());
            let problem = |error: super::output::OutputError| {
                let at = At {
                    text: number,
                    offset: u32::try_from(error.offset).unwrap_or(u32::MAX),
                };
                Problem {
                    unknown_field: error.unknown_field,
                    ..Problem::new(at, error.message).with_help(error.help)
                }
            };
            errors.into_iter().map(problem).collect()
        })
    }
}

/// The names of the fields that no source gives, of those that `each` gives; `None` if there are
/// none.
fn unseen(each: impl Fn(&mut dyn FnMut(&Reference))) -> Option<String> {
    let mut names = BTreeSet::new();
    each(&mut |reference| {
        if reference.field.is_unseen() {
            names.insert(reference.field.name);
        }
    });
    (!names.is_empty()).then(|| Vec::from_iter(names).join(", "))
}

/// The macro with which a condition begins, if all of the condition has to be true with it.
fn leading_macro(expr: &Expr) -> Option<&Expr> {
    let Expr::And(parts) = expr else {
        return None;
    };
    parts.first().filter(|first| matches!(first, Expr::And(_)))
}
