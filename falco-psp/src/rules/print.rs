//! Syntax tree to condition text: what `parse` reads back as the same tree.

use std::fmt;

use super::ast::{Argument, Expr, FieldName, List, Literal, Operand, Right, Test};
use super::parse::{is_bare, is_bare_argument, is_blank};

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Or(parts) => join(f, parts, " or ", |part| matches!(part, Self::Or(_))),
            Self::And(parts) => join(f, parts, " and ", |part| {
                matches!(part, Self::Or(_) | Self::And(_))
            }),
            Self::Not(inner) => {
                f.write_str("not ")?;
                let simple = matches!(**inner, Self::Macro(_) | Self::Check(_));
                part(f, inner, !simple)
            }
            Self::Macro(name) => f.write_str(&name.name),
            Self::Check(check) => {
                let word = check.test.operator();
                write!(f, "{} {word}", check.left)?;
                match &check.test {
                    Test::Exists => Ok(()),
                    Test::Compare(_, Right::Literal(literal)) => write!(f, " {literal}"),
                    Test::Compare(_, Right::Operand(right))
                    | Test::List(_, List::Operand(right)) => right_side(f, right),
                    Test::Several(_, quantifier, literals) => {
                        write!(f, " {}", quantifier.word())?;
                        list(f, literals)
                    }
                    Test::List(_, List::Literals(literals)) => list(f, literals),
                }
            }
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, literals: &[Literal]) -> fmt::Result {
    f.write_str(" (")?;
    for (i, literal) in literals.iter().enumerate() {
        let comma = if i == 0 { "" } else { ", " };
        write!(f, "{comma}{literal}")?;
    }
    f.write_str(")")
}

fn right_side(f: &mut fmt::Formatter<'_>, operand: &Operand) -> fmt::Result {
    match operand {
        Operand::Field(field) => write!(f, " val({field})"),
        Operand::Call(_) => write!(f, " {operand}"),
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let call = match self {
            Self::Field(field) => return write!(f, "{field}"),
            Self::Call(call) => call,
        };
        write!(f, "{}(", call.function.word())?;
        for (i, argument) in call.arguments.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { ", " })?;
            match argument {
                Argument::Operand(operand) => write!(f, "{operand}")?,
                // Without quotes it would be a field.
                Argument::Text(literal) => text(f, &literal.text, |_| false)?,
            }
        }
        f.write_str(")")?;
        argument(f, call.selector.as_deref())
    }
}

fn join(
    f: &mut fmt::Formatter<'_>,
    parts: &[Expr],
    word: &str,
    needs_parentheses: impl Fn(&Expr) -> bool,
) -> fmt::Result {
    for (i, expr) in parts.iter().enumerate() {
        if i > 0 {
            f.write_str(word)?;
        }
        part(f, expr, needs_parentheses(expr))?;
    }
    Ok(())
}

fn part(f: &mut fmt::Formatter<'_>, expr: &Expr, parentheses: bool) -> fmt::Result {
    if parentheses {
        write!(f, "({expr})")
    } else {
        write!(f, "{expr}")
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        argument(f, self.argument.as_deref())
    }
}

/// What stands in brackets.
fn argument(f: &mut fmt::Formatter<'_>, argument: Option<&str>) -> fmt::Result {
    let Some(argument) = argument else {
        return Ok(());
    };
    f.write_str("[")?;
    text(f, argument, is_bare_argument)?;
    f.write_str("]")
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A backspace is passed over before a value, but does not end one.
        text(f, &self.text, |byte| is_bare(byte) && !is_blank(byte))
    }
}

/// Writes a text, in quotes if it needs them.
fn text(f: &mut fmt::Formatter<'_>, text: &str, bare: fn(u8) -> bool) -> fmt::Result {
    if !text.is_empty() && text.bytes().all(bare) {
        return f.write_str(text);
    }
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\u{8}' => f.write_str("\\b")?,
            '\u{c}' => f.write_str("\\f")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            other => write!(f, "{other}")?,
        }
    }
    f.write_str("\"")
}
