//! For which values of `evt.type` a condition can be true.
//!
//! Rules are looked up by the event's type, and hooks are attached only for the types that some
//! rule can match. So the answer may be too large, never too small.

use std::collections::BTreeSet;

use super::evaluate::{Condition, FieldTest, Set, Test, TextTest};

/// A set of event types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventTypes {
    /// These.
    Only(BTreeSet<Box<str>>),
    /// All but these.
    AllBut(BTreeSet<Box<str>>),
}

impl EventTypes {
    /// Every type.
    pub const ALL: Self = Self::AllBut(BTreeSet::new());
    /// No type.
    pub const NONE: Self = Self::Only(BTreeSet::new());

    /// For which types `condition` can be true.
    pub fn of(condition: &Condition) -> Self {
        Outcomes::of(condition).when_true
    }

    /// Whether the type is in the set.
    pub fn contains(&self, event_type: &str) -> bool {
        match self {
            Self::Only(types) => types.contains(event_type),
            Self::AllBut(types) => !types.contains(event_type),
        }
    }

    /// The types in either set.
    pub fn union(&self, other: &Self) -> Self {
        self.complement()
            .intersection(&other.complement())
            .complement()
    }

    /// The types in both sets.
    pub fn intersection(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Only(a), Self::Only(b)) => Self::Only(a & b),
            (Self::Only(a), Self::AllBut(b)) | (Self::AllBut(b), Self::Only(a)) => {
                Self::Only(a - b)
            }
            (Self::AllBut(a), Self::AllBut(b)) => Self::AllBut(a | b),
        }
    }

    /// The types that are not in the set.
    pub fn complement(&self) -> Self {
        match self {
            Self::Only(types) => Self::AllBut(types.clone()),
            Self::AllBut(types) => Self::Only(types.clone()),
        }
    }

    /// The types that the set names: all of it, or what it leaves out.
    pub fn named(&self) -> &BTreeSet<Box<str>> {
        match self {
            Self::Only(types) | Self::AllBut(types) => types,
        }
    }
}

/// For which types a condition can be true, and for which false.
struct Outcomes {
    when_true: EventTypes,
    when_false: EventTypes,
}

impl Outcomes {
    fn of(condition: &Condition) -> Self {
        match condition {
            Condition::Test(test) => Self::of_test(test),
            Condition::Not(inner) => {
                let inner = Self::of(inner);
                Self {
                    when_true: inner.when_false,
                    when_false: inner.when_true,
                }
            }
            Condition::And(parts) => parts.iter().map(Self::of).fold(
                Self {
                    when_true: EventTypes::ALL,
                    when_false: EventTypes::NONE,
                },
                |all, part| Self {
                    when_true: all.when_true.intersection(&part.when_true),
                    when_false: all.when_false.union(&part.when_false),
                },
            ),
            Condition::Or(parts) => parts.iter().map(Self::of).fold(
                Self {
                    when_true: EventTypes::NONE,
                    when_false: EventTypes::ALL,
                },
                |all, part| Self {
                    when_true: all.when_true.union(&part.when_true),
                    when_false: all.when_false.intersection(&part.when_false),
                },
            ),
        }
    }

    fn of_test(test: &FieldTest) -> Self {
        let unknown = Self {
            when_true: EventTypes::ALL,
            when_false: EventTypes::ALL,
        };
        // Every event has a type, so what is false for one is true for the others.
        let field = test.left.field();
        if field.is_none_or(|reference| reference.field.name != "evt.type") {
            return unknown;
        }
        let when_true = match &test.test {
            Test::Text(TextTest::Equal(name)) => EventTypes::Only([name.clone()].into()),
            Test::Text(TextTest::NotEqual(name)) => EventTypes::AllBut([name.clone()].into()),
            Test::Every(Set::Text(names)) | Test::Some(Set::Text(names)) => {
                EventTypes::Only(names.iter().cloned().collect())
            }
            Test::Exists => EventTypes::ALL,
            _ => return unknown,
        };
        Self {
            when_false: when_true.complement(),
            when_true,
        }
    }
}
