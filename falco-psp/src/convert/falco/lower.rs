//! From our conditions to Falco's: the fields and comparisons that Falco lacks are replaced by
//! what says the same.

use std::collections::{BTreeMap, BTreeSet};

use super::atoms::Said;
use super::facts::{self, Which, Why};
use crate::rules::ast::{Check, Comparison, Expr, List, ListOperator, Operand, Right, Test};

/// A condition that Falco knows to evaluate, if there is one.
#[derive(Debug, Default)]
pub(super) struct Lowered {
    /// Where it is true, the original is. `None`: nothing of it can be said.
    pub(super) said: Option<Said>,
    /// What the original says besides.
    pub(super) missing: BTreeSet<Why>,
}

/// Macros that were lowered, by name.
pub(super) type Macros = BTreeMap<String, Lowered>;

/// Lowers a condition that may name these macros.
pub(super) fn lower(expr: &Expr, macros: &Macros) -> Lowered {
    let mut missing = BTreeSet::new();
    let said = said(expr, macros, &mut missing);
    Lowered { said, missing }
}

fn said(expr: &Expr, macros: &Macros, missing: &mut BTreeSet<Why>) -> Option<Said> {
    match expr {
        Expr::Or(parts) => {
            let parts: Vec<Said> = parts
                .iter()
                .filter_map(|part| said(part, macros, missing))
                .collect();
            (!parts.is_empty()).then(|| Said::any(parts))
        }
        Expr::And(parts) => {
            let mut all = Vec::new();
            let mut parts = parts.iter().peekable();
            while let Some(part) = parts.next() {
                // What is there and not all in a set is there outside of it.
                let outside = parts.peek().and_then(|next| outside(part, next));
                let part = match outside {
                    Some(answer) => {
                        parts.next();
                        note(answer, missing)
                    }
                    None => said(part, macros, missing),
                };
                all.push(part?);
            }
            Some(Said::all(all))
        }
        Expr::Not(inner) => {
            let mut lacks = BTreeSet::new();
            let inner = said(inner, macros, &mut lacks);
            let is_exact = lacks.is_empty();
            missing.extend(lacks);
            inner.filter(|_| is_exact).map(Said::not)
        }
        Expr::Macro(name) => {
            let lowered = macros.get(&name.name)?;
            missing.extend(&lowered.missing);
            // The macro itself is in the file.
            lowered.said.as_ref().map(|_| Said::Is(name.name.clone()))
        }
        Expr::Check(check) => note(check_said(check), missing),
    }
}

type Answer = Result<(Said, Option<Why>), Why>;

fn note(answer: Answer, missing: &mut BTreeSet<Why>) -> Option<Said> {
    match answer {
        Ok((said, why)) => {
            missing.extend(why);
            Some(said)
        }
        Err(why) => {
            missing.insert(why);
            None
        }
    }
}

/// `f exists` and `not f in (…)`, for a fact of the pod.
fn outside(first: &Expr, second: &Expr) -> Option<Answer> {
    let (Expr::Check(exists), Expr::Not(not)) = (first, second) else {
        return None;
    };
    let Expr::Check(is_in) = &**not else {
        return None;
    };
    let field = fact(&exists.left)?;
    match (&exists.test, &is_in.test) {
        (
            Test::Exists,
            Test::List(ListOperator::In | ListOperator::PathMatch, List::Literals(set)),
        ) if exists.left == is_in.left => {
            let set: Vec<String> = set.iter().map(|literal| literal.text.clone()).collect();
            Some(facts::some(field, Which::NotIn(&set)))
        }
        _ => None,
    }
}

/// The name of a fact of a pod.
fn fact(operand: &Operand) -> Option<&str> {
    match operand {
        Operand::Field(field) => Some(&*field.name).filter(|name| name.starts_with("ka.pod.")),
        Operand::Call(_) => None,
    }
}

fn check_said(check: &Check) -> Answer {
    let Some(field) = fact(&check.left) else {
        return Ok((of_request(check), None));
    };
    match &check.test {
        Test::Exists => facts::some(field, Which::ANY),
        Test::Compare(Comparison::Equal, Right::Literal(value)) => {
            let flag = facts::flag(field)?;
            Ok((
                if value.text == "true" {
                    flag
                } else {
                    flag.not()
                },
                None,
            ))
        }
        Test::List(operator, List::Literals(set)) => {
            let set: Vec<String> = set.iter().map(|literal| literal.text.clone()).collect();
            if *operator == ListOperator::Intersects {
                return facts::some(field, Which::In(&set));
            }
            let (any, why) = facts::some(field, Which::ANY)?;
            let (other, why_other) = facts::some(field, Which::NotIn(&set))?;
            Ok((Said::all([any, other.not()]), why.or(why_other)))
        }
        Test::Compare(..) | Test::Several(..) | Test::List(..) => {
            Err("a comparison for which Falco has no field")
        }
    }
}

/// What Falco has a field for: the same, but for what it does not show of pods.
fn of_request(check: &Check) -> Said {
    let same = || Said::Is(Expr::Check(Box::new(check.clone())).to_string());
    let field = match &check.left {
        Operand::Field(field) => &*field.name,
        Operand::Call(_) => "",
    };
    match (field, &check.test) {
        // Of a patch Falco shows the patch and not what comes of it.
        ("ka.verb", Test::List(ListOperator::In, List::Literals(verbs))) => {
            let kept: Vec<_> = verbs
                .iter()
                .filter(|v| v.text != "patch")
                .cloned()
                .collect();
            let mut check = check.clone();
            check.test = Test::List(ListOperator::In, List::Literals(kept));
            Said::Is(Expr::Check(Box::new(check)).to_string())
        }
        // Before Kubernetes 1.22 the object of this is no pod.
        ("ka.target.subresource", Test::Compare(Comparison::Equal, _)) => {
            Said::all([same(), super::atoms::equals("/requestObject/kind", "Pod")])
        }
        _ => same(),
    }
}
