//! One whole body: an Event, an array of Events, or an EventList. Is it one, and where are its
//! events?
//!
//! The whole of the JSON is checked, but nothing is built of it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use thiserror::Error;

use super::batch::Span;

/// Events that one body may hold. The API server sends 400 at most, unless told otherwise.
pub const MAX_EVENTS: usize = 1 << 17;

/// Why a body is refused.
#[derive(Debug, Error)]
pub enum BodyError {
    /// There is nothing in it.
    #[error("the body is empty")]
    Empty,
    /// It is no JSON, or the JSON is not of audit events.
    #[error("not a body of audit events: {0}")]
    Json(#[from] serde_json::Error),
}

/// Finds the events of a body; [`Span::number`] counts them from 1.
///
/// # Errors
/// The body is no well-formed JSON, or neither an Event, nor an array of Events, nor an
/// EventList. The events themselves may still lack what makes them useful.
pub fn split(body: &[u8]) -> Result<Vec<Span>, BodyError> {
    let start = body.iter().position(|byte| !byte.is_ascii_whitespace());
    let Some(start) = start else {
        return Err(BodyError::Empty);
    };
    let mut json = serde_json::Deserializer::from_slice(body);
    let found = match body.get(start) {
        Some(b'[') => Some(Events { body }.deserialize(&mut json)?),
        _ => Top { body }.deserialize(&mut json)?,
    };
    json.end()?;
    Ok(found.unwrap_or_else(|| {
        let space = body
            .iter()
            .rev()
            .position(|byte| !byte.is_ascii_whitespace());
        vec![Span {
            start,
            end: body.len() - space.unwrap_or(0),
            number: 1,
        }]
    }))
}

/// An array of events.
#[derive(Clone, Copy)]
struct Events<'a> {
    body: &'a [u8],
}

impl<'de> DeserializeSeed<'de> for Events<'_> {
    type Value = Vec<Span>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Events<'_> {
    type Value = Vec<Span>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of audit events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut spans = Vec::new();
        while let Some(raw) = array.next_element::<&RawValue>()? {
            let number = spans.len() + 1;
            let text = raw.get();
            if !text.starts_with('{') {
                return Err(de::Error::custom(format_args!(
                    "event {number} is no JSON object"
                )));
            }
            if number > MAX_EVENTS {
                return Err(de::Error::custom(format_args!(
                    "more than {MAX_EVENTS} events in one body"
                )));
            }
            let start = text.as_ptr().addr() - self.body.as_ptr().addr();
            spans.push(Span {
                start,
                end: start + text.len(),
                number: number as u64,
            });
        }
        Ok(spans)
    }

    // `"items": null` is what an empty list is to Go.
    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Key {
    Kind,
    ApiVersion,
    Items,
    Stage,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The outermost object: a list's events, or `None` for a single event.
struct Top<'a> {
    body: &'a [u8],
}

impl<'de> DeserializeSeed<'de> for Top<'_> {
    type Value = Option<Vec<Span>>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = Option<Vec<Span>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an Event, an array of Events or an EventList")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut items, mut stage) = (None, false);
        let (mut kind, mut version) = (None, None);
        while let Some(key) = map.next_key()? {
            match key {
                Key::Kind => kind = map.next_value::<Option<Text<'_>>>()?,
                Key::ApiVersion => version = map.next_value::<Option<Text<'_>>>()?,
                Key::Items => items = Some(map.next_value_seed(ItemsOf(self.body))?),
                Key::Stage => {
                    stage = true;
                    map.next_value::<IgnoredAny>()?;
                }
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let version = version.as_ref().map(|Text(version)| &**version);
        if let Some(version) = version
            && !is_audit(version)
        {
            return Err(de::Error::custom(format_args!(
                "apiVersion is {version:?}, not audit.k8s.io/v1"
            )));
        }
        let kind = kind.as_ref().map(|Text(kind)| &**kind);
        match (kind, &items) {
            (None | Some("EventList"), Some(_)) => Ok(items),
            (None | Some("Event"), None) if stage => Ok(None),
            (Some("EventList"), None) => Err(de::Error::missing_field("items")),
            (None | Some("Event"), None) => Err(de::Error::missing_field("stage")),
            (Some(kind), _) => Err(de::Error::custom(format_args!(
                "kind is {kind:?}, not Event or EventList"
            ))),
        }
    }
}

struct ItemsOf<'a>(&'a [u8]);

impl<'de> DeserializeSeed<'de> for ItemsOf<'_> {
    type Value = Vec<Span>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        // Not `deserialize_seq`: null is a list, too.
        json.deserialize_any(Events { body: self.0 })
    }
}

/// Whether an apiVersion is one of audit events.
pub(super) fn is_audit(version: &str) -> bool {
    version.starts_with("audit.k8s.io/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(body: &str) -> Result<Vec<&str>, String> {
        let spans = split(body.as_bytes()).map_err(|error| error.to_string())?;
        let numbers: Vec<u64> = spans.iter().map(|span| span.number).collect();
        assert_eq!(numbers, (1..=spans.len() as u64).collect::<Vec<_>>());
        Ok(spans
            .iter()
            .map(|span| &body[span.start..span.end])
            .collect())
    }

    #[test]
    fn every_form_of_a_body() {
        let event = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","stage":"X"}"#;
        assert_eq!(texts(event), Ok(vec![event]));
        assert_eq!(texts(&format!("\n {event}\r\n")), Ok(vec![event]));
        assert_eq!(texts(r#"{"stage":1}"#), Ok(vec![r#"{"stage":1}"#]));
        assert_eq!(
            texts(r#" [{"a":1} , {"b":[]}] "#),
            Ok(vec![r#"{"a":1}"#, r#"{"b":[]}"#])
        );
        let list = r#"{"items":[{"a":1},{"b":2}],"metadata":{},"kind":"EventList"}"#;
        assert_eq!(texts(list), Ok(vec![r#"{"a":1}"#, r#"{"b":2}"#]));
        assert_eq!(texts("[]"), Ok(vec![]));
        assert_eq!(texts(r#"{"kind":"EventList","items":null}"#), Ok(vec![]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (body, reason) in [
            ("", "the body is empty"),
            (" \n", "the body is empty"),
            ("hello", "expected value at line 1 column 1"),
            (
                "7",
                "expected an Event, an array of Events or an EventList at line 1 column 1",
            ),
            ("[{}", "EOF while parsing a list at line 1 column 3"),
            ("[{},\n{\"a\":}]", "expected value at line 2 column 6"),
            ("[1]", "event 1 is no JSON object"),
            ("[{}] x", "trailing characters at line 1 column 6"),
            ("{}", "missing field `stage`"),
            (r#"{"kind":"EventList"}"#, "missing field `items`"),
            (
                r#"{"kind":"Pod","apiVersion":"v1"}"#,
                "apiVersion is \"v1\", not audit.k8s.io/v1",
            ),
            (
                r#"{"kind":"Pod"}"#,
                "kind is \"Pod\", not Event or EventList",
            ),
            (
                r#"{"kind":"List","items":[]}"#,
                "kind is \"List\", not Event or EventList",
            ),
            (r#"{"items":7}"#, "expected an array of audit events"),
        ] {
            let error = texts(body).unwrap_err();
            assert!(error.contains(reason), "{body}: {error}");
        }
        assert!(split(b"[\"\xff\"]").is_err());
        let deep = "[".repeat(1 << 20);
        assert!(texts(&deep).unwrap_err().contains("EOF"));
        let many = format!("[{}{{}}]", "{},".repeat(MAX_EVENTS));
        assert!(
            texts(&many)
                .unwrap_err()
                .contains("more than 131072 events")
        );
    }
}
