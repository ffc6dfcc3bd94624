//! What the right side of a comparison is made into: sets of numbers, path prefixes.

use super::glob::{Glob, is_glob};

/// A set of whole numbers, given as ranges in any order, which may overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct IntSet {
    /// Minimum and maximum, in order, none touching the next.
    ranges: Box<[(i64, i64)]>,
}

impl FromIterator<(i64, i64)> for IntSet {
    /// From ranges: minimum and maximum, both inside.
    fn from_iter<T: IntoIterator<Item = (i64, i64)>>(ranges: T) -> Self {
        let mut sorted: Vec<(i64, i64)> = ranges.into_iter().collect();
        sorted.sort_unstable();
        let mut merged: Vec<(i64, i64)> = Vec::new();
        for (min, max) in sorted {
            match merged.last_mut() {
                Some((_, last)) if min <= last.saturating_add(1) => *last = max.max(*last),
                _ => merged.push((min, max)),
            }
        }
        Self {
            ranges: merged.into(),
        }
    }
}

impl IntSet {
    /// Whether the number is in the set.
    pub(super) fn contains(&self, number: i64) -> bool {
        let after = self.ranges.partition_point(|(min, _)| *min <= number);
        after > 0 && number <= self.ranges[after - 1].1
    }
}

/// A set of path prefixes, compared component by component: `/foo` is a prefix of `/foo` and
/// `/foo/bar`, not of `/foobar`. Slashes at the end and double ones count for nothing, and so
/// does one at the begin. A component may be a shell pattern.
///
/// As libs `userspace/libsinsp/prefix_search.h`.
#[derive(Clone, Debug, Default)]
pub(super) struct PathPrefixes {
    prefixes: Box<[Box<[Component]>]>,
}

#[derive(Clone, Debug)]
enum Component {
    Text(Box<str>),
    Pattern(Glob),
}

impl PathPrefixes {
    /// From these prefixes.
    ///
    /// # Errors
    /// The number of the first one with a bad pattern, and what is wrong with it.
    pub(super) fn new<'a>(
        prefixes: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, (usize, &'static str)> {
        let component = |text: &str| {
            Ok(if is_glob(text) {
                Component::Pattern(Glob::new(text, false)?)
            } else {
                Component::Text(text.into())
            })
        };
        let prefixes = prefixes.into_iter().enumerate().map(|(i, prefix)| {
            let all: Result<_, &str> = components(prefix).map(component).collect();
            all.map_err(|message| (i, message))
        });
        Ok(Self {
            prefixes: prefixes.collect::<Result<_, _>>()?,
        })
    }

    /// Whether one of the prefixes is a prefix of `path`.
    pub(super) fn matches(&self, path: &str) -> bool {
        self.prefixes.iter().any(|prefix| {
            let mut path = components(path);
            prefix.iter().all(|component| match component {
                Component::Text(text) => path.next() == Some(text),
                Component::Pattern(glob) => path.next().is_some_and(|c| glob.matches(c)),
            })
        })
    }
}

fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|component| !component.is_empty())
}
