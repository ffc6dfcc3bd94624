//! `getopt()`: the short options in a list of arguments, as getopt(3) finds them.
//!
//! As libs `userspace/libsinsp/sinsp_filtercheck_multivalue_transformer.cpp`: it ends at `--` and at
//! the first argument that is no option, and passes over long options.

/// The options that a program knows: letters, with a colon after each that has a value.
struct Known<'a>(&'a str);

impl Known<'_> {
    /// Whether the option has a value; `None` if there is no such option.
    fn has_value(&self, option: char) -> Option<bool> {
        let after = |at: usize| self.0.get(at + option.len_utf8()..);
        let at = self.0.find(option).filter(|_| option != ':')?;
        Some(after(at).is_some_and(|rest| rest.starts_with(':')))
    }
}

/// Gives each option, followed by its value if it has one; `?` for one that is not known, and an
/// empty text for one whose value is missing. With `only` that option's value or, without one, its
/// letter; the last if it is there several times.
pub(super) fn getopt(
    arguments: &[&str],
    known: &str,
    only: Option<char>,
    give: &mut dyn FnMut(&str),
) {
    let known = Known(known);
    let mut last = None;
    let mut found = |option: &str, value: Option<&str>| match only {
        Some(only) if option.starts_with(only) => last = Some(value.unwrap_or(option).to_owned()),
        Some(_) => {}
        // A missing value is told without its option.
        None if value == Some("") => give(""),
        None => {
            give(option);
            value.into_iter().for_each(&mut *give);
        }
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let Some(cluster) = argument.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
            break;
        };
        if cluster == "-" {
            break;
        }
        if cluster.starts_with('-') {
            continue;
        }
        for (at, option) in cluster.char_indices() {
            let end = at + option.len_utf8();
            let letter = cluster.get(at..end).unwrap_or_default();
            match known.has_value(option) {
                None => {
                    if only.is_none() {
                        found("?", None);
                    }
                }
                Some(false) => found(letter, None),
                Some(true) => {
                    let attached = cluster.get(end..).filter(|rest| !rest.is_empty());
                    let value = attached.or_else(|| arguments.next().copied());
                    found(letter, Some(value.unwrap_or_default()));
                    break;
                }
            }
        }
    }
    if let Some(last) = last {
        give(&last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &str, known: &str, only: Option<char>) -> Vec<String> {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let mut found = Vec::new();
        getopt(&arguments, known, only, &mut |text| {
            found.push(text.to_owned())
        });
        found
    }

    #[test]
    fn as_a_program_reads_its_options() {
        for (arguments, known, expected) in [
            ("-n -t 5 file", "nt:", &["n", "t", "5"][..]),
            ("-nt5 -n", "nt:", &["n", "t", "5", "n"]),
            ("-x -n", "n", &["?", "n"]),
            ("-n -- -t", "nt", &["n"]),
            ("--exec -n", "n", &["n"]),
            ("file -n", "n", &[]),
            ("- -n", "n", &[]),
            ("-n -t", "nt:", &["n", ""]),
            ("-n -t", ":nt:", &["n", ""]),
            ("-é5", "é:", &["é", "5"]),
            ("", "n", &[]),
        ] {
            assert_eq!(options(arguments, known, None), expected, "{arguments}");
        }
    }

    #[test]
    fn one_option_alone() {
        for (arguments, only, expected) in [
            ("-n -t 5 -t 6", 't', &["6"][..]),
            ("-nt5", 'n', &["n"]),
            ("-x -n", 't', &[]),
            ("-x", 'x', &[]),
            ("-n -t", 't', &[""]),
        ] {
            assert_eq!(
                options(arguments, "nt:", Some(only)),
                expected,
                "{arguments}"
            );
        }
    }
}
