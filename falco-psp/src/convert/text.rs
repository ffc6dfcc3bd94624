//! Writes texts of the user's so that they mean themselves: in YAML, in conditions, in outputs.

use std::fmt::Write as _;

/// The width of a rules file.
const WIDTH: usize = 96;

/// Whether a character can stand in any YAML scalar.
fn is_printable(c: char) -> bool {
    let breaks_lines = matches!(c, '\u{2028}' | '\u{2029}');
    let no_text = matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}');
    !c.is_control() && !breaks_lines && !no_text
}

/// The text in one line: control characters become blanks.
pub(super) fn printable(text: &str) -> String {
    let blank = |c| if is_printable(c) { c } else { ' ' };
    text.chars().map(blank).collect()
}

/// The text for an output string. There `%` begins a field and cannot be escaped, so the
/// full-width sign stands for it.
pub(super) fn harmless(text: &str) -> String {
    printable(text).replace('%', "\u{ff05}")
}

/// The text as a YAML scalar: plain if it is plain, else in double quotes.
pub(super) fn yaml(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || " ._-/()".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic());
    if begins && text.chars().all(plain) && text.trim() == text && text.contains(' ') {
        return text.to_owned();
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if is_printable(c) => quoted.push(c),
            c => {
                // Writing to a String does not fail.
                let _ = write!(quoted, "\\U{:08x}", u32::from(c));
            }
        }
    }
    quoted.push('"');
    quoted
}

/// The text as a string in a condition. `None` if it has a character that has no escape there.
pub(super) fn quoted(text: &str) -> Option<String> {
    if !text.chars().all(is_printable) {
        return None;
    }
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    Some(format!("\"{escaped}\""))
}

/// A path prefix as a pattern of `pmatch`, where `?*[` are special: they become classes.
pub(super) fn path_pattern(path: &str) -> String {
    let mut pattern = String::new();
    for c in path.chars() {
        match c {
            '?' | '*' | '[' => pattern.extend(['[', c, ']']),
            c => pattern.push(c),
        }
    }
    pattern
}

/// The path prefix that [`path_pattern`] made this pattern of.
pub(super) fn path_of_pattern(pattern: &str) -> String {
    let mut path = pattern.to_owned();
    for c in ["?", "*", "["] {
        path = path.replace(&format!("[{c}]"), c);
    }
    path
}

/// The items with commas, in lines that begin at column `indent` (the first one is begun
/// already) and are not longer than the file is wide.
pub(super) fn wrap(items: Vec<String>, indent: usize) -> String {
    let mut text = String::new();
    let mut column = indent;
    for (index, item) in items.iter().enumerate() {
        let width = item.chars().count() + 1;
        if index > 0 {
            if column + 1 + width > WIDTH {
                text.push('\n');
                text.extend(std::iter::repeat_n(' ', indent));
                column = indent;
            } else {
                text.push(' ');
                column += 1;
            }
        }
        text.push_str(item);
        if index + 1 < items.len() {
            text.push(',');
        }
        column += width;
    }
    text
}

/// The words in lines that are not longer than `width`, unless a word is.
pub(super) fn wrap_words(words: Vec<String>, width: usize) -> String {
    let mut text = String::new();
    let mut column = 0;
    for word in words {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            text.push('\n');
            column = 0;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(&word);
        column += length;
    }
    text
}

/// The part of a name of a macro or a list that stands for the policy: letters, digits and `_`.
/// Names that differ give slugs that differ.
pub(super) fn slug(name: &str, distinct: bool) -> String {
    let word = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let slug: String = name.chars().map(word).collect();
    if slug == name && !distinct {
        return slug;
    }
    // FNV-1a: the same in every run.
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    format!("{slug}_{hash:08x}")
}
