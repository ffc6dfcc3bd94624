//! Output formats: `%container.name runs as %user.uid`, `%tolower(proc.name)`.
//!
//! A `%` begins a field, with its argument in brackets if it has one. A `*` at the begin is
//! allowed and means nothing: Falco always prints the line, absent fields as `<NA>` too. There is
//! no escape for `%`. As libs `userspace/libsinsp/eventformatter.cpp`, but for one thing: a name
//! after `%` must be a field as a whole, where Falco takes the longest beginning that is one.

use std::borrow::Cow;
use std::fmt::Write;

use serde_json::{Map, Number};

use super::ast::Operand as Ast;
use super::operand::Operand;
use super::parse::parse_call;
use crate::event::Event;
use crate::fields::{self, LookupError, Reference, Source, Value};

/// What stands for a field without a value.
const ABSENT: &str = "<NA>";

/// A rule's output, ready to be written for an event.
#[derive(Clone, Debug)]
pub struct Output {
    parts: Box<[Part]>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(Box<str>),
    Field(Box<OutputField>),
}

/// A field in an output.
#[derive(Clone, Debug)]
struct OutputField {
    /// As it is written, with its argument.
    name: Box<str>,
    operand: Operand,
    /// How many characters the value is padded or cut to.
    width: Option<usize>,
}

/// What is wrong with an output format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OutputError {
    /// The byte at which it stands.
    pub(super) offset: usize,
    pub(super) message: String,
    pub(super) help: Option<String>,
    /// Whether it names a field that does not exist.
    pub(super) unknown_field: bool,
}

impl Output {
    /// Reads a format; all that is wrong with it.
    pub(super) fn new(format: &str, source: Source) -> Result<Self, Vec<OutputError>> {
        let mut parts = Vec::new();
        let mut errors = Vec::new();
        let body = format.trim_end();
        let mut at = body.len() - body.trim_start().len();
        if body[at..].starts_with('*') {
            at += 1;
        }
        while at < body.len() {
            let end = body[at..].find('%').map_or(body.len(), |found| at + found);
            if end > at {
                parts.push(Part::Text(body[at..end].into()));
            }
            if end == body.len() {
                break;
            }
            let length = match token(&body[end..], source) {
                Ok((field, length)) => {
                    parts.extend(field.map(|field| Part::Field(Box::new(field))));
                    length
                }
                Err((error, length)) => {
                    errors.push(OutputError {
                        offset: end,
                        ..error
                    });
                    length
                }
            };
            at = end + length;
        }
        if errors.is_empty() {
            Ok(Self {
                parts: parts.into(),
            })
        } else {
            Err(errors)
        }
    }

    /// The line for an event. Control characters in values are escaped: a process cannot forge a
    /// line with what it calls itself.
    pub fn render(&self, event: &Event) -> String {
        let mut line = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => line.push_str(text),
                Part::Field(field) => field.render(event, &mut line),
            }
        }
        line
    }

    /// The values of the output's fields, by name, as Falco's JSON output has them: numbers as
    /// numbers, lists as arrays, `null` for what is absent; and `evt.time` in nanoseconds.
    pub fn fields(&self, event: &Event) -> Map<String, serde_json::Value> {
        let mut map = Map::new();
        for field in self.field_parts() {
            map.insert(field.name.to_string(), json(&field.operand, event));
        }
        map.insert("evt.time".to_owned(), event.time_ns().into());
        map
    }

    /// Gives every field of the output.
    pub fn for_each_field(&self, give: &mut impl FnMut(&Reference)) {
        self.field_parts()
            .for_each(|field| field.operand.for_each_field(give));
    }

    fn field_parts(&self) -> impl Iterator<Item = &OutputField> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field(field) => Some(&**field),
            Part::Text(_) => None,
        })
    }
}

impl OutputField {
    fn render(&self, event: &Event, line: &mut String) {
        let mut values: Vec<String> = Vec::new();
        self.operand.extract(event, &mut |value| {
            values.push(match value {
                Value::Bool(value) => value.to_string(),
                Value::Int(value) => value.to_string(),
                Value::Text(text) => escape(&text).into_owned(),
            });
        });
        let text = match values.as_slice() {
            [] => ABSENT.to_owned(),
            [one] => one.clone(),
            many => format!("({})", many.join(",")),
        };
        match self.width {
            Some(width) => {
                let padded = text.chars().chain(std::iter::repeat(' '));
                line.extend(padded.take(width));
            }
            None => line.push_str(&text),
        }
    }
}

fn json(operand: &Operand, event: &Event) -> serde_json::Value {
    let mut values = Vec::new();
    operand.extract(event, &mut |value| {
        values.push(match value {
            Value::Bool(value) => value.into(),
            Value::Int(value) => serde_json::Value::Number(Number::from(value)),
            Value::Text(text) => serde_json::Value::String(text.into_owned()),
        });
    });
    if values.is_empty() {
        serde_json::Value::Null
    } else if operand.is_list() {
        serde_json::Value::Array(values)
    } else {
        values.swap_remove(0)
    }
}

type TokenError = (OutputError, usize);

/// Reads what begins with a `%`: the field, if it is one that is printed, and the length.
fn token(text: &str, source: Source) -> Result<(Option<OutputField>, usize), TokenError> {
    let error = |message: String, length: usize| OutputError {
        offset: length,
        message,
        help: None,
        unknown_field: false,
    };
    let digits = text[1..].bytes().take_while(u8::is_ascii_digit).count();
    let width = match &text[1..=digits] {
        "" => None,
        // Wider than any line: not what anyone means, but a format from which memory must be kept.
        digits => Some(digits.parse().unwrap_or(usize::MAX).min(4096)),
    };
    let start = 1 + digits;
    let length = text[start..]
        .bytes()
        .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'))
        .count();
    // A full stop after a field ends the sentence.
    let name = text[start..start + length].trim_end_matches('.');
    let mut end = start + name.len();
    if name.is_empty() {
        let message = "expected a field after \"%\"".to_owned();
        return Err((error(message, end), end));
    }
    // Falco before 0.41 put container name and id there; since then nothing.
    if name == "container.info" {
        return Ok((None, end));
    }
    if text[end..].starts_with('(') {
        let (call, length) = parse_call(&text[start..]).map_err(|wrong| {
            let message = match wrong.message.as_str() {
                "unknown function" => format!("unknown function \"{name}\""),
                message => message.to_owned(),
            };
            (error(message, end), end)
        })?;
        let operand = Operand::new(&Ast::Call(call), source).map_err(|problem| {
            let error = OutputError {
                help: problem.help,
                unknown_field: problem.unknown_field,
                ..error(problem.message, end)
            };
            (error, start + length)
        })?;
        let field = OutputField {
            name: text[start..start + length].into(),
            operand,
            width,
        };
        return Ok((Some(field), start + length));
    }
    let mut argument = None;
    if text[end..].starts_with('[') {
        let Some(close) = text[end..].find(']') else {
            let message = format!("expected \"]\" after the argument of {name}");
            return Err((error(message, end), text.len()));
        };
        argument = Some(&text[end + 1..end + close]);
        end += close + 1;
    }
    match fields::lookup(name, argument) {
        Ok(reference) if !reference.field.is_of(source) => {
            let message = format!("events of {source} have no {name}");
            Err((error(message, end), end))
        }
        Ok(reference) => Ok((
            Some(OutputField {
                name: text[start..end].into(),
                operand: Operand::Field(reference),
                width,
            }),
            end,
        )),
        Err(LookupError::Unknown(near)) => Err((
            OutputError {
                help: near.map(|near| format!("did you mean \"{near}\"?")),
                unknown_field: true,
                ..error(format!("unknown field \"{name}\""), end)
            },
            end,
        )),
        Err(LookupError::Argument(message)) => Err((error(message, end), end)),
    }
}

/// The text with its control characters, line separators and directional overrides as `\n`,
/// `\xNN` or `\u{NNNN}`.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        // Writing to a String cannot fail.
        let _ = match c {
            '\n' => escaped.write_str("\\n"),
            '\r' => escaped.write_str("\\r"),
            '\t' => escaped.write_str("\\t"),
            c if is_unsafe(c) && u32::from(c) <= 0xff => write!(escaped, "\\x{:02x}", u32::from(c)),
            c if is_unsafe(c) => write!(escaped, "{}", c.escape_unicode()),
            c => escaped.write_char(c),
        };
    }
    Cow::Owned(escaped)
}

/// Whether a terminal or a reader may take the character for something else than text: C0, DEL
/// and C1 controls; line and paragraph separators; the directional marks, embeddings, overrides
/// and isolates of UAX #9.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}' | '\u{2029}'
                | '\u{61c}' | '\u{200e}' | '\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}
