//! Counting violations, so that the same one is told once and then counted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::event::Event;
use crate::rules::Rule;

/// Different violations of one rule by one container or workload that are told; more are only counted.
const MAX_TOLD: usize = 16;

/// Alerts in full that are kept of one rule and container or workload.
pub(super) const MAX_EXAMPLES: usize = 3;

/// Postures whose repeats can be told apart; the repeats of more are not added.
const MAX_POSTURES: usize = 65_536;

/// Hash of what makes one violation of a rule differ from another: the values that the rule's
/// condition reads, and the program.
pub fn facts(rule: &Rule, event: &Event, program: Option<&str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    rule.condition.for_each_own_field(&mut |field| {
        field.extract(event, |value| value.hash(&mut hasher));
        hasher.write_u8(0);
    });
    program.hash(&mut hasher);
    hasher.finish()
}

/// A violation: which rule, which container or workload, and a hash of what makes it differ from others of
/// the same rule and subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Violation {
    /// Index of the rule.
    pub rule: usize,
    /// Index of the container or workload in the tally, from [`Tally::subject`].
    pub subject: usize,
    /// Hash of the facts that the rule judged, and of the program.
    pub facts: u64,
}

/// Counts of violations.
#[derive(Debug, Default)]
pub struct Tally {
    subjects: HashMap<usize, String>,
    subject_index: HashMap<String, usize>,
    next_subject: usize,
    /// One more than the highest index of a rule that was violated.
    rules_end: usize,
    /// By subject and rule.
    found: HashMap<(usize, usize), Found>,
    by_posture: HashMap<u64, Vec<Violation>>,
    /// Those whose names are no longer told, by the rules that they violated.
    folded: BTreeMap<Vec<usize>, Folded>,
}

/// What was found of subjects whose names are no longer told, and that violated the same rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// How many they are.
    pub subjects: u64,
    /// How often each rule was violated, in the order of the rules.
    pub counts: Vec<u64>,
}

/// What was found of one subject and rule.
#[derive(Debug, Default)]
pub struct Found {
    /// How often.
    pub count: u64,
    /// When it was first seen: nanoseconds since the Unix epoch.
    pub first_ns: u64,
    /// When it was last seen, but for what the kernel has only counted since.
    pub last_ns: u64,
    /// The text of the first alerts.
    pub examples: Vec<String>,
    /// The facts of those that were told.
    told: Vec<u64>,
}

impl Tally {
    /// The index of a container or workload.
    pub fn subject(&mut self, id: &str) -> usize {
        if let Some(index) = self.subject_index.get(id) {
            return *index;
        }
        let index = self.next_subject;
        self.next_subject += 1;
        self.subjects.insert(index, id.to_owned());
        self.subject_index.insert(id.to_owned(), index);
        index
    }

    /// Counts a violation; whether it is to be told. `posture` is the hash under which the kernel
    /// counts repeats, if it is not 0.
    pub fn count(&mut self, violation: Violation, posture: u64, time_ns: u64) -> bool {
        if posture != 0 && self.by_posture.len() < MAX_POSTURES {
            let violations = self.by_posture.entry(posture).or_default();
            if !violations.contains(&violation) {
                violations.push(violation);
            }
        }
        let key = (violation.subject, violation.rule);
        self.rules_end = self.rules_end.max(violation.rule + 1);
        let found = self.found.entry(key).or_default();
        if found.count == 0 {
            found.first_ns = time_ns;
        }
        found.count += 1;
        found.first_ns = found.first_ns.min(time_ns);
        found.last_ns = found.last_ns.max(time_ns);
        if found.told.len() >= MAX_TOLD || found.told.contains(&violation.facts) {
            return false;
        }
        found.told.push(violation.facts);
        true
    }

    /// Keeps the text of an alert as an example, if there are few yet.
    pub fn keep_example(&mut self, violation: Violation, text: impl FnOnce() -> String) {
        let key = (violation.subject, violation.rule);
        if let Some(found) = self.found.get_mut(&key)
            && found.examples.len() < MAX_EXAMPLES
        {
            found.examples.push(text());
        }
    }

    /// Adds the `times` that the kernel saw a posture again.
    pub fn repeated(&mut self, posture: u64, times: u64) {
        for violation in self.by_posture.get(&posture).into_iter().flatten() {
            let key = (violation.subject, violation.rule);
            self.found.entry(key).or_default().count += times;
        }
    }

    /// How many containers or workloads are known by name.
    pub fn subjects(&self) -> usize {
        self.subjects.len()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty() && self.folded.is_empty()
    }

    /// How much is remembered.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        let maps = self.subjects.len() + self.subject_index.len() + self.found.len();
        maps + self.by_posture.len() + self.folded.len()
    }

    /// Whether a subject has violated something.
    pub fn has(&self, id: &str) -> bool {
        let index = self.subject_index.get(id);
        index.is_some_and(|index| self.rules_of(*index).next().is_some())
    }

    fn rules_of(&self, subject: usize) -> impl Iterator<Item = usize> {
        // Rules are few; subjects may be many.
        let rules = 0..self.rules_end;
        rules.filter(move |rule| self.found.contains_key(&(subject, *rule)))
    }

    /// Keeps of subjects only how many they are and what they violated.
    pub fn fold(&mut self, ids: &[String]) {
        let mut folded = HashSet::new();
        for id in ids {
            let Some(subject) = self.subject_index.remove(id) else {
                continue;
            };
            self.subjects.remove(&subject);
            folded.insert(subject);
            let rules: Vec<usize> = self.rules_of(subject).collect();
            if rules.is_empty() {
                continue;
            }
            let counts = rules.iter().map(|rule| {
                let found = self.found.remove(&(subject, *rule));
                found.map_or(0, |found| found.count)
            });
            let counts: Vec<u64> = counts.collect();
            let sum = self.folded.entry(rules).or_default();
            sum.subjects += 1;
            sum.counts.resize(counts.len(), 0);
            for (sum, count) in sum.counts.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        if !folded.is_empty() {
            // Their repeats are not added any more.
            self.by_posture.retain(|_, violations| {
                violations.retain(|violation| !folded.contains(&violation.subject));
                !violations.is_empty()
            });
        }
    }

    /// The subjects that were folded: the rules that they violated, and what was found.
    pub fn folded(&self) -> impl Iterator<Item = (&[usize], &Folded)> {
        let folded = self.folded.iter();
        folded.map(|(rules, folded)| (rules.as_slice(), folded))
    }

    /// The rules that each subject has violated, be it folded or not; the same set may come more
    /// than once.
    pub fn violated(&self) -> Vec<Vec<usize>> {
        let mut by_subject: HashMap<usize, Vec<usize>> = HashMap::new();
        for (subject, rule) in self.found.keys() {
            by_subject.entry(*subject).or_default().push(*rule);
        }
        let folded = self.folded.keys().cloned();
        by_subject.into_values().chain(folded).collect()
    }

    /// The counts: container id, rule index, how often; by container in the order of their first
    /// violation.
    pub fn counts(&self) -> impl Iterator<Item = (&str, usize, u64)> {
        self.found()
            .map(|(id, rule, found)| (id, rule, found.count))
    }

    /// The same with the evidence.
    pub fn found(&self) -> impl Iterator<Item = (&str, usize, &Found)> {
        let sorted: BTreeMap<(usize, usize), &Found> = self
            .found
            .iter()
            .map(|(key, found)| (*key, found))
            .collect();
        sorted.into_iter().map(|((subject, rule), found)| {
            let id = self.subjects.get(&subject).map_or("", String::as_str);
            (id, rule, found)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_violation_is_told_once_and_counted() {
        let mut tally = Tally::default();
        let web = tally.subject("web");
        let violation = |rule, facts| Violation {
            rule,
            subject: web,
            facts,
        };
        assert!(tally.count(violation(3, 1), 77, 0));
        assert!(!tally.count(violation(3, 1), 0, 0));
        assert!(tally.count(violation(3, 2), 0, 0));
        assert!(tally.count(violation(4, 1), 77, 0));
        tally.repeated(77, 10);
        tally.repeated(78, 10);
        let counts: Vec<_> = tally.counts().collect();
        assert_eq!(counts, [("web", 3, 13), ("web", 4, 11)]);
    }

    #[test]
    fn the_first_alerts_and_times_are_kept() {
        let mut tally = Tally::default();
        let violation = Violation {
            rule: 1,
            subject: tally.subject("c"),
            facts: 0,
        };
        // Events of two processors may come in another order than they happened.
        for time in [20, 10, 30] {
            tally.count(violation, 0, time);
            tally.keep_example(violation, || format!("at {time}"));
        }
        tally.keep_example(violation, || "one too many".to_owned());
        let (_, _, found) = tally.found().next().unwrap();
        assert_eq!((found.first_ns, found.last_ns), (10, 30));
        assert_eq!(found.examples, ["at 20", "at 10", "at 30"]);
    }

    #[test]
    fn a_flood_of_different_violations_is_bounded() {
        let mut tally = Tally::default();
        let container = tally.subject("c");
        let told = (0..100).filter(|&facts| {
            let violation = Violation {
                rule: 0,
                subject: container,
                facts,
            };
            tally.count(violation, 0, 0)
        });
        assert_eq!(told.count(), MAX_TOLD);
        assert_eq!(tally.counts().next(), Some(("c", 0, 100)));
    }

    #[test]
    fn what_was_found_of_many_is_kept_in_sum() {
        let mut tally = Tally::default();
        let violation = |rule, subject| Violation {
            rule,
            subject,
            facts: 0,
        };
        for id in ["a", "b", "c"] {
            let subject = tally.subject(id);
            tally.count(violation(3, subject), 7, 0);
            if id != "b" {
                tally.count(violation(5, subject), 0, 0);
            }
        }
        tally.subject("innocent");
        assert!(tally.has("a") && !tally.has("innocent") && !tally.has("unknown"));
        tally.fold(&["a".to_owned(), "b".to_owned(), "innocent".to_owned()]);
        // Their repeats cannot be told from others of the same index.
        tally.repeated(7, 10);
        let counts: Vec<_> = tally.counts().collect();
        assert_eq!(counts, [("c", 3, 11), ("c", 5, 1)]);
        let folded: Vec<_> = tally
            .folded()
            .map(|(rules, folded)| (rules.to_vec(), folded.subjects, folded.counts.clone()))
            .collect();
        assert_eq!(folded, [(vec![3], 1, vec![1]), (vec![3, 5], 1, vec![1, 1])]);
        let mut violated = tally.violated();
        violated.iter_mut().for_each(|rules| rules.sort_unstable());
        violated.sort();
        assert_eq!(violated, [vec![3], vec![3, 5], vec![3, 5]]);
        assert!(!tally.is_empty());
    }
}
