//! Conditions in the making: Falco's text, with what is always true or never.

use super::json::SECTIONS;

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

/// Whether one of the three lists of containers is so.
pub(super) fn some_section(expression: &str) -> Said {
    Said::any(SECTIONS.map(|section| matches(section, expression)))
}

/// Whether there is a container that is not so.
pub(super) fn some_container_is_not(container: &str) -> Said {
    let all = super::json::every(container);
    Said::any(SECTIONS.map(|section| {
        Said::all([
            Said::Is(format!("jevt.value[{section}] exists")),
            matches(section, &all).not(),
        ])
    }))
}
