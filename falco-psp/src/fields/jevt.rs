//! `jevt`: any part of an audit event's JSON, by its JSON pointer.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Argument, Extract, Field, Kind};

/// The fields.
pub(super) static FIELDS: [Field; 1] = [Field {
    name: "jevt.value",
    kind: Kind::String,
    list: false,
    argument: Argument::Pointer,
    ours: false,
    help: "the part of the event to which a JSON pointer leads: text as it is, all else as JSON \
           without blanks",
    extract: Extract::AuditPart(|event, pointer, give| {
        if let Some(text) = part(&event.json, pointer) {
            give(text.into());
        }
    }),
}];

/// The part of the JSON to which a pointer leads, as the json plugin of Falco shows it.
fn part(json: &[u8], pointer: &str) -> Option<String> {
    let raw = raw_part(json, pointer)?.get();
    match raw.starts_with('"') {
        true => serde_json::from_str(raw).ok(),
        false => Some(without_blanks(raw)),
    }
}

/// The part of the JSON to which a pointer leads (RFC 6901).
pub(super) fn raw_part<'j>(json: &'j [u8], pointer: &str) -> Option<&'j RawValue> {
    let mut at: &RawValue = serde_json::from_slice(json).ok()?;
    for step in pointer.strip_prefix('/')?.split('/') {
        let step = match step.contains('~') {
            true => Cow::Owned(step.replace("~1", "/").replace("~0", "~")),
            false => Cow::Borrowed(step),
        };
        let mut inner = serde_json::Deserializer::from_str(at.get());
        at = Step(&step).deserialize(&mut inner).ok()??;
    }
    Some(at)
}

/// One step of a pointer: into a member of an object or an element of an array.
struct Step<'s>(&'s str);

impl<'de> DeserializeSeed<'de> for Step<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Step<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            if key == self.0 && found.is_none() {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let wanted = self.0.parse::<usize>().ok();
        let mut index = 0;
        while let Some(element) = array.next_element()? {
            if wanted == Some(index) {
                found = Some(element);
            }
            index += 1;
        }
        Ok(found)
    }
}

fn without_blanks(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        if in_string || !c.is_ascii_whitespace() {
            text.push(c);
        }
        match c {
            '"' if !escaped => in_string = !in_string,
            '\\' if in_string && !escaped => {
                escaped = true;
                continue;
            }
            _ => {}
        }
        escaped = false;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_leads_to_a_part() {
        let json = br#" {"a" : {"b/c": [1, {"~": "x \" y"}], "n": null, "t": true}, "": 7} "#;
        for (pointer, value) in [
            ("/a/b~1c", Some(r#"[1,{"~":"x \" y"}]"#)),
            ("/a/b~1c/0", Some("1")),
            ("/a/b~1c/1/~0", Some("x \" y")),
            ("/a/b~1c/2", None),
            ("/a/b~1c/x", None),
            ("/a/n", Some("null")),
            ("/a/t", Some("true")),
            ("/a/t/u", None),
            ("/", Some("7")),
            ("/z", None),
            ("", None),
        ] {
            assert_eq!(part(json, pointer).as_deref(), value, "{pointer}");
        }
    }
}
