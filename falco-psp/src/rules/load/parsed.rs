//! A rules file as syntax trees, for those who write another file from it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Loader, lists};
use crate::diagnostic::Diagnostic;
use crate::rules::ast::Expr;
use crate::rules::engine::Priority;
use crate::rules::text::File;

/// The macros and rules of a file, in its order; lists are filled in.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The macros: name and condition.
    pub macros: Vec<(String, Expr)>,
    /// The rules.
    pub rules: Vec<ParsedRule>,
}

/// A rule as it is written.
#[derive(Clone, Debug)]
pub struct ParsedRule {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// When it fires; with macros.
    pub condition: Expr,
    /// What it says then.
    pub output: String,
    /// How urgent its alerts are.
    pub priority: Priority,
    /// Where its events come from.
    pub source: String,
    /// Its tags.
    pub tags: BTreeSet<String>,
}

/// Reads a rules file without looking up any field.
///
/// # Errors
/// It is no rules file, or a condition is none.
pub fn parse_file(file: &Arc<str>, text: &str) -> Result<Parsed, Vec<Diagnostic>> {
    let name = Arc::clone(file);
    let mut loader = Loader::new(vec![File { name, text }]);
    let collected = loader.collected();
    let lists = lists(&collected.lists);
    let macros = collected.macros.all.into_iter().filter_map(|entry| {
        let condition = loader.parse(entry.item.condition, &lists)?;
        Some((entry.item.name, condition))
    });
    let macros = macros.collect();
    let rules = collected.rules.all.into_iter().filter_map(|entry| {
        let item = entry.item;
        Some(ParsedRule {
            condition: loader.parse(item.condition, &lists)?,
            name: item.name,
            description: item.description,
            output: item.output.as_str().to_owned(),
            priority: item.priority,
            source: item.source,
            tags: item.tags,
        })
    });
    let rules = rules.collect();
    if loader.diagnostics.iter().any(Diagnostic::is_error) {
        return Err(loader.diagnostics);
    }
    Ok(Parsed { macros, rules })
}
