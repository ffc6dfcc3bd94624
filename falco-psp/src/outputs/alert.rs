//! An alert: one rule that matched one event, as text or as JSON with Falco's keys.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::event::Event;
use crate::rules::{Rule, escape, is_unsafe};

/// One rule that matched one event.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// When the event happened: nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// The rule's name.
    pub rule: String,
    /// Falco's word for the rule's priority.
    pub priority: &'static str,
    /// The rule's output with its fields filled in; safe to print.
    pub output: String,
    /// The fields of the output.
    pub output_fields: Map<String, Value>,
    /// Source of the event: `syscall`, `k8s_audit`.
    pub source: &'static str,
    /// The rule's tags, sorted.
    pub tags: Vec<String>,
}

/// How alerts are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `12:00:01.123456789: Warning <output>`, in local time.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How and where alerts are written.
#[derive(Clone, Debug)]
pub struct Style {
    /// Text or JSON.
    pub format: Format,
    /// This machine's name.
    pub hostname: String,
    /// The time zone of text.
    pub zone: TimeZone,
}

impl Style {
    /// As `format`, on this machine.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            hostname: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            zone: TimeZone::system(),
        }
    }
}

/// An alert with Falco's keys, in Falco's order.
#[derive(Serialize)]
struct Json<'a> {
    hostname: &'a str,
    output: String,
    output_fields: &'a Map<String, Value>,
    priority: &'a str,
    rule: &'a str,
    source: &'a str,
    tags: &'a [String],
    time: String,
}

impl Alert {
    /// The alert of a rule that matches `event`.
    pub fn of(rule: &Rule, event: &Event) -> Self {
        Self {
            time_ns: event.time_ns(),
            rule: rule.name.clone(),
            priority: rule.priority.word(),
            output: rule.output.render(event),
            output_fields: rule.output.fields(event),
            source: rule.source.name(),
            tags: rule.tags.iter().cloned().collect(),
        }
    }

    /// The alert as one line, without its end.
    pub fn line(&self, style: &Style) -> String {
        let zone = &style.zone;
        match style.format {
            Format::Text => self.text(zone),
            Format::Json => {
                let json = Json {
                    hostname: &style.hostname,
                    output: self.text(zone),
                    output_fields: &self.output_fields,
                    priority: self.priority,
                    rule: &self.rule,
                    source: self.source,
                    tags: &self.tags,
                    time: self
                        .timestamp()
                        .strftime("%Y-%m-%dT%H:%M:%S.%9fZ")
                        .to_string(),
                };
                // Maps with text keys and numbers without NaN: cannot fail.
                escape_json(serde_json::to_string(&json).unwrap_or_default())
            }
        }
    }

    fn text(&self, zone: &TimeZone) -> String {
        let time = self.timestamp().to_zoned_datetime(zone.clone());
        let time = time.strftime("%H:%M:%S.%9f");
        // A rule's own text may have several lines; an alert is one.
        format!("{time}: {} {}", self.priority, escape(&self.output))
    }

    /// When the event happened.
    pub(super) fn timestamp(&self) -> Timestamp {
        Timestamp::from_nanosecond(self.time_ns.into()).unwrap_or_default()
    }
}

/// JSON escapes the controls of ASCII only. What else a terminal or a reader of lines may take for
/// something else than text is escaped as well, which leaves the values the same.
fn escape_json(json: String) -> String {
    if !json.contains(is_unsafe) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        match is_unsafe(c) {
            // All of them are below U+FFFF. Writing to a String cannot fail.
            true => drop(write!(escaped, "\\u{:04x}", u32::from(c))),
            false => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert() -> Alert {
        Alert {
            time_ns: 1_700_000_000_123_456_789,
            rule: "PSP p Violation (privileged) System Activity".to_owned(),
            priority: "Warning",
            output: "PSP p Violation (privileged) privileged container".to_owned(),
            output_fields: Map::from_iter([("proc.pid".to_owned(), Value::from(7))]),
            source: "syscall",
            tags: vec!["k8s-psp".to_owned(), "privileged".to_owned()],
        }
    }

    fn style(format: Format) -> Style {
        Style {
            format,
            hostname: "node".to_owned(),
            zone: TimeZone::UTC,
        }
    }

    #[test]
    fn text_is_falcos() {
        assert_eq!(
            alert().line(&style(Format::Text)),
            "22:13:20.123456789: Warning PSP p Violation (privileged) privileged container"
        );
    }

    #[test]
    fn neither_text_nor_json_has_anything_but_text() {
        let forged = "a\u{7f}\u{9b}31m\u{2028}b\u{202e}c\u{2066}";
        let mut alert = alert();
        alert.output = format!("{forged}\nd");
        alert.output_fields = Map::from_iter([("proc.name".to_owned(), Value::from(forged))]);
        for format in [Format::Text, Format::Json] {
            let line = alert.line(&style(format));
            assert!(!line.contains(is_unsafe), "{line:?}");
        }
        let json: Value = serde_json::from_str(&alert.line(&style(Format::Json))).unwrap();
        assert_eq!(json["output_fields"]["proc.name"], forged);
    }

    #[test]
    fn json_has_falcos_keys_in_order() {
        assert_eq!(
            alert().line(&style(Format::Json)),
            "{\"hostname\":\"node\",\
             \"output\":\"22:13:20.123456789: Warning PSP p Violation (privileged) privileged container\",\
             \"output_fields\":{\"proc.pid\":7},\"priority\":\"Warning\",\
             \"rule\":\"PSP p Violation (privileged) System Activity\",\"source\":\"syscall\",\
             \"tags\":[\"k8s-psp\",\"privileged\"],\"time\":\"2023-11-14T22:13:20.123456789Z\"}"
        );
    }
}
