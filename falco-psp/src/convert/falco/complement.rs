//! Regular expressions for what is in a set, and for what is not.
//!
//! RE2, which Falco uses, has no look-ahead. So the complement of a set is spelt out: of texts
//! character by character, of numbers range by range.

use std::collections::{BTreeMap, BTreeSet};

/// The rest of a string in JSON.
pub(super) const REST: &str = r#"([^"\\]|\\.)*"#;

/// What a set of texts holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    /// This text.
    Exact(String),
    /// Texts that begin so.
    Prefix(String),
    /// This path, and paths below it.
    Path(String),
}

impl Name {
    fn text(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Prefix(text) | Self::Path(text) => text,
        }
    }

    /// Whether the text means itself between the quotes of JSON, whoever wrote it.
    fn is_plain(&self) -> bool {
        let plain = |c: char| c.is_ascii_graphic() && !r#""\<>&"#.contains(c) || c == ' ';
        self.text().chars().all(plain)
    }
}

/// Expressions for the content of a string in JSON that is one of these, of which one has to fit.
///
/// `None`: one of them can be written in more than one way in JSON.
pub(super) fn inside(names: &[Name]) -> Option<Vec<String>> {
    let expression = |name: &Name| {
        let text = name.is_plain().then(|| escaped(name.text()))?;
        Some(match name {
            Name::Exact(_) => text,
            Name::Prefix(_) => text + REST,
            Name::Path(_) => format!("{text}(/{REST})?"),
        })
    };
    let texts: Option<BTreeSet<String>> = names.iter().map(expression).collect();
    Some(texts?.into_iter().collect())
}

/// Expressions for the content of a string in JSON that is none of these, of which one has to fit.
///
/// `None`: one of them can be written in more than one way in JSON.
pub(super) fn outside(names: &[Name]) -> Option<Vec<String>> {
    let mut tree = Tree::default();
    for name in names {
        if !name.is_plain() {
            return None;
        }
        tree.insert(name);
    }
    let mut expressions = Vec::new();
    tree.complement("", &mut expressions);
    Some(expressions)
}

/// The texts of a set, letter by letter.
#[derive(Default)]
struct Tree {
    next: BTreeMap<char, Tree>,
    /// A text ends here.
    ends: bool,
    /// Whatever follows is in the set.
    open: bool,
    /// Whatever follows a slash is in the set.
    path: bool,
}

impl Tree {
    fn insert(&mut self, name: &Name) {
        let mut node = self;
        for c in name.text().chars() {
            node = node.next.entry(c).or_default();
        }
        match name {
            Name::Exact(_) => node.ends = true,
            Name::Prefix(_) => node.open = true,
            Name::Path(_) => (node.ends, node.path) = (true, true),
        }
    }

    /// What is not in the set, of the texts that begin with `before`: an expression for each
    /// letter at which a text may leave the set.
    fn complement(&self, before: &str, expressions: &mut Vec<String>) {
        if self.open {
            return;
        }
        let mut known: String = self.next.keys().filter(|c| **c != '/').collect();
        if self.path || self.next.contains_key(&'/') {
            known.push('/');
        }
        let other = format!(r#"([^"\\{}]|\\.){REST}"#, in_class(&known));
        expressions.push(match self.ends {
            true => format!("{before}{other}"),
            false => format!("{before}({other})?"),
        });
        for (c, tree) in &self.next {
            if self.path && *c == '/' {
                continue;
            }
            tree.complement(&(before.to_owned() + &escaped(&c.to_string())), expressions);
        }
    }
}

/// The text as an expression for itself.
pub(super) fn escaped(text: &str) -> String {
    let mut expression = String::new();
    for c in text.chars() {
        match c {
            c if c.is_ascii_alphanumeric() || " _-/:,=@%~\"'<>&;!#".contains(c) => {
                expression.push(c);
            }
            // A class of its own needs no backslash, which Falco's strings would need twice.
            '^' | '\\' | '[' | ']' => expression.extend(['\\', c]),
            c => expression.extend(['[', c, ']']),
        }
    }
    expression
}

fn in_class(characters: &str) -> String {
    let special = |c: char| r"\]^-[&~".contains(c);
    let mut class = String::new();
    for c in characters.chars() {
        if special(c) {
            class.push('\\');
        }
        class.push(c);
    }
    class
}

/// Expressions for a number that is in one of the ranges, which have a minimum and a maximum each.
pub(super) fn number_inside(ranges: &[(i64, i64)]) -> Vec<String> {
    let mut parts = Vec::new();
    for (min, max) in merged(ranges) {
        of_range(min, max, &mut parts);
    }
    parts
}

/// Expressions for a number that is in none of the ranges. Negative numbers are in none.
pub(super) fn number_outside(ranges: &[(i64, i64)]) -> Vec<String> {
    let mut parts = vec!["-[0-9]+".to_owned()];
    let mut from = 0;
    for (min, max) in merged(ranges) {
        if min > from {
            of_range(from, min - 1, &mut parts);
        }
        from = max.saturating_add(1);
    }
    // All numbers with as many digits, then all with more.
    let digits = from.to_string().len();
    let end = u32::try_from(digits)
        .ok()
        .and_then(|d| 10_u64.checked_pow(d));
    of_range(from, end.map_or(u64::MAX, |end| end - 1), &mut parts);
    parts.push(format!("[1-9][0-9]{{{digits},}}"));
    parts
}

/// The ranges without overlaps, in their order, as far as they are not negative.
fn merged(ranges: &[(i64, i64)]) -> Vec<(u64, u64)> {
    let positive = ranges.iter().filter_map(|(min, max)| {
        let max = u64::try_from(*max).ok()?;
        Some((u64::try_from(*min).unwrap_or(0), max))
    });
    let mut sorted: Vec<(u64, u64)> = positive.collect();
    sorted.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (min, max) in sorted {
        match merged.last_mut() {
            Some((_, last)) if min <= last.saturating_add(1) => *last = max.max(*last),
            _ => merged.push((min, max)),
        }
    }
    merged
}

/// Expressions for the numbers from `min` to `max`, without zeros in front.
fn of_range(min: u64, max: u64, parts: &mut Vec<String>) {
    let mut min = min;
    while min <= max {
        // The longest row of numbers that begins here, in which the last digits run freely.
        let mut free = 0;
        let mut size: u64 = 1;
        while let Some(next) = size.checked_mul(10)
            && min.is_multiple_of(next)
            && min / next > 0
            && min.checked_add(next - 1).is_some_and(|end| end <= max)
        {
            (size, free) = (next, free + 1);
        }
        // The same with the digit before them.
        let digit = min / size % 10;
        let room = (max - min) / size;
        let last = digit + room.min(9 - digit);
        // `room` counts whole steps whose free digits do not reach their end at the last one.
        let last = match min.checked_add((last - digit + 1).saturating_mul(size) - 1) {
            Some(end) if end <= max => last,
            _ => last.saturating_sub(u64::from(last > digit)),
        };
        let head = match min / size / 10 {
            0 => String::new(),
            head => head.to_string(),
        };
        let tail = match free {
            0 => String::new(),
            1 => "[0-9]".to_owned(),
            free => format!("[0-9]{{{free}}}"),
        };
        parts.push(match digit == last {
            true => format!("{head}{digit}{tail}"),
            false => format!("{head}[{digit}-{last}]{tail}"),
        });
        match min.checked_add((last - digit + 1).saturating_mul(size)) {
            Some(next) => min = next,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    fn some_fits(expressions: &[String], text: &str) -> bool {
        let mut all = expressions.iter();
        all.any(|expression| {
            let whole = Regex::new(&format!(r"\A(?:{expression})\z")).unwrap();
            whole.is_match(text)
        })
    }

    fn name() -> impl Strategy<Value = Name> {
        let text = "[a-c/.*^ -]{0,4}";
        prop_oneof![
            text.prop_map(Name::Exact),
            text.prop_map(Name::Prefix),
            "(/[a-c]{1,2}){0,3}".prop_map(Name::Path),
        ]
    }

    fn holds(name: &Name, text: &str) -> bool {
        match name {
            Name::Exact(name) => text == name,
            Name::Prefix(prefix) => text.starts_with(prefix),
            Name::Path(path) => text
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        }
    }

    proptest! {
        #[test]
        fn texts(names in prop::collection::vec(name(), 0..5), text in "[a-d/.*^ -]{0,6}") {
            let is_inside = names.iter().any(|name| holds(name, &text));
            let (inside, outside) = (inside(&names).unwrap(), outside(&names).unwrap());
            prop_assert_eq!(some_fits(&inside, &text), is_inside, "{:?}", inside);
            prop_assert_eq!(some_fits(&outside, &text), !is_inside, "{:?}", outside);
        }

        #[test]
        fn numbers(
            ranges in prop::collection::vec((0_i64..3000, 0_i64..2000), 0..4),
            number in 0_i64..6000,
            wide in any::<bool>(),
        ) {
            let factor = if wide { 1_000_003 } else { 1 };
            let ranges: Vec<_> = ranges
                .into_iter()
                .map(|(min, size)| (min * factor, (min + size) * factor))
                .collect();
            for number in [number, number * factor, number * factor + 1] {
                let is_inside = ranges.iter().any(|(min, max)| (*min..=*max).contains(&number));
                let text = number.to_string();
                let (inside, outside) = (number_inside(&ranges), number_outside(&ranges));
                prop_assert_eq!(some_fits(&inside, &text), is_inside, "{:?}", inside);
                prop_assert_eq!(some_fits(&outside, &text), !is_inside, "{:?}", outside);
            }
        }
    }

    #[test]
    fn ranges_are_short() {
        assert_eq!(number_inside(&[(30, 40)]), ["3[0-9]", "40"]);
        assert_eq!(
            number_inside(&[(0, 99), (100, 65535)]).len(),
            number_inside(&[(0, 65535)]).len()
        );
        assert_eq!(
            number_outside(&[(1, 65535)]).join("|"),
            "-[0-9]+|0|6553[6-9]|655[4-9][0-9]|65[6-9][0-9]{2}|6[6-9][0-9]{3}|[7-9][0-9]{4}|[1-9][0-9]{5,}"
        );
        assert!(some_fits(&number_outside(&[]), "9223372036854775807"));
    }

    #[test]
    fn what_json_can_write_in_two_ways_is_refused() {
        for text in ["a\"", "a\\", "a\u{e9}", "<", "a\n"] {
            assert_eq!(outside(&[Name::Exact(text.to_owned())]), None);
            assert_eq!(inside(&[Name::Exact(text.to_owned())]), None);
        }
    }
}
