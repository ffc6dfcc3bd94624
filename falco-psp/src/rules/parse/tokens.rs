//! What a condition is made of: words, numbers, texts with and without quotes.

use super::{ParseError, Parser};
use crate::rules::ast::{At, Comparison, Literal};
use crate::rules::output::escape;

/// What may stand between tokens (`lex_blank`).
pub(in crate::rules) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x08 | b'\r' | b'\n')
}

/// POSIX `[:space:]`, which ends a bare text.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether the byte may be part of a text without quotes: `[^()"'[:space:]=,]`.
pub(in crate::rules) fn is_bare(byte: u8) -> bool {
    !is_space(byte) && !matches!(byte, b'(' | b')' | b'"' | b'\'' | b'=' | b',')
}

/// Whether the byte may be part of a field's argument without quotes: `[^][\"'[:space:]]`.
pub(in crate::rules) fn is_bare_argument(byte: u8) -> bool {
    !is_space(byte) && !matches!(byte, b'[' | b']' | b'"' | b'\'')
}

impl<'a> Parser<'a> {
    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn place(&self) -> At {
        At {
            text: self.number,
            offset: u32::try_from(self.at).unwrap_or(u32::MAX),
        }
    }

    pub(super) fn error(&self, message: impl Into<String>) -> ParseError {
        // Where the text ends, its author sees no blanks.
        let end = self
            .text
            .trim_end_matches(|c| u8::try_from(c).is_ok_and(is_blank));
        ParseError {
            offset: self.at.min(end.len()),
            message: message.into(),
            help: None,
        }
    }

    /// What stands here, for a message.
    pub(super) fn found(&self) -> String {
        let rest = self.rest();
        let word = rest
            .split(|c: char| c.is_whitespace() || "(),".contains(c))
            .next()
            .unwrap_or_default();
        match (rest.chars().next(), word.is_empty()) {
            (None, _) => "the end".to_owned(),
            (Some(first), true) => format!("\"{}\"", first.escape_debug()),
            (Some(_), false) => {
                let shown: String = word.chars().take(40).collect();
                format!("\"{}\"", shown.escape_debug())
            }
        }
    }

    /// Passes over blanks and tells whether there were any.
    pub(super) fn blanks(&mut self) -> bool {
        let start = self.at;
        while self.peek().is_some_and(is_blank) {
            self.at += 1;
        }
        self.at > start
    }

    pub(super) fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// Takes what is made of such bytes, all of them ASCII or whole characters.
    pub(super) fn take_while(&mut self, accept: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.bytes().position(|b| !accept(b)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// Takes a word if a blank, a `(` or the end follows it.
    pub(super) fn take_keyword(&mut self, word: &str) -> bool {
        let found = self.rest().strip_prefix(word).is_some_and(|after| {
            after
                .bytes()
                .next()
                .is_none_or(|b| is_blank(b) || b == b'(')
        });
        if found {
            self.at += word.len();
        }
        found
    }

    /// An identifier or a field name: `[a-zA-Z]+[a-zA-Z0-9_]*(\.[a-zA-Z]+[a-zA-Z0-9_]*)*`.
    pub(super) fn dotted_word(&mut self) -> &'a str {
        let start = self.at;
        loop {
            if !self.peek().is_some_and(|b| b.is_ascii_alphabetic()) {
                break;
            }
            self.take_while(is_word);
            let more = self.rest().as_bytes();
            let dotted = matches!(more, [b'.', letter, ..] if letter.is_ascii_alphabetic());
            if !dotted {
                break;
            }
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    /// `[+-]?[0-9]+[.]?[0-9]*([eE][+-][0-9]+)?` or `0x...`.
    pub(super) fn number(&mut self, comparison: Comparison) -> Result<Literal, ParseError> {
        let at = self.place();
        let start = self.at;
        if self.take("0x") || self.take("0X") {
            self.take_while(|b| b.is_ascii_alphanumeric());
        } else {
            let _ = self.take("+") || self.take("-");
            if self.take_while(|b| b.is_ascii_digit()).is_empty() {
                self.at = start;
                let found = self.found();
                let word = comparison.word();
                return Err(self.error(format!("expected a number after {word}, found {found}")));
            }
            self.take(".");
            self.take_while(|b| b.is_ascii_digit());
            if let [b'e' | b'E', b'+' | b'-', b'0'..=b'9', ..] = self.rest().as_bytes() {
                self.at += 2;
                self.take_while(|b| b.is_ascii_digit());
            }
        }
        Ok(Literal {
            text: self.text[start..self.at].to_owned(),
            at,
        })
    }

    pub(super) fn literal(&mut self) -> Result<Literal, ParseError> {
        let at = self.place();
        if let Some(text) = self.quoted()? {
            return Ok(Literal { text, at });
        }
        let text = self.take_while(is_bare);
        if text.is_empty() {
            let found = self.found();
            return Err(self.error(format!("expected a value, found {found}")));
        }
        Ok(Literal {
            text: text.to_owned(),
            at,
        })
    }

    /// A text in quotes, if one stands here. Escapes as in libs `filter/escaping.cpp`.
    pub(super) fn quoted(&mut self) -> Result<Option<String>, ParseError> {
        let Some(quote @ ('"' | '\'')) = self.rest().chars().next() else {
            return Ok(None);
        };
        let open = self.at;
        let mut text = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((offset, c)) = chars.next() {
            if c == quote {
                self.at = open + offset + 1;
                return Ok(Some(text));
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            let Some((_, escaped)) = chars.next() else {
                break;
            };
            text.push(match escaped {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                // Falco keeps a backslash before a blank for the sake of old rules.
                '\\' | ' ' => '\\',
                '/' => '/',
                own if own == quote => own,
                other => {
                    self.at = open + offset;
                    let shown = other.to_string();
                    let shown = escape(&shown);
                    let mut error = self.error(format!("unknown escape \"\\{shown}\""));
                    error.help = Some(format!(
                        "a text knows \\b \\f \\n \\r \\t \\\\ \\/ and \\{quote}; for a \
                         backslash write \\\\"
                    ));
                    return Err(error);
                }
            });
        }
        Err(self.error(format!("the text has no closing {quote}")))
    }
}
