//! Counting violations, so that the same one is told once and then counted.

use std::collections::{BTreeMap, HashMap, HashSet};

/// Different violations of one rule by one container that are told; more are only counted.
const MAX_TOLD: u32 = 16;

/// Postures whose repeats can be told apart; the repeats of more are not added.
const MAX_POSTURES: usize = 65_536;

/// A violation: which rule, which container, and a hash of what makes it differ from others of
/// the same rule and container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Violation {
    /// Index of the rule.
    pub rule: usize,
    /// Index of the container in the tally, from [`Tally::container`].
    pub container: usize,
    /// Hash of the facts that the rule judged, and of the program.
    pub facts: u64,
}

/// Counts of violations.
#[derive(Debug, Default)]
pub struct Tally {
    containers: Vec<String>,
    container_index: HashMap<String, usize>,
    seen: HashSet<Violation>,
    told: HashMap<(usize, usize), u32>,
    counts: BTreeMap<(usize, usize), u64>,
    by_posture: HashMap<u64, Vec<Violation>>,
}

impl Tally {
    /// The index of a container.
    pub fn container(&mut self, id: &str) -> usize {
        if let Some(index) = self.container_index.get(id) {
            return *index;
        }
        let index = self.containers.len();
        self.containers.push(id.to_owned());
        self.container_index.insert(id.to_owned(), index);
        index
    }

    /// Counts a violation; whether it is to be told. `posture` is the hash under which the kernel
    /// counts repeats, if it is not 0.
    pub fn count(&mut self, violation: Violation, posture: u64) -> bool {
        let key = (violation.container, violation.rule);
        *self.counts.entry(key).or_default() += 1;
        if posture != 0 && self.by_posture.len() < MAX_POSTURES {
            let violations = self.by_posture.entry(posture).or_default();
            if !violations.contains(&violation) {
                violations.push(violation);
            }
        }
        let told = self.told.entry(key).or_default();
        if *told >= MAX_TOLD || !self.seen.insert(violation) {
            return false;
        }
        *told += 1;
        true
    }

    /// Adds the `times` that the kernel saw a posture again.
    pub fn repeated(&mut self, posture: u64, times: u64) {
        for violation in self.by_posture.get(&posture).into_iter().flatten() {
            let key = (violation.container, violation.rule);
            *self.counts.entry(key).or_default() += times;
        }
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The counts: container id, rule index, how often; by container in the order of their first
    /// violation.
    pub fn counts(&self) -> impl Iterator<Item = (&str, usize, u64)> {
        self.counts.iter().map(|(&(container, rule), &count)| {
            let id = self.containers.get(container).map_or("", String::as_str);
            (id, rule, count)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_violation_is_told_once_and_counted() {
        let mut tally = Tally::default();
        let web = tally.container("web");
        let violation = |rule, facts| Violation {
            rule,
            container: web,
            facts,
        };
        assert!(tally.count(violation(3, 1), 77));
        assert!(!tally.count(violation(3, 1), 0));
        assert!(tally.count(violation(3, 2), 0));
        assert!(tally.count(violation(4, 1), 77));
        tally.repeated(77, 10);
        tally.repeated(78, 10);
        let counts: Vec<_> = tally.counts().collect();
        assert_eq!(counts, [("web", 3, 13), ("web", 4, 11)]);
    }

    #[test]
    fn a_flood_of_different_violations_is_bounded() {
        let mut tally = Tally::default();
        let container = tally.container("c");
        let told = (0..100).filter(|&facts| {
            let violation = Violation {
                rule: 0,
                container,
                facts,
            };
            tally.count(violation, 0)
        });
        assert_eq!(told.count(), MAX_TOLD as usize);
        assert!(tally.seen.len() <= MAX_TOLD as usize);
        assert_eq!(tally.counts().next(), Some(("c", 0, 100)));
    }
}
