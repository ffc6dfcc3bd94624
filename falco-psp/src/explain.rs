//! `falco-psp explain`: why rules fire for an event, or do not.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::diagnostic::nearest;
use crate::event::{Event, ToldEvent};
use crate::input;
use crate::rules::{Part, Rule, RuleSet, Source, escape};
use crate::sources::k8s_audit::decode::{decode, decode_request};
use crate::sources::k8s_audit::triage::Reason;

/// The longest value that is shown whole, in characters.
const WIDEST: usize = 120;

/// Why there is nothing to explain.
#[derive(Debug, Error)]
pub enum ExplainError {
    /// The event cannot be read.
    #[error("cannot read {}: {why}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// The file is no event.
    #[error(
        "{} is no event: {why}; give one Kubernetes audit event (audit.k8s.io/v1) or one alert of \
         falco-psp --json or of Falco, as JSON", .path.display()
    )]
    NoEvent {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// No rule has the name.
    #[error("there is no rule \"{name}\"{}", .near.as_ref().map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default())]
    NoRule {
        /// The name.
        name: String,
        /// The nearest one.
        near: Option<String>,
    },
}

/// An event, and what policies would make of it.
#[derive(Debug)]
pub struct Given {
    /// The event.
    pub event: Event,
    /// Why no policy would judge it, if so.
    pub skipped: Option<Reason>,
}

/// The alert's keys that matter.
#[derive(Deserialize)]
struct Alert {
    source: String,
    #[serde(default)]
    time: String,
    output_fields: Map<String, Value>,
}

/// Reads an event: a Kubernetes audit event, or an alert with the fields of one. `-` is standard
/// input.
///
/// # Errors
/// The file cannot be read, or is neither.
pub fn read(path: &Path) -> Result<Given, ExplainError> {
    let text = match path.to_str() {
        Some("-") => input::read_stdin(),
        _ => input::read(path),
    };
    let text = text.map_err(|why| ExplainError::Read {
        path: path.to_path_buf(),
        why,
    })?;
    event(text.into()).map_err(|why| ExplainError::NoEvent {
        path: path.to_path_buf(),
        why,
    })
}

fn event(text: Bytes) -> Result<Given, String> {
    let value: Value = serde_json::from_slice(&text).map_err(|error| match error.classify() {
        // `serde_json` says "trailing characters", which tells a user nothing.
        serde_json::error::Category::Syntax if is_first_of_several(&text) => {
            "it has more than one line of JSON".to_owned()
        }
        _ => error.to_string(),
    })?;
    if value.get("output_fields").is_some() {
        let alert: Alert = serde_json::from_value(value).map_err(|error| error.to_string())?;
        let source = Source::parse(&alert.source);
        let source = source.ok_or_else(|| format!("its source is \"{}\"", alert.source))?;
        let time = alert.time.parse::<Timestamp>().ok();
        let time = time.map(|time| time.as_nanosecond());
        return Ok(Given {
            event: Event::from(ToldEvent {
                source,
                time_ns: time.and_then(|time| time.try_into().ok()).unwrap_or(0),
                fields: alert.output_fields,
            }),
            skipped: None,
        });
    }
    match decode(text.clone(), 1) {
        Ok(event) => Ok(Given {
            event: event.into(),
            skipped: None,
        }),
        Err(Reason::Malformed(why)) => Err(why),
        Err(reason) => Ok(Given {
            event: decode_request(text, 1)?.into(),
            skipped: Some(reason),
        }),
    }
}

fn is_first_of_several(text: &[u8]) -> bool {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<Value>();
    values.next().is_some_and(|first| first.is_ok()) && values.next().is_some_and(|v| v.is_ok())
}

/// Why the rules of the event's source fire for it, or do not; with a name only that rule.
///
/// # Errors
/// No rule has the name.
pub fn explain(rules: &RuleSet, given: &Given, name: Option<&str>) -> Result<String, ExplainError> {
    let named = |rule: &&Rule| name.is_none_or(|name| rule.name == name);
    let chosen: Vec<&Rule> = rules.rules().iter().filter(named).collect();
    if let (Some(name), []) = (name, chosen.as_slice()) {
        let names = rules.rules().iter().map(|rule| rule.name.as_str());
        return Err(ExplainError::NoRule {
            name: name.to_owned(),
            near: nearest(name, names).map(str::to_owned),
        });
    }
    let source = given.event.source();
    let mut text = String::new();
    // Writing to a String does not fail.
    if let Some(reason) = &given.skipped {
        let _ = writeln!(
            text,
            "a policy does not judge this event: {}",
            reason.words()
        );
    }
    if let Event::Told(_) = given.event {
        let _ = writeln!(text, "of this event only the fields of the alert are known");
    }
    for rule in chosen {
        let rule_name = escape(&rule.name);
        if rule.source != source {
            if name.is_some() {
                let of = rule.source;
                let _ = writeln!(
                    text,
                    "rule \"{rule_name}\" does not fire: it is about events of {of}, and this is \
                     one of {source}"
                );
            }
            continue;
        }
        let parts = rule.explain(&given.event);
        let holds = parts.first().and_then(|part| part.holds);
        let fires = holds == Some(true);
        let verdict = match holds {
            Some(true) => "fires",
            Some(false) => "does not fire",
            None => "may fire: the alert lacks fields that it asks for",
        };
        let _ = writeln!(text, "rule \"{rule_name}\" {verdict}");
        if fires {
            let output = rule.output.render(&given.event);
            let _ = writeln!(text, "  {}: {output}", rule.priority);
        }
        // One of many: what made the condition false is enough.
        let shown = match fires || name.is_some() {
            true => &parts,
            false => decisive(&parts, holds),
        };
        let base = shown.first().map_or(0, |part| part.depth);
        for part in shown {
            let indent = "  ".repeat(part.depth - base);
            let values = part.values.iter().map(|(field, values)| {
                let values = match values.as_slice() {
                    [] if part.holds.is_none() => "not in the alert".to_owned(),
                    [] => "no value".to_owned(),
                    values => truncated(&values.join(", ")),
                };
                match part.values.len() {
                    1 => values,
                    _ => format!("{field}: {values}"),
                }
            });
            let values: Vec<String> = values.collect();
            let asked = truncated(&part.text);
            let values = match values.is_empty() {
                true => String::new(),
                false => format!(" [{}]", values.join("; ")),
            };
            let holds = match part.holds {
                Some(true) => "true",
                Some(false) => "false",
                None => "?",
            };
            let _ = writeln!(text, "  {holds:<5} {indent}{asked}{values}");
        }
    }
    Ok(text)
}

/// The part that made a condition not true, with its own parts: of a conjunction the first that
/// is as the whole is.
fn decisive(parts: &[Part], holds: Option<bool>) -> &[Part] {
    let Some((whole, rest)) = parts.split_first() else {
        return parts;
    };
    let is_child = |part: &Part| part.depth == whole.depth + 1;
    let is_culprit = |part: &Part| is_child(part) && part.holds == holds;
    match rest.iter().position(is_culprit) {
        Some(at) if whole.text == "and" => {
            let culprit = rest.get(at..).unwrap_or_default();
            let others = culprit.iter().skip(1);
            let length = 1 + others.take_while(|part| !is_child(part)).count();
            decisive(culprit.get(..length).unwrap_or(culprit), holds)
        }
        _ => parts,
    }
}

/// Safe to print, and short enough.
fn truncated(text: &str) -> String {
    let mut shown: String = text.chars().take(WIDEST).collect();
    if shown.len() < text.len() {
        shown.push_str(" ...");
    }
    escape(&shown).into_owned()
}
