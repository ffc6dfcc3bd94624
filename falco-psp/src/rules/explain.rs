//! Why a rule fires for an event, or does not: its condition as a tree, with what each part says
//! and the values that it said so of.

use super::ast::{Check, Expr};
use super::engine::Rule;
use super::evaluate::{Condition, FieldTest, Test};
use super::operand::Operand;
use crate::event::Event;
use crate::fields::Value;

/// One part of a condition, before its own parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// How deep it is in the tree; the whole has 0.
    pub depth: usize,
    /// `and`, `or`, `not`, or the test.
    pub text: String,
    /// What it says of the event; `None` if the event is an alert that lacks a field, and what is
    /// known does not decide.
    pub holds: Option<bool>,
    /// What a test was asked of: each field with its values in the event.
    pub values: Vec<(String, Vec<String>)>,
}

impl Rule {
    /// The parts of the condition in the order of the text. It is the compiled condition that is
    /// asked; unlike in a run, parts that decide nothing more are asked as well.
    pub fn explain(&self, event: &Event) -> Vec<Part> {
        let mut parts = Vec::new();
        explain(&self.syntax, &self.condition, event, 0, &mut parts);
        parts
    }
}

/// Adds the parts; gives what the whole says.
fn explain(
    syntax: &Expr,
    condition: &Condition,
    event: &Event,
    depth: usize,
    parts: &mut Vec<Part>,
) -> Option<bool> {
    let (text, values) = match (syntax, condition) {
        (Expr::And(_), _) => ("and".to_owned(), Vec::new()),
        (Expr::Or(_), _) => ("or".to_owned(), Vec::new()),
        (Expr::Not(_), _) => ("not".to_owned(), Vec::new()),
        (Expr::Check(check), Condition::Test(test)) => {
            (syntax.to_string(), values(check, test, event))
        }
        _ => (syntax.to_string(), Vec::new()),
    };
    let at = parts.len();
    parts.push(Part {
        depth,
        text,
        holds: None,
        values,
    });
    let mut each = |of: &[Expr], compiled: &[Condition]| -> Vec<Option<bool>> {
        let pairs = of.iter().zip(compiled);
        pairs
            .map(|(syntax, condition)| explain(syntax, condition, event, depth + 1, parts))
            .collect()
    };
    let holds = match (syntax, condition) {
        (Expr::And(of), Condition::And(compiled)) => {
            let each = each(of, compiled);
            decided(&each, false)
        }
        (Expr::Or(of), Condition::Or(compiled)) => {
            let each = each(of, compiled);
            decided(&each, true)
        }
        (Expr::Not(of), Condition::Not(compiled)) => {
            explain(of, compiled, event, depth + 1, parts).map(|holds| !holds)
        }
        // Compiling keeps the shape of the tree, so this is a test.
        _ => is_known(condition, event).then(|| condition.matches(event)),
    };
    if let Some(part) = parts.get_mut(at) {
        part.holds = holds;
    }
    holds
}

/// What parts come to of which one alone decides if it is `decisive`.
fn decided(parts: &[Option<bool>], decisive: bool) -> Option<bool> {
    if parts.contains(&Some(decisive)) {
        Some(decisive)
    } else if parts.contains(&None) {
        None
    } else {
        Some(!decisive)
    }
}

/// Whether the event tells all that is asked: an alert has some of the fields only.
fn is_known(condition: &Condition, event: &Event) -> bool {
    let Event::Told(event) = event else {
        return true;
    };
    let mut known = true;
    condition.for_each_field(&mut |reference| known &= reference.is_told(event));
    known
}

fn values(check: &Check, test: &FieldTest, event: &Event) -> Vec<(String, Vec<String>)> {
    let mut values = vec![(check.left.to_string(), of(&test.left, event))];
    if let Test::Other(_, right) = &test.test {
        let name = match &check.test {
            super::ast::Test::Compare(_, super::ast::Right::Operand(right))
            | super::ast::Test::List(_, super::ast::List::Operand(right)) => right.to_string(),
            _ => String::new(),
        };
        values.push((name, of(right, event)));
    }
    values
}

fn of(operand: &Operand, event: &Event) -> Vec<String> {
    let mut values = Vec::new();
    operand.extract(event, &mut |value| {
        values.push(match value {
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Text(text) => text.into_owned(),
        });
    });
    values
}
