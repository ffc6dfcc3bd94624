//! An alert: one rule that matched one event, as text or as JSON with Falco's keys.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::event::Event;
use crate::rules::Rule;

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
                serde_json::to_string(&json).unwrap_or_default()
            }
        }
    }

    fn text(&self, zone: &TimeZone) -> String {
        let time = self.timestamp().to_zoned_datetime(zone.clone());
        let time = time.strftime("%H:%M:%S.%9f");
        format!("{time}: {} {}", self.priority, self.output)
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp::from_nanosecond(self.time_ns.into()).unwrap_or_default()
    }
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
