//! Regular expressions as Falco reads them: RE2 in POSIX mode (libs
//! `userspace/libsinsp/sinsp_filtercheck.cpp`, `re2::RE2::POSIX`), which must fit the whole value.
//!
//! They are said anew in the words of the `regex` crate. What RE2 refuses there is refused here,
//! so that what loads here loads in Falco: groups begin with `(` only, and classes such as `\d`,
//! `\b`, `\pL` are not there. In a class `[` stands for itself, as does a brace that ends no
//! repetition (RE2 `re2/parse.cc`).

use std::iter::Peekable;
use std::str::Chars;

use regex::{Regex, RegexBuilder};

/// The most repetitions that can be asked for (RE2 `kMaxRepeat`).
const MAX_REPEAT: u32 = 1_000;

/// The classes that have a name.
const NAMED: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// Makes a regular expression that must fit the whole text.
///
/// # Errors
/// What is wrong with it, for people.
pub(super) fn full_match(pattern: &str) -> Result<Regex, String> {
    let translated = translate(pattern)?;
    let build = |pattern: &str| {
        // Without a flag, `^` and `$` are the ends of lines in POSIX mode.
        let built = RegexBuilder::new(pattern).multi_line(true).build();
        built.map_err(|error| match error {
            // The message draws the pattern over several lines; the last one says what is wrong.
            regex::Error::Syntax(text) => {
                let last = text.lines().last().unwrap_or_default();
                last.trim_start_matches("error: ").to_owned()
            }
            regex::Error::CompiledTooBig(limit) => format!("it needs more than {limit} bytes"),
            other => other.to_string(),
        })
    };
    // By itself first: `a)(b` is none, though it would be one inside the brackets.
    build(&translated)?;
    build(&format!(r"\A(?:{translated})\z"))
}

/// The same in the words of the `regex` crate, without groups that capture: nobody asks for them.
fn translate(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '(' if chars.peek() == Some(&'?') => {
                return Err("Falco knows no (?...): write a group as (...)".to_owned());
            }
            '(' => out.push_str("(?:"),
            '[' => class(&mut chars, &mut out)?,
            '{' => match repetition(chars.clone()) {
                Some((bounds, rest)) => {
                    check_bounds(&bounds)?;
                    out.push_str(&bounds);
                    chars = rest;
                }
                None => out.push_str(r"\{"),
            },
            '}' | ']' => push_literal(c, &mut out),
            '\\' => escape(&mut chars, &mut out)?,
            other => out.push(other),
        }
    }
    Ok(out)
}

/// The rest of `{n}`, `{n,}` or `{n,m}`, with its braces; `None` if the brace stands for itself.
fn repetition(mut chars: Peekable<Chars<'_>>) -> Option<(String, Peekable<Chars<'_>>)> {
    let mut bounds = "{".to_owned();
    loop {
        let c = chars.next()?;
        match c {
            '0'..='9' => {}
            ',' if bounds.len() > 1 && !bounds.contains(',') => {}
            '}' if bounds.len() > 1 => {
                bounds.push('}');
                return Some((bounds, chars));
            }
            _ => return None,
        }
        bounds.push(c);
    }
}

fn check_bounds(bounds: &str) -> Result<(), String> {
    let numbers = bounds.trim_matches(['{', '}']).split(',');
    let mut given = numbers.filter(|number| !number.is_empty());
    if given.all(|number| number.parse().is_ok_and(|number: u32| number <= MAX_REPEAT)) {
        return Ok(());
    }
    Err(format!("{bounds} repeats more than {MAX_REPEAT} times"))
}

/// What follows a backslash.
fn escape(chars: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    match chars.next() {
        None => return Err("it ends with a backslash".to_owned()),
        Some('x') => {
            out.push_str(r"\x");
            // With its braces, which are none of a repetition; the digits are looked at later.
            if chars.peek() == Some(&'{') {
                for c in chars.by_ref() {
                    out.push(c);
                    if c == '}' {
                        break;
                    }
                }
            }
        }
        Some(c @ ('a' | 'f' | 'n' | 'r' | 't' | 'v')) => out.extend(['\\', c]),
        Some(c) if c.is_ascii() && !c.is_ascii_alphanumeric() && c != '_' => push_literal(c, out),
        Some(c) => {
            let help = match c {
                'd' => ": write [0-9]",
                'D' => ": write [^0-9]",
                'w' => ": write [0-9A-Za-z_]",
                's' => ": write [[:space:]]",
                _ => "",
            };
            return Err(format!(r"Falco knows no \{c}{help}"));
        }
    }
    Ok(())
}

/// What follows an opening bracket.
fn class(chars: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    let unclosed = || Err("a [ is never closed".to_owned());
    out.push('[');
    if chars.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    let mut is_first = true;
    loop {
        let Some(c) = chars.next() else {
            return unclosed();
        };
        match c {
            ']' if !is_first => break,
            '[' if chars.peek() == Some(&':') => out.push_str(&named(chars)?),
            // Only the first and the last dash stand for themselves; others make a range.
            '-' if !is_first && chars.peek().is_some_and(|next| *next != ']') => {
                return Err(
                    "a dash in [...] stands first or last, or between two characters".to_owned(),
                );
            }
            _ => {
                member(c, chars, out)?;
                let mut after = chars.clone();
                if after.next() == Some('-') && after.peek().is_some_and(|c| *c != ']') {
                    *chars = after;
                    out.push('-');
                    match chars.next() {
                        Some(c) => member(c, chars, out)?,
                        None => return unclosed(),
                    }
                }
            }
        }
        is_first = false;
    }
    out.push(']');
    Ok(())
}

fn member(c: char, chars: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    match c {
        '\\' => escape(chars, out),
        _ => {
            push_literal(c, out);
            Ok(())
        }
    }
}

/// `[:name:]`, of which the first bracket has been read.
fn named(chars: &mut Peekable<Chars<'_>>) -> Result<String, String> {
    let rest: String = chars.clone().skip(1).collect();
    let name = rest.split_once(":]").map_or("", |(name, _)| name);
    if !NAMED.contains(&name.trim_start_matches('^')) {
        return Err("[: begins a class that is not known, such as [:alpha:]".to_owned());
    }
    let text = format!("[:{name}:]");
    // All but the bracket, which has been read; names have ASCII letters only.
    chars.nth(text.len().saturating_sub(2));
    Ok(text)
}

/// A character that stands for itself, in a class or out of one.
fn push_literal(c: char, out: &mut String) {
    // `<` and `>` mean something else after a backslash, and nothing without.
    if c.is_ascii_punctuation() && !matches!(c, '<' | '>') {
        out.push('\\');
    }
    out.push(c);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, text: &str) -> bool {
        full_match(pattern).unwrap().is_match(text)
    }

    #[test]
    fn the_whole_text_is_matched() {
        assert!(fits("a|bc", "bc"));
        assert!(!fits("a|b", "bc"));
        assert!(!fits("b", "abc"));
        assert!(fits("a.c", "a\u{fffd}c"));
        assert!(!fits("a.c", "a\nc"));
        assert!(fits("a[^b]c", "a\nc"));
        assert!(fits("a$\n^b", "a\nb"));
    }

    #[test]
    fn what_stands_for_itself() {
        for (pattern, text) in [
            ("[[]", "["),
            ("[]]", "]"),
            ("[^]]", "x"),
            ("[]-]", "-"),
            ("[-a]", "-"),
            ("[a-]", "-"),
            ("[a&&b]", "&"),
            ("[~~a]", "~"),
            ("a{", "a{"),
            ("a{,2}", "a{,2}"),
            ("a{b}", "a{b}"),
            ("{\"a\":1}", "{\"a\":1}"),
            ("a]}", "a]}"),
            (r"\<\>\[\]\{\}\.", "<>[]{}."),
            (r"[\]\\-]", "\\"),
            (r"[\[-\]]", "\\"),
            ("\\#\\ ", "# "),
            (r"\x41[\x{42}-\x{43}]", "AC"),
            ("[[:alpha:][:digit:]-]+", "a1-"),
            ("[[:^digit:]]", "a"),
            ("a{2}b{1,}c{0,1}", "aab"),
            ("a*?", "aa"),
            ("", ""),
            ("()", ""),
            // A capability list, in the words of Falco users.
            (r#"([[]("(A|B)"(,"(A|B)")*)?[]] ?)*"#, r#"["A","B"] []"#),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn what_falco_refuses() {
        for (pattern, message) in [
            ("(?:a)", "(?...)"),
            ("(?i)a", "(?...)"),
            ("(?P<n>a)", "(?...)"),
            (r"\d+", r"Falco knows no \d: write [0-9]"),
            (r"[\w]", r"Falco knows no \w: write [0-9A-Za-z_]"),
            (r"\bx", r"Falco knows no \b"),
            (r"\pL", r"Falco knows no \p"),
            (r"\Ax\z", r"Falco knows no \A"),
            (r"\Qx\E", r"Falco knows no \Q"),
            (r"(a)\1", r"Falco knows no \1"),
            (r"\_", r"Falco knows no \_"),
            (r"\x{zz}", "invalid hexadecimal digit"),
            (r"\x{41", "incomplete escape sequence"),
            ("a\\", "it ends with a backslash"),
            ("a{1001}", "{1001} repeats more than 1000 times"),
            ("a{99999999999}", "repeats more than 1000 times"),
            ("[a", "a [ is never closed"),
            ("[a-", "a [ is never closed"),
            ("[]", "a [ is never closed"),
            ("[a-b-c]", "a dash in [...]"),
            ("[b-a]", "invalid character class range"),
            ("[[:letter:]]", "[: begins a class that is not known"),
            ("*a", "repetition operator missing expression"),
            ("a)(b", "unopened group"),
            ("(a", "unclosed group"),
        ] {
            let error = full_match(pattern).unwrap_err();
            assert!(error.contains(message), "{pattern}: {error}");
        }
    }
}
