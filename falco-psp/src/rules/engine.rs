//! The rule set: compiled rules, found by the event's type.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::ast::Expr;
use super::evaluate::Condition;
use super::guard::EventTypes;
use super::output::Output;
use super::prepare::{PreparedSet, Verdicts};
use crate::control::Control;
use crate::event::Event;
use crate::fields::Source;

/// How urgent a rule's alerts are, in Falco's words; the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// The system cannot be used.
    Emergency,
    /// Something must be done at once.
    Alert,
    /// Critical condition.
    Critical,
    /// Error condition.
    Error,
    /// Warning condition.
    Warning,
    /// Normal but worth a look.
    Notice,
    /// For information.
    Informational,
    /// For those who look for an error.
    Debug,
}

impl Priority {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 8] = [
        Self::Emergency,
        Self::Alert,
        Self::Critical,
        Self::Error,
        Self::Warning,
        Self::Notice,
        Self::Informational,
        Self::Debug,
    ];

    /// The word that Falco writes.
    pub fn word(self) -> &'static str {
        match self {
            Self::Emergency => "Emergency",
            Self::Alert => "Alert",
            Self::Critical => "Critical",
            Self::Error => "Error",
            Self::Warning => "Warning",
            Self::Notice => "Notice",
            Self::Informational => "Informational",
            Self::Debug => "Debug",
        }
    }

    /// Reads a priority, in upper or lower case; `info` is short for `informational`.
    pub fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("info") {
            return Some(Self::Informational);
        }
        let mut all = Self::ALL.into_iter();
        all.find(|priority| priority.word().eq_ignore_ascii_case(text))
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A rule, ready to be evaluated.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name, which no other rule has.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// How urgent its alerts are.
    pub priority: Priority,
    /// Its tags, sorted.
    pub tags: BTreeSet<String>,
    /// Where its events come from.
    pub source: Source,
    /// When it fires.
    pub condition: Condition,
    /// The same as text has it, with macros filled in.
    pub(super) syntax: Arc<Expr>,
    /// Text of the macro with which the condition begins, if all of it has to be true with it.
    /// Rules with the same one share its verdict on an event.
    pub guard: Option<Box<str>>,
    /// What it says then.
    pub output: Output,
    /// The types of events for which it can fire.
    pub event_types: EventTypes,
}

impl Rule {
    /// The control that the rule is about: the tag that is a control's name.
    pub fn control(&self) -> Option<Control> {
        self.tags.iter().find_map(|tag| Control::parse(tag))
    }

    /// The names of the fields that the condition and the output ask for, sorted.
    pub fn field_names(&self) -> BTreeSet<&'static str> {
        let mut names = BTreeSet::new();
        self.condition
            .for_each_field(&mut |reference| _ = names.insert(reference.field.name));
        self.output
            .for_each_field(&mut |reference| _ = names.insert(reference.field.name));
        names
    }
}

/// The rules of a run.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    /// In the order of the files.
    rules: Box<[Rule]>,
    /// The rules about declared pods.
    audit: Box<[usize]>,
    /// For each type of system call events that a rule names, the rules that can fire for it.
    by_type: HashMap<Box<str>, Box<[usize]>, FixedState>,
    /// The rules that can fire for every other type.
    by_other_type: Box<[usize]>,
    /// What is asked when a rule was found so.
    prepared: PreparedSet,
}

impl FromIterator<Rule> for RuleSet {
    fn from_iter<T: IntoIterator<Item = Rule>>(rules: T) -> Self {
        let rules: Box<[Rule]> = rules.into_iter().collect();
        let of_source = |source: Source, fires: &dyn Fn(&EventTypes) -> bool| -> Box<[usize]> {
            let all = rules.iter().enumerate();
            all.filter(|(_, rule)| rule.source == source && fires(&rule.event_types))
                .map(|(index, _)| index)
                .collect()
        };
        let that = |fires: &dyn Fn(&EventTypes) -> bool| of_source(Source::Syscall, fires);
        let named: BTreeSet<&Box<str>> = rules
            .iter()
            .filter(|rule| rule.source == Source::Syscall)
            .flat_map(|rule| rule.event_types.named())
            .collect();
        let by_type = named
            .into_iter()
            .map(|name| (name.clone(), that(&|types| types.contains(name))))
            .collect();
        let by_other_type = that(&|types| matches!(types, EventTypes::AllBut(_)));
        let audit = of_source(Source::K8sAudit, &|_| true);
        let prepared = PreparedSet::new(&rules);
        Self {
            rules,
            audit,
            by_type,
            by_other_type,
            prepared,
        }
    }
}

impl RuleSet {
    /// The rules that fire for `event`, in the order of the files, each with its index in
    /// [`RuleSet::rules`].
    ///
    /// Falco's default is to stop at the first one. Here a rule must not hide another: each is
    /// about another control.
    pub fn matching<'a>(&'a self, event: &'a Event) -> impl Iterator<Item = (usize, &'a Rule)> {
        let is_call = event.source() == Source::Syscall;
        let candidates = match is_call {
            true => {
                let by_type = event.event_type().and_then(|name| self.by_type.get(name));
                by_type.unwrap_or(&self.by_other_type)
            }
            false => &self.audit,
        };
        let mut verdicts = Verdicts::default();
        candidates.iter().filter_map(move |&index| {
            let fires = self.prepared.matches(index, event, &mut verdicts);
            fires.then_some((index, self.rules.get(index)?))
        })
    }

    /// Whether some of the rules in `range` looks at `event` further than at the macro with which
    /// its condition begins: whether the event is in the scope of these rules.
    pub fn is_in_scope(&self, range: &Range<usize>, event: &Event) -> bool {
        let rules = self.rules.get(range.clone()).unwrap_or_default();
        let mut of_source = rules.iter().filter(|rule| rule.source == event.source());
        of_source
            .next()
            .is_some_and(|rule| rule.guard.is_none() || rule.condition.begins(event))
    }

    /// The rules, to be put together anew.
    pub fn into_rules(self) -> impl Iterator<Item = Rule> {
        self.rules.into_iter()
    }

    /// All rules, in the order of the files.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// How many rules each source has.
    pub fn count_by_source(&self) -> BTreeMap<Source, usize> {
        let mut counts = BTreeMap::new();
        for rule in &self.rules {
            *counts.entry(rule.source).or_default() += 1;
        }
        counts
    }

    /// The types of events for which some rule can fire.
    pub fn event_types(&self) -> EventTypes {
        let of_calls = self
            .rules
            .iter()
            .filter(|rule| rule.source == Source::Syscall);
        let all = of_calls.map(|rule| &rule.event_types);
        all.fold(EventTypes::NONE, |types, other| types.union(other))
    }

    /// Whether some rule asks for this field, or for one whose name goes on after a dot.
    pub fn asks_for(&self, field: &str) -> bool {
        let is_meant = |name: &str| {
            let rest = name.strip_prefix(field);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let mut rules = self.rules.iter();
        rules.any(|rule| rule.field_names().into_iter().any(is_meant))
    }
}
