//! The rules language: Falco's, with what a dry run of a PodSecurityPolicy needs besides.
//!
//! A rules file goes through [`load()`]: its items are read, list names replaced in the conditions
//! (`expand`), the conditions parsed (`parse`) and compiled (`compile`). The
//! result is a [`RuleSet`], which tells for each event the rules that fire.
//!
//! What Falco 0.44 loads means the same here, with three additions and one difference:
//!
//! - list fields know `pmatch`, and numbers in a list may be ranges (`30:40`);
//! - fields that Falco does not have are part of the same registry (see [`crate::fields`]);
//! - all errors of a file are shown, not only the first;
//! - every rule that matches fires, not only the first.

pub mod ast;
mod caution;
mod compile;
mod engine;
mod evaluate;
mod expand;
mod explain;
mod files;
mod getopt;
pub(crate) mod glob;
mod guard;
mod items;
mod load;
mod operand;
mod output;
mod parse;
mod posix;
mod prepare;
mod print;
mod text;
mod values;

pub use engine::{Priority, Rule, RuleSet};

pub use crate::fields::Source;
pub use evaluate::Condition;
pub use explain::Part;
pub use files::{ReadError, RulesFile, read_files};
pub use guard::EventTypes;
pub use load::{Parsed, ParsedRule, load, load_files, parse_file};
pub use output::{Output, escape, is_unsafe};
pub use parse::{MAX_NESTING, ParseError, parse};

#[cfg(test)]
mod tests;
