//! Exceptions to condition text, as Falco makes it (`build_rule_exception_infos` of
//! `userspace/engine/rule_loader_compiler.cpp`).

use std::collections::BTreeMap;

use crate::rules::ast::{At, Literal};
use crate::rules::items::{Exception, Fields, Values};
use crate::rules::text::Text;

/// What is wrong with an exception: where, and what.
pub(super) type Wrong = (Text, String);

/// Adds the exceptions to a condition: `(condition) and not (...)` for each that has values.
pub(super) fn with_exceptions(condition: Text, exceptions: &[Exception]) -> Result<Text, Wrong> {
    // Those of the same name are one.
    let mut by_name: BTreeMap<&str, Vec<&Exception>> = BTreeMap::new();
    for exception in exceptions {
        by_name.entry(&exception.name).or_default().push(exception);
    }
    let mut whole = condition;
    let mut is_first = true;
    for exception in exceptions {
        let (Some(fields), Some(all)) =
            (&exception.fields, by_name.remove(exception.name.as_str()))
        else {
            continue;
        };
        let values: Vec<&(Text, Values)> = all.iter().flat_map(|e| &e.values).collect();
        let Some((first, _)) = values.first() else {
            continue;
        };
        if is_first {
            let mut text = whole.in_place("(");
            text.append(whole);
            text.append(first.in_place(")"));
            whole = text;
            is_first = false;
        }
        whole.append(first.in_place("and not ("));
        match fields {
            Fields::One { field, operator } => {
                let items: Vec<String> = values.iter().flat_map(|(_, v)| flat(v)).collect();
                let items = items.join(", ");
                whole.append(first.in_place(&format!("{field} {operator} ({items})")));
            }
            Fields::Many(fields) => {
                for (index, (place, row)) in values.iter().enumerate() {
                    if index > 0 {
                        whole.append(place.in_place("or"));
                    }
                    let text = row_text(row, fields).map_err(|why| (place.clone(), why))?;
                    whole.append(place.in_place(&format!("({text})")));
                }
            }
        }
        whole.append(first.in_place(")"));
    }
    Ok(whole)
}

/// One row of values: `proc.name = a and fd.name startswith b`.
fn row_text(row: &Values, fields: &[(String, String)]) -> Result<String, String> {
    let Values::Many(row) = row else {
        return Err(format!(
            "the values are lists of {} items: one for each of the fields",
            fields.len()
        ));
    };
    if row.len() != fields.len() {
        return Err(format!(
            "there are {} values here and {} fields",
            row.len(),
            fields.len()
        ));
    }
    let checks = row.iter().zip(fields).map(|(value, (field, operator))| {
        let is_list =
            ["in", "pmatch", "intersects"].contains(&operator.as_str()) || operator.ends_with("of");
        match (is_list, value) {
            (false, Values::Many(_)) => Err(format!("{operator} takes one value, not a list")),
            (false, Values::One(value)) => Ok(format!("{field} {operator} {}", quoted(value))),
            (true, values) => Ok(format!("{field} {operator} ({})", flat(values).join(", "))),
        }
    });
    let checks: Result<Vec<String>, String> = checks.collect();
    Ok(checks?.join(" and "))
}

/// The values, each as a condition has it.
fn flat(values: &Values) -> Vec<String> {
    match values {
        Values::One(value) => vec![quoted(value)],
        Values::Many(values) => values.iter().flat_map(flat).collect(),
    }
}

/// A value in quotes, unless it needs none or has them already.
fn quoted(value: &str) -> String {
    let has_quotes = value.len() > 1
        && (value.starts_with('"') && value.ends_with('"')
            || value.starts_with('\'') && value.ends_with('\''));
    // Parentheses are those of a list in a list.
    let is_list = value.starts_with('(') && value.ends_with(')');
    if has_quotes || is_list {
        return value.to_owned();
    }
    let literal = Literal {
        text: value.to_owned(),
        at: At::default(),
    };
    literal.to_string()
}
