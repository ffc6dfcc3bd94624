//! What a condition says and its author may not mean: as Falco's
//! `userspace/engine/filter_warning_resolver.cpp`, and what its documentation calls deprecated.

use super::ast::{Check, Expr, List, Literal, Operand, Right, Test};
use super::text::Problem;

/// What to warn of in a condition.
pub(super) fn cautions(expr: &Expr) -> Vec<Problem> {
    let mut found = Vec::new();
    walk(expr, &mut found);
    found
}

fn walk(expr: &Expr, found: &mut Vec<Problem>) {
    match expr {
        Expr::Or(parts) | Expr::And(parts) => parts.iter().for_each(|part| walk(part, found)),
        Expr::Not(inner) => walk(inner, found),
        Expr::Macro(_) => {}
        Expr::Check(check) => {
            let absent = literals(check)
                .iter()
                .find(|literal| literal.text == "<NA>");
            if let Some(literal) = absent {
                let message = "no value is \"<NA>\", which only stands for none in outputs: the \
                               comparison does not tell whether there is one";
                let help = Some("use: exists".to_owned());
                found.push(Problem::new(literal.at, message).with_help(help));
            }
            if let Operand::Field(field) = &check.left
                && field.name == "evt.dir"
            {
                let message = "evt.dir is deprecated: events are seen when the call has returned";
                let help = Some("leave it out".to_owned());
                found.push(Problem::new(field.at, message).with_help(help));
            }
        }
    }
}

fn literals(check: &Check) -> &[Literal] {
    match &check.test {
        Test::Compare(_, Right::Literal(literal)) => std::slice::from_ref(literal),
        Test::Several(_, _, literals) | Test::List(_, List::Literals(literals)) => literals,
        Test::Exists | Test::Compare(_, Right::Operand(_)) | Test::List(_, List::Operand(_)) => &[],
    }
}
