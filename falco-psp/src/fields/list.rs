//! `falco-psp fields`: the registry, for people.

use std::fmt::Write as _;

use super::{Argument, Field, Kind, Source, all, lookup};
use crate::diagnostic::nearest;

/// The widest line.
const WIDTH: usize = 80;

/// The fields of a source, or of all, and of these names, or all; a name without its end stands for
/// all that begin so.
///
/// # Errors
/// No field has one of the names.
pub fn select(source: Option<Source>, names: &[String]) -> Result<Vec<&'static Field>, String> {
    for name in names {
        if !all().any(|field| is_named(field, name)) {
            if lookup(name, None).is_ok_and(|reference| reference.field.is_unseen()) {
                return Err(format!(
                    "{name} is a field of Falco that falco-psp does not observe"
                ));
            }
            let near = nearest(name, all().map(|field| field.name));
            let help = near.map(|near| format!("; did you mean \"{near}\"?"));
            let help = help.unwrap_or_default();
            return Err(format!("there is no field \"{name}\"{help}"));
        }
    }
    let of_source = |field: &&Field| source.is_none_or(|source| field.is_of(source));
    let chosen = all()
        .filter(of_source)
        .filter(|field| names.is_empty() || names.iter().any(|name| is_named(field, name)));
    Ok(chosen.collect())
}

/// Whether it is the field, or one whose name goes on after a dot.
fn is_named(field: &Field, name: &str) -> bool {
    let name = name.trim_end_matches('.');
    field
        .name
        .strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

impl Field {
    /// The type in words: `number`, `list of text`.
    fn type_words(&self) -> String {
        let kind = match self.kind {
            Kind::Bool => "bool",
            Kind::Int => "number",
            Kind::String => "text",
        };
        match self.list {
            true => format!("list of {kind}"),
            false => kind.to_owned(),
        }
    }

    /// What stands in brackets after the name.
    fn argument_words(&self) -> String {
        match self.argument {
            Argument::None | Argument::Any => String::new(),
            Argument::OneOf(known) => format!("[{}]", known.join("|")),
            Argument::Pointer => "[/json/pointer]".to_owned(),
            Argument::Index => "[index]?".to_owned(),
            Argument::Key => "[key]".to_owned(),
        }
    }

    fn sources(&self) -> String {
        let of = Source::ALL.into_iter().filter(|source| self.is_of(*source));
        let names: Vec<&str> = of.map(Source::name).collect();
        names.join(", ")
    }

    fn origin(&self) -> &'static str {
        if self.ours { "falco-psp" } else { "Falco" }
    }
}

/// The fields in lines of at most 80 columns, unless a name is longer.
pub fn text(fields: &[&Field]) -> String {
    let mut text = String::new();
    for field in fields {
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{}{} ({}; {}; {})",
            field.name,
            field.argument_words(),
            field.type_words(),
            field.sources(),
            field.origin()
        );
        let mut line = String::from("   ");
        for word in field.help.split(' ') {
            if line.len() + 1 + word.len() > WIDTH {
                let _ = writeln!(text, "{line}");
                line = String::from("   ");
            }
            line.push(' ');
            line.push_str(word);
        }
        let _ = writeln!(text, "{line}");
    }
    text
}

/// The fields as a table in Markdown.
pub fn markdown(fields: &[&Field]) -> String {
    let mut text =
        String::from("| Field | Type | Source | Of | Meaning |\n|---|---|---|---|---|\n");
    for field in fields {
        let cell = |text: &str| text.replace('|', "\\|");
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "| `{}{}` | {} | {} | {} | {} |",
            field.name,
            cell(&field.argument_words()),
            field.type_words(),
            field.sources(),
            field.origin(),
            cell(field.help)
        );
    }
    text
}
