//! A strict reader of Prometheus' text format 0.0.4, written from its specification.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says best where it failed"
)]

use std::collections::{BTreeMap, HashSet};

/// The series of an exposition: name with labels as written, and value.
pub(crate) fn parse(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'), "the last line has to end");
    let mut series = BTreeMap::new();
    let mut families = HashSet::new();
    let (mut family, mut kind, mut help) = (String::new(), String::new(), String::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').expect("a help text").0.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, of_kind) = rest.split_once(' ').expect("a type");
            assert!(families.insert(name.to_owned()), "{name} is here twice");
            assert_eq!(help, name, "HELP and TYPE are of one family");
            assert!(["counter", "gauge"].contains(&of_kind), "{line}");
            (family, kind) = (name.to_owned(), of_kind.to_owned());
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
        } else {
            let (key, value) = sample(line);
            let name = key.split('{').next().unwrap();
            assert_eq!(name, family, "a sample outside of its family");
            let value: f64 = value
                .parse()
                .unwrap_or_else(|_| panic!("no number: {line}"));
            assert!(kind != "counter" || value >= 0.0, "{line}");
            assert!(
                series.insert(key.to_owned(), value).is_none(),
                "twice: {line}"
            );
        }
    }
    series
}

/// A line cut into the series and its value.
fn sample(line: &str) -> (&str, &str) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let end = line.find(|c| !is_name(c)).expect("a value");
    assert!(
        end > 0 && !line.starts_with(|c: char| c.is_ascii_digit()),
        "{line}"
    );
    let mut rest = &line[end..];
    if let Some(labels) = rest.strip_prefix('{') {
        rest = labels;
        let mut names = HashSet::new();
        loop {
            let (name, value) = rest.split_once("=\"").expect("a label");
            assert!(
                !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            );
            assert!(names.insert(name), "label twice: {line}");
            let mut escaped = false;
            let end = value.find(|c| {
                let ends = c == '"' && !escaped;
                assert!(!escaped || ['\\', '"', 'n'].contains(&c), "{line}");
                escaped = c == '\\' && !escaped;
                ends
            });
            rest = &value[end.expect("the label ends") + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').expect("the labels end");
    }
    let value = rest.strip_prefix(' ').expect("a blank");
    (&line[..line.len() - rest.len()], value)
}
