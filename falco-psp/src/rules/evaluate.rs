//! Compiled conditions, and what they say of an event.
//!
//! A field has no value in an event when the fact is not known or the event is of another kind;
//! a list field also when it is empty. The answers:
//!
//! | operator | no value, empty list | one value `v` | list field, values `E` |
//! |--|--|--|--|
//! | `exists` | false | true | true |
//! | `=` | false | `v` is the right side | does not load |
//! | `!=` | false | `v` is not the right side | does not load |
//! | `<` `<=` `>` `>=` | false | numbers by size, text by bytes | does not load |
//! | `contains` `startswith` ... `regex` | false | as the operator says | does not load |
//! | `in (R)` | false | `v` is in `R` | every value of `E` is in `R` |
//! | `intersects (R)` | false | `v` is in `R` | some value of `E` is in `R` |
//! | `pmatch (R)` | false | `v` is below a prefix of `R` | every value of `E` is below a prefix of `R` |
//!
//! `R` may also be the values of another field (`val(f)`) or what a function makes of it; where it
//! has none, the comparison is false. A comparison with `anyof (a, b)` is true if it is with one of
//! the texts, with `allof` if it is with each of them, with `oneof` if it is with exactly one.
//!
//! With an empty `R` the last three are false. So `not f in (R)` is true where `f` has no value;
//! write `f exists and not f in (R)` where that is not meant. `and` and `or` look at their parts
//! from left to right, and no further than needed.
//!
//! All of this is Falco's, but for `pmatch` on list fields and number ranges in `R`, which Falco
//! refuses to load.

use std::cmp::Ordering;
use std::collections::HashSet;

use foldhash::fast::FixedState;
use regex::Regex;

use super::ast::{Comparison, ListOperator, Quantifier};
use super::glob::Glob;
use super::operand::Operand;
use super::values::{IntSet, PathPrefixes};
use crate::event::Event;
use crate::fields::{Reference, Value};

/// A condition, ready to be evaluated.
#[derive(Clone, Debug)]
pub enum Condition {
    /// One of them is true.
    Or(Box<[Self]>),
    /// All of them are true.
    And(Box<[Self]>),
    /// It is not true.
    Not(Box<Self>),
    /// The test of a field is true.
    Test(Box<FieldTest>),
}

/// The test of a field.
#[derive(Clone, Debug)]
pub struct FieldTest {
    /// The field, or what is made of it.
    pub(super) left: Operand,
    /// What is asked of its value.
    pub(super) test: Test,
}

/// What is asked of the values of a field; for each type of value what it can be asked.
#[derive(Clone, Debug)]
pub(super) enum Test {
    /// There is one.
    Exists,
    /// A truth value compares so.
    Bool(BoolTest),
    /// A number compares so.
    Int(IntTest),
    /// A text compares so.
    Text(TextTest),
    /// The values compare so with a set.
    Every(Set),
    /// One of the values compares so with a set.
    Some(Set),
    /// One of the values does not.
    Outside(Set),
    /// So many of these are true of a value.
    Several(Quantifier, Box<[Test]>),
    /// The values are related so to those of another field.
    Other(Relation, Box<Operand>),
}

/// How the values of two fields are related.
#[derive(Clone, Copy, Debug)]
pub(super) enum Relation {
    /// One value compares so with one.
    Compares(Comparison),
    /// The values are among the others.
    Among(ListOperator),
}

impl Relation {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Compares(operator) => operator.word(),
            Self::Among(operator) => operator.word(),
        }
    }

    /// Whether one value is related so to one of the others.
    fn holds(self, left: &Value<'_>, others: &[Value<'_>]) -> bool {
        match self {
            Self::Among(_) => others.contains(left),
            Self::Compares(operator) => others.iter().any(|right| related(operator, left, right)),
        }
    }
}

fn related(operator: Comparison, left: &Value<'_>, right: &Value<'_>) -> bool {
    match (operator, Order::from_comparison(operator), left, right) {
        (Comparison::Equal, ..) => left == right,
        (Comparison::NotEqual, ..) => left != right,
        (_, Some(order), Value::Int(left), Value::Int(right)) => order.holds(left.cmp(right)),
        (_, Some(order), Value::Text(left), Value::Text(right)) => {
            order.holds(left.as_bytes().cmp(right.as_bytes()))
        }
        (Comparison::Contains, _, Value::Text(left), Value::Text(right)) => left.contains(&**right),
        (Comparison::ContainsIgnoreCase, _, Value::Text(left), Value::Text(right)) => {
            contains_ignore_case(left, right)
        }
        (Comparison::StartsWith, _, Value::Text(left), Value::Text(right)) => {
            left.starts_with(&**right)
        }
        (Comparison::EndsWith, _, Value::Text(left), Value::Text(right)) => {
            left.ends_with(&**right)
        }
        // Compiling sees to it that there is nothing else.
        _ => false,
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) enum BoolTest {
    Equal(bool),
    NotEqual(bool),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum IntTest {
    Equal(i64),
    NotEqual(i64),
    Order(Order, i64),
}

#[derive(Clone, Debug)]
pub(super) enum TextTest {
    Equal(Box<str>),
    NotEqual(Box<str>),
    Order(Order, Box<str>),
    Contains(Box<str>),
    ContainsIgnoreCase(Box<str>),
    ContainsBytes(Box<[u8]>),
    StartsWith(Box<str>),
    StartsWithBytes(Box<[u8]>),
    EndsWith(Box<str>),
    Glob(Glob),
    Regex(Regex),
}

/// `<`, `<=`, `>` or `>=`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    /// The order that a comparison asks for, if it is one of the four.
    pub(super) fn from_comparison(comparison: Comparison) -> Option<Self> {
        Some(match comparison {
            Comparison::Less => Self::Less,
            Comparison::LessOrEqual => Self::LessOrEqual,
            Comparison::Greater => Self::Greater,
            Comparison::GreaterOrEqual => Self::GreaterOrEqual,
            _ => return None,
        })
    }

    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

/// The right side of `in`, `intersects` and `pmatch`.
#[derive(Clone, Debug)]
pub(super) enum Set {
    Bool {
        has_true: bool,
        has_false: bool,
    },
    Int(IntSet),
    /// A set of the rules' author's, so its hash need not withstand anyone.
    Text(HashSet<Box<str>, FixedState>),
    Paths(PathPrefixes),
}

impl Condition {
    /// Whether the condition is true for `event`.
    pub fn matches(&self, event: &Event) -> bool {
        match self {
            Self::Or(parts) => parts.iter().any(|part| part.matches(event)),
            Self::And(parts) => parts.iter().all(|part| part.matches(event)),
            Self::Not(inner) => !inner.matches(event),
            Self::Test(test) => test.matches(event),
        }
    }

    /// Whether the first part of a conjunction is true.
    pub(super) fn begins(&self, event: &Event) -> bool {
        match self {
            Self::And(parts) => parts.first().is_none_or(|part| part.matches(event)),
            other => other.matches(event),
        }
    }

    /// Like [`Self::for_each_field`], without those of the macro with which the condition begins:
    /// what makes one event that the rule matches differ from another.
    pub fn for_each_own_field(&self, give: &mut impl FnMut(&Reference)) {
        match self {
            Self::And(parts) if matches!(parts.first(), Some(Self::And(_))) => {
                let own = parts.iter().skip(1);
                own.for_each(|part| part.for_each_field(give));
            }
            other => other.for_each_field(give),
        }
    }

    /// Gives every field that the condition asks for, as often as it does.
    pub fn for_each_field(&self, give: &mut impl FnMut(&Reference)) {
        match self {
            Self::Or(parts) | Self::And(parts) => {
                parts.iter().for_each(|part| part.for_each_field(give));
            }
            Self::Not(inner) => inner.for_each_field(give),
            Self::Test(test) => {
                test.left.for_each_field(give);
                test.test.for_each_field(give);
            }
        }
    }
}

impl FieldTest {
    /// Whether it is true for events of certain types, whatever else is in them.
    pub(super) fn asks_for_type(&self) -> bool {
        let field = self.left.field();
        field.is_some_and(|reference| reference.field.name == "evt.type")
            && matches!(
                self.test,
                Test::Text(TextTest::Equal(_))
                    | Test::Every(Set::Text(_))
                    | Test::Some(Set::Text(_))
            )
    }

    fn matches(&self, event: &Event) -> bool {
        match &self.test {
            Test::Other(relation, right) => self.is_related(*relation, right, event),
            Test::Every(set) => {
                let (mut some, mut every) = (false, true);
                self.left.extract(event, &mut |value| {
                    some = true;
                    every = every && set.contains(&value);
                });
                some && every
            }
            test => {
                let mut any = false;
                self.left
                    .extract(event, &mut |value| any = any || test.holds(&value));
                any
            }
        }
    }

    fn is_related(&self, relation: Relation, right: &Operand, event: &Event) -> bool {
        let mut others = Vec::new();
        right.extract(event, &mut |value| others.push(value));
        let (mut some, mut every, mut count) = (false, true, 0_usize);
        self.left.extract(event, &mut |value| {
            let holds = relation.holds(&value, &others);
            some |= holds;
            every &= holds;
            count += 1;
        });
        match relation {
            _ if others.is_empty() => false,
            Relation::Among(ListOperator::In) => count > 0 && every,
            _ => some,
        }
    }
}

impl Test {
    fn for_each_field(&self, give: &mut impl FnMut(&Reference)) {
        if let Self::Other(_, right) = self {
            right.for_each_field(give);
        }
    }

    /// Whether one value passes. A value of another type than the test's does not; compiling sees
    /// to it that there is none.
    fn holds(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Self::Exists, _) => true,
            (Self::Bool(test), Value::Bool(value)) => match test {
                BoolTest::Equal(right) => value == right,
                BoolTest::NotEqual(right) => value != right,
            },
            (Self::Int(test), Value::Int(value)) => match test {
                IntTest::Equal(right) => value == right,
                IntTest::NotEqual(right) => value != right,
                IntTest::Order(order, right) => order.holds(value.cmp(right)),
            },
            (Self::Text(test), Value::Text(value)) => test.holds(value),
            (Self::Every(set) | Self::Some(set), value) => set.contains(value),
            (Self::Outside(set), value) => !set.contains(value),
            (Self::Several(quantifier, tests), value) => {
                let mut holding = tests.iter().filter(|test| test.holds(value));
                match quantifier {
                    Quantifier::AnyOf => holding.next().is_some(),
                    Quantifier::OneOf => holding.next().is_some() && holding.next().is_none(),
                    Quantifier::AllOf => holding.count() == tests.len(),
                }
            }
            // Needs the other field's values.
            (Self::Other(..), _) => false,
            (Self::Bool(_) | Self::Int(_) | Self::Text(_), _) => false,
        }
    }
}

impl TextTest {
    fn holds(&self, value: &str) -> bool {
        match self {
            Self::Equal(right) => value == &**right,
            Self::NotEqual(right) => value != &**right,
            Self::Order(order, right) => order.holds(value.as_bytes().cmp(right.as_bytes())),
            Self::Contains(right) => value.contains(&**right),
            Self::ContainsIgnoreCase(right) => contains_ignore_case(value, right),
            Self::ContainsBytes(right) => contains_bytes(value, right),
            Self::StartsWith(right) => value.starts_with(&**right),
            Self::StartsWithBytes(right) => value.as_bytes().starts_with(right),
            Self::EndsWith(right) => value.ends_with(&**right),
            Self::Glob(glob) => glob.matches(value),
            Self::Regex(regex) => regex.is_match(value),
        }
    }
}

fn contains_bytes(value: &str, right: &[u8]) -> bool {
    right.is_empty() || value.as_bytes().windows(right.len()).any(|w| w == right)
}

fn contains_ignore_case(value: &str, right: &str) -> bool {
    let right = right.as_bytes();
    let mut windows = value.as_bytes().windows(right.len().max(1));
    right.is_empty() || windows.any(|w| w.eq_ignore_ascii_case(right))
}

impl Set {
    fn contains(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Self::Bool { has_true, .. }, Value::Bool(true)) => *has_true,
            (Self::Bool { has_false, .. }, Value::Bool(false)) => *has_false,
            (Self::Int(set), Value::Int(value)) => set.contains(*value),
            (Self::Text(set), Value::Text(value)) => set.contains(&**value),
            (Self::Paths(prefixes), Value::Text(value)) => prefixes.matches(value),
            _ => false,
        }
    }
}
