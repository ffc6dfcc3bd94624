//! The field registry: every fact that a rule can ask for, by name.
//!
//! One file for each class of fields. Names and meanings are Falco's where Falco has the field
//! (libs `userspace/libsinsp/sinsp_filtercheck_*.cpp` and the container plugin); the others are
//! marked as ours. A field gives facts, never verdicts, and gives no value for what is not known.

mod container;
mod errno;
mod evt;
mod group;
pub mod image;
mod jevt;
mod k8s;
mod ka;
mod labels;
pub mod list;
mod mounts;
mod posture;
mod proc;
mod source;
mod thread;
mod told;
mod unseen;
mod user;

pub use source::Source;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use crate::diagnostic::nearest;
use crate::event::{AuditEvent, Event, SyscallEvent};

/// What type the values of a field have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// True or false.
    Bool,
    /// A whole number.
    Int,
    /// Text.
    String,
}

impl Kind {
    /// In the words of a message: "a number".
    pub fn describe(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Int => "a whole number",
            Self::String => "text",
        }
    }
}

/// One value of a field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value<'e> {
    /// Of a field of [`Kind::Bool`].
    Bool(bool),
    /// Of a field of [`Kind::Int`].
    Int(i64),
    /// Of a field of [`Kind::String`].
    Text(Cow<'e, str>),
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u32> for Value<'_> {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}

impl From<u64> for Value<'_> {
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl<'e> From<&'e str> for Value<'e> {
    fn from(value: &'e str) -> Self {
        Self::Text(Cow::Borrowed(value))
    }
}

impl From<String> for Value<'_> {
    fn from(value: String) -> Self {
        Self::Text(Cow::Owned(value))
    }
}

/// Whether a field takes an argument: `evt.arg[dev]`, which is also written `evt.arg.dev`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// It takes none.
    None,
    /// It needs one of these.
    OneOf(&'static [&'static str]),
    /// It needs a JSON pointer (RFC 6901): `/requestObject/spec`.
    Pointer,
    /// It may have the index of an item: `[0]`.
    Index,
    /// It needs a text: `ka.uri.param[limit]`.
    Key,
    /// It may have one of whatever form.
    Any,
}

/// Gives the values that a field has in an event, in order: none, one, or for a list field any
/// number. The second parameter is the argument.
type ExtractSyscall = for<'e> fn(&'e SyscallEvent, Option<&str>, &mut dyn FnMut(Value<'e>));
/// How the values are had, by source.
#[derive(Clone, Copy, Debug)]
enum Extract {
    Syscall(ExtractSyscall),
    Audit(ka::Get),
    /// A part of the event's JSON, as Falco's plugin has it.
    Plugin(ka::plugin::Part),
    /// With the argument.
    AuditPart(for<'e> fn(&'e AuditEvent, &str, &mut dyn FnMut(Value<'e>))),
    /// The same for both.
    Any(for<'e> fn(&'e Event, &mut dyn FnMut(Value<'e>))),
    /// Not at all.
    Unseen,
}

/// A field.
#[derive(Debug)]
pub struct Field {
    /// The name: `proc.name`.
    pub name: &'static str,
    /// What type its values have.
    pub kind: Kind,
    /// Whether it can have more than one value.
    pub list: bool,
    /// Whether it takes an argument.
    pub argument: Argument,
    /// Whether Falco does not have it.
    pub ours: bool,
    /// What it says, in one sentence without a full stop.
    pub help: &'static str,
    extract: Extract,
}

impl Field {
    const fn new(name: &'static str, kind: Kind, help: &'static str, extract: Extract) -> Self {
        Self {
            name,
            kind,
            list: false,
            argument: Argument::None,
            ours: false,
            help,
            extract,
        }
    }

    const fn bool(name: &'static str, help: &'static str, extract: ExtractSyscall) -> Self {
        Self::new(name, Kind::Bool, help, Extract::Syscall(extract))
    }

    const fn int(name: &'static str, help: &'static str, extract: ExtractSyscall) -> Self {
        Self::new(name, Kind::Int, help, Extract::Syscall(extract))
    }

    const fn text(name: &'static str, help: &'static str, extract: ExtractSyscall) -> Self {
        Self::new(name, Kind::String, help, Extract::Syscall(extract))
    }

    const fn any(
        name: &'static str,
        kind: Kind,
        help: &'static str,
        extract: for<'e> fn(&'e Event, &mut dyn FnMut(Value<'e>)),
    ) -> Self {
        Self::new(name, kind, help, Extract::Any(extract))
    }

    /// Whether events of `source` can have it.
    pub fn is_of(&self, source: Source) -> bool {
        match self.extract {
            Extract::Syscall(_) | Extract::Unseen => source == Source::Syscall,
            Extract::Audit(_) | Extract::AuditPart(_) | Extract::Plugin(_) => {
                source == Source::K8sAudit
            }
            Extract::Any(_) => true,
        }
    }

    /// Whether it is a field of Falco's that no source of ours gives.
    pub fn is_unseen(&self) -> bool {
        matches!(self.extract, Extract::Unseen)
    }

    const fn ours(mut self) -> Self {
        self.ours = true;
        self
    }

    const fn list(mut self) -> Self {
        self.list = true;
        self
    }

    const fn keyed(mut self) -> Self {
        self.argument = Argument::Key;
        self
    }

    const fn one_of(mut self, arguments: &'static [&'static str]) -> Self {
        self.argument = Argument::OneOf(arguments);
        self
    }
}

/// The classes, in the order of the documentation.
static CLASSES: [&[Field]; 15] = [
    &evt::FIELDS,
    &proc::FIELDS,
    &thread::FIELDS,
    &user::FIELDS,
    &group::FIELDS,
    &container::FIELDS,
    &posture::FIELDS,
    &mounts::FIELDS,
    &k8s::FIELDS,
    ka::FIELDS,
    &ka::plugin::FIELDS,
    &ka::plugin::CONTAINERS,
    &ka::plugin::INIT_CONTAINERS,
    &ka::plugin::EPHEMERAL_CONTAINERS,
    &jevt::FIELDS,
];

static BY_NAME: LazyLock<HashMap<&'static str, &'static Field>> = LazyLock::new(|| {
    // A field that is given in part is found first.
    let known = unseen::FIELDS.iter().chain(all());
    known.map(|field| (field.name, field)).collect()
});

/// All fields that some source gives, class by class.
pub fn all() -> impl Iterator<Item = &'static Field> {
    CLASSES.into_iter().flatten()
}

/// A field as a rule refers to it: with its argument.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The field.
    pub field: &'static Field,
    argument: Option<Box<str>>,
}

impl Reference {
    /// Whether it is the same field with the same argument.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.field.name == other.field.name && self.argument == other.argument
    }

    /// Whether it takes long to find: in the event's JSON.
    pub(crate) fn is_slow(&self) -> bool {
        matches!(
            self.field.extract,
            Extract::Plugin(_) | Extract::AuditPart(_) | Extract::Audit(ka::Get::Named(_))
        )
    }

    /// Gives the values that the field has in `event`, in order.
    pub fn extract<'e>(&self, event: &'e Event, mut give: impl FnMut(Value<'e>)) {
        self.extract_to(event, &mut give);
    }

    /// The same without a copy of its code for each caller.
    pub(crate) fn extract_to<'e>(&self, event: &'e Event, give: &mut dyn FnMut(Value<'e>)) {
        let argument = self.argument.as_deref();
        match (self.field.extract, event) {
            (_, Event::Told(event)) => told::extract(self.field, argument, event, give),
            (Extract::Syscall(extract), Event::Syscall(event)) => {
                extract(event, argument, give);
            }
            (Extract::Audit(get), Event::Audit(event)) => get.extract(event, give),
            (Extract::Plugin(part), Event::Audit(event)) => {
                part.extract(event, argument, give);
            }
            (Extract::AuditPart(extract), Event::Audit(event)) => {
                extract(event, argument.unwrap_or_default(), give);
            }
            (Extract::Any(extract), event) => extract(event, give),
            (Extract::Syscall(_), Event::Audit(_))
            | (Extract::Audit(_) | Extract::AuditPart(_) | Extract::Plugin(_), Event::Syscall(_))
            | (Extract::Unseen, Event::Syscall(_) | Event::Audit(_)) => {}
        }
    }
}

/// Why there is no such field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupError {
    /// No field has the name; perhaps the one with the nearest name is meant.
    Unknown(Option<&'static str>),
    /// The field's argument is wrong, in the words of a message.
    Argument(String),
}

/// Finds a field by its name and argument.
///
/// # Errors
/// There is no such field, or it wants another argument.
pub fn lookup(name: &str, argument: Option<&str>) -> Result<Reference, LookupError> {
    // `evt.arg.dev` is `evt.arg[dev]`; an argument may have dots, too.
    let dotted = || {
        let mut dots = name.rmatch_indices('.').map(|(dot, _)| dot);
        dots.find_map(|dot| {
            let field = *BY_NAME.get(&name[..dot])?;
            (field.argument != Argument::None).then_some((field, Some(&name[dot + 1..])))
        })
    };
    let (field, argument) = match BY_NAME.get(name) {
        Some(field) => (*field, argument),
        None if argument.is_none() => {
            dotted().ok_or_else(|| LookupError::Unknown(nearest_field(name)))?
        }
        None => return Err(LookupError::Unknown(nearest_field(name))),
    };
    let wrong = |message| Err(LookupError::Argument(message));
    let field = match (field.argument, argument) {
        // What else Falco has there.
        (Argument::OneOf(known), Some(given)) if !known.contains(&given) => {
            let mut others = unseen::FIELDS.iter();
            others
                .find(|other| other.name == field.name)
                .unwrap_or(field)
        }
        _ => field,
    };
    match (field.argument, argument) {
        (Argument::None, Some(_)) => wrong(format!("{} takes no argument", field.name)),
        (Argument::Key, None) => wrong(format!("{} needs an argument in brackets", field.name)),
        (Argument::Index, Some(given)) if given.parse::<u32>().is_err() => wrong(format!(
            "{} has no argument \"{given}\": an index is a number",
            field.name
        )),
        (Argument::Pointer, None) => wrong(format!(
            "{} needs a JSON pointer in brackets, such as {0}[/requestObject/spec]",
            field.name
        )),
        (Argument::Pointer, Some(given)) if !given.starts_with('/') => wrong(format!(
            "{} has no argument \"{given}\": a JSON pointer begins with /",
            field.name
        )),
        (Argument::OneOf(known), None) => wrong(format!(
            "{} needs an argument, one of: {}",
            field.name,
            known.join(" ")
        )),
        (Argument::OneOf(known), Some(given)) if !known.contains(&given) => wrong(format!(
            "{} has no argument \"{given}\", only: {}",
            field.name,
            known.join(" ")
        )),
        (_, argument) => Ok(Reference {
            field,
            argument: argument.map(Into::into),
        }),
    }
}

fn nearest_field(name: &str) -> Option<&'static str> {
    nearest(name, BY_NAME.keys().copied())
}

#[cfg(test)]
mod tests;
