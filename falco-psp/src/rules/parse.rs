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

mod tokens;

use self::tokens::is_word;
pub(super) use self::tokens::{is_bare, is_bare_argument, is_blank};
use super::ast::{Check, Comparison, Expr, FieldName, ListOperator, Literal, Name, Test};
use crate::diagnostic::nearest;

/// How deep parentheses may nest. Falco allows 1000, and no one writes ten. Up to here every pass
/// over the tree fits the stack of a thread, in a debug build too.
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

/// Reads a condition that is the text of the given number (see [`super::ast::At`]).
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

struct Parser<'a> {
    text: &'a str,
    number: u32,
    at: usize,
    nesting: usize,
}

impl Parser<'_> {
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
