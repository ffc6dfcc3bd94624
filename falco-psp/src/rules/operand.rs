//! What has values in an event: fields, and what functions make of them.
//!
//! Functions are Falco's transformers (libs `userspace/libsinsp/sinsp_filter_transformers`). Of a
//! list they change every value; `len` counts its values, and `join` makes one text of them. What
//! they are of is absent: so is what they make.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::ast::{Argument, Call, FieldName, Function, Operand as Ast};
use super::getopt::getopt;
use super::text::Problem;
use crate::event::Event;
use crate::fields::{self, Kind, LookupError, Reference, Source, Value};

/// What has values.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    Field(Reference),
    /// Of each text another.
    Each(fn(&str) -> Option<String>, Box<Operand>),
    Length(Box<Operand>),
    Join(Box<Piece>, Box<Operand>),
    Concat(Box<[Piece]>),
    GetOpt {
        arguments: Box<Operand>,
        known: Box<Piece>,
        only: Option<char>,
    },
}

/// A part of a text that is put together.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    Text(Box<str>),
    Operand(Operand),
}

impl Operand {
    /// Compiles it for the events of `source`.
    pub(super) fn new(ast: &Ast, source: Source) -> Result<Self, Problem> {
        match ast {
            Ast::Field(name) => {
                let reference = reference(name)?;
                if !reference.field.is_of(source) {
                    let message = format!("events of {source} have no {}", reference.field.name);
                    return Err(Problem::new(name.at, message));
                }
                Ok(Self::Field(reference))
            }
            Ast::Call(call) => Self::of_call(call, source),
        }
    }

    fn of_call(call: &Call, source: Source) -> Result<Self, Problem> {
        let word = call.function.word();
        let wrong = |message: String| Err(Problem::new(call.at, message));
        let piece = |argument: &Argument| match argument {
            Argument::Text(literal) => Ok(Piece::Text(literal.text.as_str().into())),
            Argument::Operand(ast) => {
                let operand = Self::new(ast, source)?;
                if operand.kind() == Kind::String && !operand.is_list() {
                    return Ok(Piece::Operand(operand));
                }
                let message = format!("{word}() takes texts, and {ast} is not one text");
                Err(Problem::new(ast.at(), message))
            }
        };
        if call.function != Function::GetOpt && call.selector.is_some() {
            return wrong(format!("{word}() takes nothing in brackets after it"));
        }
        match (call.function, call.arguments.as_slice()) {
            (Function::GetOpt, [Argument::Operand(ast), known]) => {
                let arguments = Self::new(ast, source)?;
                if arguments.kind() != Kind::String || !arguments.is_list() {
                    let message = format!("getopt() takes a list of texts, and {ast} is none");
                    return Err(Problem::new(ast.at(), message));
                }
                let mut letters = call.selector.iter().flat_map(|selector| selector.chars());
                let (only, more) = (letters.next(), letters.next());
                if more.is_some() || (only.is_none() && call.selector.is_some()) {
                    return wrong("in brackets after getopt() stands one letter".to_owned());
                }
                Ok(Self::GetOpt {
                    arguments: Box::new(arguments),
                    known: Box::new(piece(known)?),
                    only,
                })
            }
            (Function::GetOpt, _) => {
                wrong("getopt() takes a list and options: getopt(field, \"ab:\")".to_owned())
            }
            (Function::Concat, pieces) if pieces.len() >= 2 => {
                let pieces: Result<_, Problem> = pieces.iter().map(piece).collect();
                Ok(Self::Concat(pieces?))
            }
            (Function::Concat, _) => wrong("concat() takes two or more texts".to_owned()),
            (Function::Join, [separator, Argument::Operand(ast)]) => {
                let operand = Self::new(ast, source)?;
                if operand.kind() != Kind::String || !operand.is_list() {
                    let message = format!("join() joins a list of texts, and {ast} is none");
                    return Err(Problem::new(ast.at(), message));
                }
                Ok(Self::Join(Box::new(piece(separator)?), Box::new(operand)))
            }
            (Function::Join, _) => {
                wrong("join() takes a separator and a list: join(\",\", field)".to_owned())
            }
            (function, [Argument::Operand(ast)]) => {
                let operand = Self::new(ast, source)?;
                let is_text = operand.kind() == Kind::String;
                if function == Function::Length && (is_text || operand.is_list()) {
                    return Ok(Self::Length(Box::new(operand)));
                }
                match text_function(function) {
                    Some(change) if is_text => Ok(Self::Each(change, Box::new(operand))),
                    _ => {
                        let kind = operand.kind().describe();
                        let message = format!("{word}() takes text, and {ast} is {kind}");
                        Err(Problem::new(ast.at(), message))
                    }
                }
            }
            _ => wrong(format!("{word}() takes one field")),
        }
    }

    /// What type its values have.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Field(reference) => reference.field.kind,
            Self::Length(_) => Kind::Int,
            Self::Each(..) | Self::Join(..) | Self::Concat(_) | Self::GetOpt { .. } => Kind::String,
        }
    }

    /// Whether it can have more than one value.
    pub(super) fn is_list(&self) -> bool {
        match self {
            Self::Field(reference) => reference.field.list,
            Self::Each(_, of) => of.is_list(),
            Self::GetOpt { only, .. } => only.is_none(),
            Self::Length(_) | Self::Join(..) | Self::Concat(_) => false,
        }
    }

    /// The field, if it is one.
    pub(super) fn field(&self) -> Option<&Reference> {
        match self {
            Self::Field(reference) => Some(reference),
            _ => None,
        }
    }

    /// Gives its values in an event.
    #[inline]
    pub(super) fn extract<'e>(&self, event: &'e Event, give: &mut dyn FnMut(Value<'e>)) {
        match self {
            // Nearly all are.
            Self::Field(reference) => reference.extract_to(event, give),
            made => made.make(event, give),
        }
    }

    fn make<'e>(&self, event: &'e Event, give: &mut dyn FnMut(Value<'e>)) {
        match self {
            Self::Field(reference) => reference.extract_to(event, give),
            Self::Each(change, of) => of.extract(event, &mut |value| {
                if let Value::Text(text) = value
                    && let Some(text) = change(&text)
                {
                    give(text.into());
                }
            }),
            Self::Length(of) => {
                let mut length = None;
                let is_list = of.is_list();
                of.extract(event, &mut |value| {
                    let more = match (is_list, &value) {
                        (false, Value::Text(text)) => text.len(),
                        _ => 1,
                    };
                    length = Some(length.unwrap_or(0) + more);
                });
                if let Some(length) = length {
                    give(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)));
                }
            }
            Self::Join(separator, of) => {
                let Some(separator) = separator.text(event) else {
                    return;
                };
                let mut joined: Option<String> = None;
                of.extract(event, &mut |value| {
                    let Value::Text(text) = value else {
                        return;
                    };
                    match &mut joined {
                        Some(joined) => {
                            joined.push_str(&separator);
                            joined.push_str(&text);
                        }
                        None => joined = Some(text.into_owned()),
                    }
                });
                if let Some(joined) = joined {
                    give(joined.into());
                }
            }
            Self::GetOpt {
                arguments,
                known,
                only,
            } => {
                let Some(known) = known.text(event) else {
                    return;
                };
                let mut texts = Vec::new();
                arguments.extract(event, &mut |value| {
                    if let Value::Text(text) = value {
                        texts.push(text);
                    }
                });
                let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
                getopt(&texts, &known, *only, &mut |text| {
                    give(text.to_owned().into());
                });
            }
            Self::Concat(pieces) => {
                let texts = pieces.iter().map(|piece| piece.text(event));
                if let Some(text) = texts.collect::<Option<String>>() {
                    give(text.into());
                }
            }
        }
    }

    /// Gives every field that it is of.
    pub(super) fn for_each_field(&self, give: &mut impl FnMut(&Reference)) {
        match self {
            Self::Field(reference) => give(reference),
            Self::Each(_, of) | Self::Length(of) => of.for_each_field(&mut *give),
            Self::Join(separator, of) => {
                separator.for_each_field(give);
                of.for_each_field(give);
            }
            Self::Concat(pieces) => pieces.iter().for_each(|piece| piece.for_each_field(give)),
            Self::GetOpt {
                arguments, known, ..
            } => {
                arguments.for_each_field(&mut *give);
                known.for_each_field(give);
            }
        }
    }
}

impl Piece {
    fn text<'e>(&self, event: &'e Event) -> Option<Cow<'e, str>> {
        let mut found = None;
        match self {
            Self::Text(text) => found = Some(Cow::Owned(text.to_string())),
            Self::Operand(operand) => operand.extract(event, &mut |value| {
                if let Value::Text(text) = value {
                    found = Some(text);
                }
            }),
        }
        found
    }

    fn for_each_field(&self, give: &mut impl FnMut(&Reference)) {
        if let Self::Operand(operand) = self {
            operand.for_each_field(give);
        }
    }
}

/// Looks a field up.
fn reference(name: &FieldName) -> Result<Reference, Problem> {
    fields::lookup(&name.name, name.argument.as_deref()).map_err(|error| match error {
        LookupError::Unknown(near) => Problem {
            unknown_field: true,
            ..Problem::new(name.at, format!("unknown field \"{}\"", name.name))
                .with_help(near.map(|near| format!("did you mean \"{near}\"?")))
        },
        LookupError::Argument(message) => Problem::new(name.at, message),
    })
}

/// What makes of a text another; `None`: nothing.
fn text_function(function: Function) -> Option<fn(&str) -> Option<String>> {
    Some(match function {
        // As in Falco: ASCII letters only.
        Function::ToLower => |text| Some(text.to_ascii_lowercase()),
        Function::ToUpper => |text| Some(text.to_ascii_uppercase()),
        Function::Base64 => base64,
        Function::Basename => |text| Some(text.rsplit('/').next().unwrap_or(text).to_owned()),
        Function::Length | Function::Join | Function::Concat | Function::GetOpt => return None,
    })
}

/// The text that is written in base 64, with its padding or without it.
fn base64(text: &str) -> Option<String> {
    let bytes = STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
    String::from_utf8(bytes).ok()
}
