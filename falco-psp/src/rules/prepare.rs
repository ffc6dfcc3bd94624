//! Conditions made ready for one question: is this true of an event that was found by its type?
//!
//! The order of a conjunction means nothing to its verdict, so what is cheap goes first; what the
//! type of the event has already answered is left out; and what rules have in common is asked once
//! an event.

use std::collections::HashMap;

use super::ast::Expr;
use super::engine::Rule;
use super::evaluate::{Condition, FieldTest, Set, Test, TextTest};
use crate::event::Event;
use crate::fields::Source;

/// Guards whose verdict on an event is remembered; more are asked each time.
const REMEMBERED: usize = 64;

/// What is left of a rule's condition.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    /// The number of the part that it has in common with other rules.
    guard: Option<usize>,
    /// The other parts, each of which has to be true.
    parts: Box<[Condition]>,
}

/// The conditions of a rule set.
#[derive(Clone, Debug, Default)]
pub(super) struct PreparedSet {
    /// One for each rule.
    rules: Box<[Prepared]>,
    guards: Box<[Condition]>,
}

/// The verdicts on the guards for one event, as far as they are known: bit n is that of guard n.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Verdicts {
    known: u64,
    holds: u64,
}

impl PreparedSet {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut count: HashMap<(Source, String), usize> = HashMap::new();
        let first = |rule: &Rule| {
            let (_, syntax) = *parts_of(rule).first()?;
            Some((rule.source, syntax.to_string()))
        };
        for guard in rules.iter().filter_map(first) {
            *count.entry(guard).or_default() += 1;
        }
        let mut numbers: HashMap<(Source, String), usize> = HashMap::new();
        let mut guards = Vec::new();
        let mut prepared = Vec::new();
        for rule in rules {
            let all = parts_of(rule);
            let shared = first(rule).filter(|guard| count.get(guard).is_some_and(|n| *n > 1));
            let guard = shared.zip(all.first()).map(|(key, (condition, _))| {
                *numbers.entry(key).or_insert_with(|| {
                    guards.push(Condition::And(simplified([*condition]).into()));
                    guards.len() - 1
                })
            });
            let own = all.iter().skip(usize::from(guard.is_some()));
            prepared.push(Prepared {
                guard,
                parts: simplified(own.map(|(condition, _)| *condition)).into(),
            });
        }
        Self {
            rules: prepared.into(),
            guards: guards.into(),
        }
    }

    /// Whether the condition of the rule with this index is true for `event`, whose type the rule
    /// allows.
    pub(super) fn matches(&self, rule: usize, event: &Event, verdicts: &mut Verdicts) -> bool {
        let Some(prepared) = self.rules.get(rule) else {
            return false;
        };
        prepared
            .guard
            .is_none_or(|guard| self.guard_holds(guard, event, verdicts))
            && prepared.parts.iter().all(|part| part.matches(event))
    }

    fn guard_holds(&self, guard: usize, event: &Event, verdicts: &mut Verdicts) -> bool {
        let ask = || self.guards.get(guard).is_some_and(|g| g.matches(event));
        if guard >= REMEMBERED {
            return ask();
        }
        let bit = 1 << guard;
        if verdicts.known & bit == 0 {
            verdicts.known |= bit;
            if ask() {
                verdicts.holds |= bit;
            }
        }
        verdicts.holds & bit != 0
    }
}

/// The parts of a rule's conjunction, compiled and as text has them, without those that only ask
/// for the event's type.
fn parts_of(rule: &Rule) -> Vec<(&Condition, &Expr)> {
    let all: Vec<_> = match (&rule.condition, &*rule.syntax) {
        (Condition::And(parts), Expr::And(syntax)) => parts.iter().zip(syntax).collect(),
        whole => vec![whole],
    };
    let asks_for_type =
        |part: &Condition| matches!(part, Condition::Test(test) if test.asks_for_type());
    let kept = all.into_iter().filter(|(part, _)| !asks_for_type(part));
    kept.collect()
}

/// A conjunction of `parts`, with those of its parts that are conjunctions taken apart.
fn simplified<'a>(parts: impl IntoIterator<Item = &'a Condition>) -> Vec<Condition> {
    fn flatten<'a>(part: &'a Condition, flat: &mut Vec<&'a Condition>) {
        match part {
            Condition::And(parts) => parts.iter().for_each(|part| flatten(part, flat)),
            other => flat.push(other),
        }
    }
    let mut flat = Vec::new();
    parts.into_iter().for_each(|part| flatten(part, &mut flat));
    let mut made: Vec<Condition> = Vec::new();
    let mut rest = flat.into_iter().peekable();
    while let Some(part) = rest.next() {
        match rest.peek().and_then(|next| outside(part, next)) {
            Some(both) => {
                made.push(both);
                rest.next();
            }
            None => made.push(part.clone()),
        }
    }
    made.sort_by_key(cost);
    made
}

/// `f exists and not f in (S)` in one look at the field: one of its values is not in `S`.
fn outside(exists: &Condition, not_in: &Condition) -> Option<Condition> {
    let (Condition::Test(exists), Condition::Not(inner)) = (exists, not_in) else {
        return None;
    };
    let Condition::Test(every) = &**inner else {
        return None;
    };
    match (&exists.test, &every.test) {
        (Test::Exists, Test::Every(set)) if is_same_field(exists, every) => {
            Some(Condition::Test(Box::new(FieldTest {
                left: exists.left.clone(),
                test: Test::Outside(set.clone()),
            })))
        }
        _ => None,
    }
}

fn is_same_field(a: &FieldTest, b: &FieldTest) -> bool {
    match (a.left.field(), b.left.field()) {
        (Some(a), Some(b)) => a.is_same(b),
        _ => false,
    }
}

/// How dear a condition is, roughly: only the order of these numbers matters.
fn cost(condition: &Condition) -> u32 {
    match condition {
        Condition::Not(inner) => cost(inner),
        Condition::And(parts) | Condition::Or(parts) => {
            parts.iter().map(cost).fold(1, u32::saturating_add)
        }
        Condition::Test(test) => {
            let of_test = match &test.test {
                Test::Exists | Test::Bool(_) | Test::Int(_) => 1,
                Test::Every(Set::Paths(_)) | Test::Some(Set::Paths(_)) => 20,
                Test::Every(_) | Test::Some(_) | Test::Outside(_) => 4,
                Test::Text(TextTest::Regex(_) | TextTest::Glob(_)) => 50,
                Test::Text(_) => 3,
                Test::Several(..) | Test::Other(..) => 30,
            };
            let of_field = match test.left.field() {
                // Looked up in the event's JSON each time.
                Some(reference) if reference.is_slow() => 1000,
                Some(reference) if reference.field.list => 8,
                Some(_) => 1,
                None => 100,
            };
            of_test + of_field
        }
    }
}
