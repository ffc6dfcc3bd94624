//! Conditions in the making: Falco's text, with what is always true or never.

use super::json::SECTIONS;

/// The longest text in bytes that Falco takes on the right side of a comparison (libs
/// `userspace/libsinsp/sinsp_filtercheck.h`, `s_max_filter_value_buf_size`, with the byte 0 at
/// its end).
pub(super) const LONGEST: usize = 255;

/// A condition that Falco can evaluate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Always true.
    True,
    /// Never true.
    False,
    /// As this text says, which needs no parentheses.
    Is(String),
    /// All of these.
    All(Vec<Said>),
    /// One of these.
    Any(Vec<Said>),
}

impl Said {
    /// All of them.
    pub(super) fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut kept = Vec::new();
        for part in parts {
            match part {
                Self::True => {}
                Self::False => return Self::False,
                Self::All(parts) => kept.extend(parts),
                part => kept.push(part),
            }
        }
        match kept.len() {
            0 => Self::True,
            1 => kept.swap_remove(0),
            _ => Self::All(kept),
        }
    }

    /// One of them.
    pub(super) fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut kept = Vec::new();
        for part in parts {
            match part {
                Self::False => {}
                Self::True => return Self::True,
                Self::Any(parts) => kept.extend(parts),
                part => kept.push(part),
            }
        }
        match kept.len() {
            0 => Self::False,
            1 => kept.swap_remove(0),
            _ => Self::Any(kept),
        }
    }

    /// Not it.
    pub(super) fn not(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            Self::Is(text) => match text.strip_prefix("not ") {
                Some(text) => Self::Is(text.to_owned()),
                None => Self::Is(format!("not {text}")),
            },
            said => Self::Is(format!("not ({})", said.line(" "))),
        }
    }

    /// Whether it has a text that Falco does not take.
    pub(super) fn is_too_long(&self) -> bool {
        match self {
            Self::True | Self::False => false,
            Self::Is(text) => longest_string(text) > LONGEST,
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::is_too_long),
        }
    }

    /// The condition's text; the parts of the outermost conjunction are joined by `between`.
    pub(super) fn line(&self, between: &str) -> String {
        let inner = |part: &Self| match part {
            Self::Is(text) => text.clone(),
            part => format!("({})", part.line(" ")),
        };
        match self {
            // Every event has a verb, and none of this one.
            Self::True => "not ka.verb=\"\"".to_owned(),
            Self::False => "ka.verb=\"\"".to_owned(),
            Self::Is(text) => text.clone(),
            Self::All(parts) => {
                let parts: Vec<String> = parts.iter().map(inner).collect();
                parts.join(&format!("{between}and "))
            }
            Self::Any(parts) => {
                let parts: Vec<String> = parts.iter().map(inner).collect();
                parts.join(" or ")
            }
        }
    }
}

/// The bytes of the longest string in single quotes.
fn longest_string(text: &str) -> usize {
    let (mut longest, mut length, mut is_inside) = (0, 0, false);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\'' if is_inside => {
                longest = longest.max(length);
                is_inside = false;
            }
            b'\'' => (is_inside, length) = (true, 0),
            _ => length += 1,
        }
        if byte == b'\\' {
            bytes.next();
        }
    }
    longest
}

/// A text as a string of a condition. In single quotes, as JSON has many double ones.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

/// Whether a part of the event is so. Not, if there is no such part.
pub(super) fn matches(pointer: &str, expression: &str) -> Said {
    Said::Is(format!(
        "jevt.value[{pointer}] regex {}",
        quoted(expression)
    ))
}

/// Whether a part of the event is this text.
pub(super) fn equals(pointer: &str, text: &str) -> Said {
    Said::Is(format!("jevt.value[{pointer}] = {}", quoted(text)))
}

/// Whether a part of the event is one of these texts.
pub(super) fn one_of(pointer: &str, texts: &[String]) -> Said {
    if texts.is_empty() {
        return Said::False;
    }
    let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    Said::Is(format!("jevt.value[{pointer}] in ({})", texts.join(", ")))
}

/// Whether a part of the event is a text that is not empty.
pub(super) fn has_text(pointer: &str) -> Said {
    Said::all([
        Said::Is(format!("jevt.value[{pointer}] exists")),
        equals(pointer, "").not(),
    ])
}

/// Whether a part of the event is so with one of these expressions, which `expression` completes:
/// in as many comparisons as their length needs.
pub(super) fn matches_some(
    pointer: &str,
    alternatives: &[String],
    expression: impl Fn(&str) -> String,
) -> Said {
    let mut comparisons = Vec::new();
    let mut rest = alternatives;
    while !rest.is_empty() {
        let joined = |count: usize| match &rest[..count] {
            [one] => expression(one),
            several => expression(&format!("({})", several.join("|"))),
        };
        let mut count = 1;
        while count < rest.len() && joined(count + 1).len() <= LONGEST {
            count += 1;
        }
        comparisons.push(matches(pointer, &joined(count)));
        rest = &rest[count..];
    }
    Said::any(comparisons)
}

/// Whether one of the three lists of containers is so.
pub(super) fn some_section(expression: &str) -> Said {
    Said::any(SECTIONS.map(|section| matches(section, expression)))
}

/// The same with one of several expressions.
pub(super) fn some_section_has(
    alternatives: &[String],
    expression: impl Fn(&str) -> String,
) -> Said {
    Said::any(SECTIONS.map(|section| matches_some(section, alternatives, &expression)))
}
