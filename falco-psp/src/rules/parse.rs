//! Condition text to syntax tree.
//!
//! The grammar is that of Falco's `libsinsp::filter::parser` (libs
//! `userspace/libsinsp/filter/parser.cpp`), read by recursive descent:
//!
//! ```text
//! Expr    := And ("or" And)*
//! And     := Operand ("and" Operand)*
//! Operand := "not"* ( "(" Expr ")" | Check | Identifier )
//! Check   := Field "exists" | Field Comparison Text | Field ListOperator List
//! Field   := word ("." word)+ [ "[" argument "]" ]
//! List    := "(" [ Text ("," Text)* ] ")" | Identifier
//! Text    := 'quoted' | "quoted" | bare
//! ```
//!
//! `not` binds tighter than `and`, that tighter than `or`; keywords are lower-case; the whole text
//! must be one expression.

use super::ast::{At, Check, Comparison, Expr, FieldName, ListOperator, Literal, Name, Test};
use super::output::escape;
use crate::diagnostic::nearest;

/// How deep parentheses may nest. Falco's limit for rules is the same order of size; far below it
/// no pass over the tree can exhaust a thread's stack.
pub const MAX_NESTING: usize = 250;

/// The functions that today's Falco knows on either side of an operator.
const FUNCTIONS: [&str; 9] = [
    "val", "tolower", "toupper", "b64", "basename", "len", "join", "concat", "getopt",
];

/// Why a text is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// The byte at which reading stopped.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it, if that is not obvious.
    pub help: Option<String>,
}

/// Reads a condition.
///
/// # Errors
/// What is wrong with the first part that is no condition.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    parse_numbered(text, 0)
}

/// Reads a condition that is the text of the given number (see [`At`]).
pub(super) fn parse_numbered(text: &str, number: u32) -> Result<Expr, ParseError> {
    let mut parser = Parser {
        text,
        number,
        at: 0,
        nesting: 0,
    };
    parser.blanks();
    if parser.rest().is_empty() {
        return Err(parser.error("the condition is empty"));
    }
    let expr = parser.expression()?;
    if parser.rest().is_empty() {
        Ok(expr)
    } else {
        let found = parser.found();
        Err(parser.error(format!(
            "expected \"and\", \"or\" or the end, found {found}"
        )))
    }
}

/// What may stand between tokens (`lex_blank`).
pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x08 | b'\r' | b'\n')
}

/// POSIX `[:space:]`, which ends a bare text.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether the byte may be part of a text without quotes: `[^()"'[:space:]=,]`.
pub(super) fn is_bare(byte: u8) -> bool {
    !is_space(byte) && !matches!(byte, b'(' | b')' | b'"' | b'\'' | b'=' | b',')
}

/// Whether the byte may be part of a field's argument without quotes: `[^][\"'[:space:]]`.
pub(super) fn is_bare_argument(byte: u8) -> bool {
    !is_space(byte) && !matches!(byte, b'[' | b']' | b'"' | b'\'')
}

struct Parser<'a> {
    text: &'a str,
    number: u32,
    at: usize,
    nesting: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn place(&self) -> At {
        At {
            text: self.number,
            offset: u32::try_from(self.at).unwrap_or(u32::MAX),
        }
    }

    fn error(&self, message: impl Into<String>) -> ParseError {
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
    fn found(&self) -> String {
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
    fn blanks(&mut self) -> bool {
        let start = self.at;
        while self.peek().is_some_and(is_blank) {
            self.at += 1;
        }
        self.at > start
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// Takes what is made of such bytes, all of them ASCII or whole characters.
    fn take_while(&mut self, accept: impl Fn(u8) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.bytes().position(|b| !accept(b)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// Takes a word if a blank, a `(` or the end follows it.
    fn take_keyword(&mut self, word: &str) -> bool {
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

    fn expression(&mut self) -> Result<Expr, ParseError> {
        let mut alternatives = Vec::new();
        let mut parts = Vec::new();
        loop {
            parts.push(self.operand()?);
            self.blanks();
            if self.take_keyword("and") {
                continue;
            }
            alternatives.push(single_or(parts, Expr::And));
            if !self.take_keyword("or") {
                return Ok(single_or(alternatives, Expr::Or));
            }
            parts = Vec::new();
        }
    }

    fn operand(&mut self) -> Result<Expr, ParseError> {
        let mut negated = false;
        self.blanks();
        while self.take_keyword("not") {
            negated = !negated;
            self.blanks();
        }
        let expr = if self.peek() == Some(b'(') {
            self.parenthesised()?
        } else {
            self.check()?
        };
        Ok(if negated {
            Expr::Not(Box::new(expr))
        } else {
            expr
        })
    }

    fn parenthesised(&mut self) -> Result<Expr, ParseError> {
        if self.nesting == MAX_NESTING {
            return Err(self.error(format!(
                "parentheses are nested more than {MAX_NESTING} deep"
            )));
        }
        self.nesting += 1;
        self.at += 1;
        let expr = self.expression()?;
        if !self.take(")") {
            let found = self.found();
            return Err(self.error(format!("expected \")\", found {found}")));
        }
        self.nesting -= 1;
        Ok(expr)
    }

    fn check(&mut self) -> Result<Expr, ParseError> {
        let at = self.place();
        let word = self.dotted_word();
        if word.is_empty() || matches!(word, "and" | "or" | "not") {
            self.at = at.offset as usize;
            let found = self.found();
            return Err(self.error(format!("expected a field, a macro or \"(\", found {found}")));
        }
        if self.peek() == Some(b'(') && FUNCTIONS.contains(&word) {
            self.at = at.offset as usize;
            return Err(self.error(format!("not supported yet: {word}()")));
        }
        if !word.contains('.') {
            return Ok(Expr::Macro(Name {
                name: word.to_owned(),
                at,
            }));
        }
        let field = FieldName {
            name: word.to_owned(),
            argument: self.argument()?,
            at,
        };
        let test = self.test()?;
        Ok(Expr::Check(Box::new(Check { field, test })))
    }

    /// An identifier or a field name: `[a-zA-Z]+[a-zA-Z0-9_]*(\.[a-zA-Z]+[a-zA-Z0-9_]*)*`.
    fn dotted_word(&mut self) -> &'a str {
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

    fn argument(&mut self) -> Result<Option<String>, ParseError> {
        if !self.take("[") {
            return Ok(None);
        }
        let argument = match self.quoted()? {
            Some(text) => text,
            None => self.take_while(is_bare_argument).to_owned(),
        };
        if argument.is_empty() {
            return Err(self.error("expected the field's argument after \"[\""));
        }
        if self.take("]") {
            Ok(Some(argument))
        } else {
            Err(self.error("expected \"]\" after the field's argument"))
        }
    }

    fn test(&mut self) -> Result<Test, ParseError> {
        self.blanks();
        let start = self.at;
        // Longer signs first.
        for (sign, comparison) in [
            ("<=", Comparison::LessOrEqual),
            ("<", Comparison::Less),
            (">=", Comparison::GreaterOrEqual),
            (">", Comparison::Greater),
            ("==", Comparison::Equal),
            ("=", Comparison::Equal),
            ("!=", Comparison::NotEqual),
        ] {
            if self.take(sign) {
                return self.comparison(comparison);
            }
        }
        let word = self.take_while(is_word);
        if word == "exists" {
            return Ok(Test::Exists);
        }
        let blank_or_list = self.peek().is_none_or(|b| is_blank(b) || b == b'(');
        if let Some(operator) = find(ListOperator::ALL, ListOperator::word, word)
            && blank_or_list
        {
            return Ok(Test::List(operator, self.list()?));
        }
        if let Some(comparison) = find(Comparison::ALL, Comparison::word, word) {
            if !self.peek().is_some_and(is_blank) {
                return Err(self.error(format!("expected a blank after {word}")));
            }
            return self.comparison(comparison);
        }
        self.at = start;
        let found = self.found();
        let mut error = self.error(format!("expected an operator, found {found}"));
        let words = Comparison::ALL
            .iter()
            .map(|c| c.word())
            .chain(ListOperator::ALL.iter().map(|o| o.word()))
            .chain(["exists"]);
        error.help = Some(match nearest(word, words.clone()) {
            Some(near) if !word.is_empty() => format!("did you mean \"{near}\"?"),
            _ => format!("one of: {}", words.collect::<Vec<_>>().join(" ")),
        });
        Err(error)
    }

    fn comparison(&mut self, comparison: Comparison) -> Result<Test, ParseError> {
        self.blanks();
        self.refuse_function()?;
        let literal = if comparison.is_order() {
            self.number(comparison)?
        } else {
            self.literal()?
        };
        Ok(Test::Compare(comparison, literal))
    }

    /// `val(field)` and the transformers.
    fn refuse_function(&self) -> Result<(), ParseError> {
        match FUNCTIONS.iter().find(|name| {
            let after = self.rest().strip_prefix(**name);
            after.is_some_and(|after| after.starts_with('('))
        }) {
            Some(name) => Err(self.error(format!("not supported yet: {name}()"))),
            None => Ok(()),
        }
    }

    /// `[+-]?[0-9]+[.]?[0-9]*([eE][+-][0-9]+)?` or `0x...`.
    fn number(&mut self, comparison: Comparison) -> Result<Literal, ParseError> {
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

    fn list(&mut self) -> Result<Vec<Literal>, ParseError> {
        self.blanks();
        self.refuse_function()?;
        if !self.take("(") {
            let at = self.place();
            let word = match self.peek() {
                Some(b) if b.is_ascii_alphabetic() => self.take_while(is_word),
                _ => {
                    let found = self.found();
                    return Err(self.error(format!("expected a list in \"()\", found {found}")));
                }
            };
            return Ok(vec![Literal {
                text: word.to_owned(),
                at,
            }]);
        }
        let mut values = Vec::new();
        self.blanks();
        if self.take(")") {
            return Ok(values);
        }
        loop {
            self.blanks();
            values.push(self.literal()?);
            self.blanks();
            if self.take(")") {
                return Ok(values);
            }
            if !self.take(",") {
                let found = self.found();
                return Err(self.error(format!("expected \",\" or \")\", found {found}")));
            }
        }
    }

    fn literal(&mut self) -> Result<Literal, ParseError> {
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
    fn quoted(&mut self) -> Result<Option<String>, ParseError> {
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

fn single_or(mut parts: Vec<Expr>, join: fn(Vec<Expr>) -> Expr) -> Expr {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            join(parts)
        }
        None => join(parts),
    }
}

fn find<T: Copy>(all: &[T], word_of: fn(T) -> &'static str, word: &str) -> Option<T> {
    all.iter().copied().find(|item| word_of(*item) == word)
}
