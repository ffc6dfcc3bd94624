//! Condition text to syntax tree.
//!
//! The grammar is that of Falco's `libsinsp::filter::parser` (libs
//! `userspace/libsinsp/filter/parser.cpp`), read by recursive descent:
//!
//! ```text
//! Expr    := And ("or" And)*
//! And     := Operand ("and" Operand)*
//! Operand := "not"* ( "(" Expr ")" | Check | Identifier )
//! Check   := Left "exists" | Left Comparison Right | Left ListOperator List
//!          | Left Comparison ("oneof" | "anyof" | "allof") List
//! Left    := Field | Call
//! Call    := function "(" ( Left | 'quoted' ) ("," ( Left | 'quoted' ))* ")"
//! Right   := Text | "val(" Field ")" | Call
//! Field   := word ("." word)+ [ "[" argument "]" ]
//! List    := "(" [ Text ("," Text)* ] ")" | Identifier | "val(" Field ")" | Call
//! Text    := 'quoted' | "quoted" | bare
//! ```
//!
//! `not` binds tighter than `and`, that tighter than `or`; keywords are lower-case; the whole text
//! must be one expression.

mod tokens;

use self::tokens::is_word;
pub(super) use self::tokens::{is_bare, is_bare_argument, is_blank};
use super::ast::{
    Argument, Call, Check, Comparison, Expr, FieldName, Function, List, ListOperator, Literal,
    Name, Operand, Quantifier, Right, Test,
};
use crate::diagnostic::nearest;

/// How deep parentheses may nest. Falco allows 1000, and no one writes ten. Up to here every pass
/// over the tree fits the stack of a thread, in a debug build too.
pub const MAX_NESTING: usize = 250;

/// How deep functions may nest.
const MAX_CALLS: usize = 16;

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

/// Reads the function with which a text begins: the call, and how many bytes it has.
pub(super) fn parse_call(text: &str) -> Result<(Call, usize), ParseError> {
    let mut parser = Parser {
        text,
        number: 0,
        at: 0,
        nesting: 0,
    };
    match parser.call(0)? {
        Some(call) => Ok((call, parser.at)),
        None => Err(parser.error("unknown function")),
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
        let left = if self.peek() == Some(b'(') {
            self.at = at.offset as usize;
            match self.call(0)? {
                Some(call) => Operand::Call(call),
                None => {
                    let help = match word {
                        "val" => "val() stands on the right of an operator",
                        _ => "before a \"(\" there is a function, \"and\", \"or\" or \"not\"",
                    };
                    return Err(ParseError {
                        help: Some(help.to_owned()),
                        ..self.error(format!("unknown function \"{word}\""))
                    });
                }
            }
        } else if word.contains('.') {
            Operand::Field(FieldName {
                name: word.to_owned(),
                argument: self.argument()?,
                at,
            })
        } else {
            return Ok(Expr::Macro(Name {
                name: word.to_owned(),
                at,
            }));
        };
        let test = self.test()?;
        Ok(Expr::Check(Box::new(Check { left, test })))
    }

    /// A field, where nothing else can stand.
    fn field(&mut self) -> Result<FieldName, ParseError> {
        let at = self.place();
        let word = self.dotted_word();
        if !word.contains('.') {
            self.at = at.offset as usize;
            let found = self.found();
            return Err(self.error(format!("expected a field, found {found}")));
        }
        Ok(FieldName {
            name: word.to_owned(),
            argument: self.argument()?,
            at,
        })
    }

    /// A function with what it is of, if one stands here, within `depth` others.
    fn call(&mut self, depth: usize) -> Result<Option<Call>, ParseError> {
        let at = self.place();
        let word = self.dotted_word();
        let function = find(Function::ALL, Function::word, word);
        let Some(function) = function.filter(|_| self.peek() == Some(b'(')) else {
            self.at = at.offset as usize;
            return Ok(None);
        };
        if depth == MAX_CALLS {
            return Err(self.error(format!("functions are nested more than {MAX_CALLS} deep")));
        }
        self.at += 1;
        let mut arguments = Vec::new();
        loop {
            self.blanks();
            let place = self.place();
            arguments.push(if let Some(text) = self.quoted()? {
                Argument::Text(Literal { text, at: place })
            } else if let Some(call) = self.call(depth + 1)? {
                Argument::Operand(Operand::Call(call))
            } else {
                Argument::Operand(Operand::Field(self.field()?))
            });
            self.blanks();
            if self.take(")") {
                break;
            }
            if !self.take(",") {
                let found = self.found();
                return Err(self.error(format!("expected \",\" or \")\", found {found}")));
            }
        }
        Ok(Some(Call {
            function,
            arguments,
            selector: self.argument()?,
            at,
        }))
    }

    /// `val(field)` or a function, if one stands here.
    fn right_operand(&mut self) -> Result<Option<Operand>, ParseError> {
        if !self.take("val(") {
            return Ok(self.call(0)?.map(Operand::Call));
        }
        self.blanks();
        let field = self.field()?;
        self.blanks();
        if !self.take(")") {
            let found = self.found();
            return Err(self.error(format!("expected \")\", found {found}")));
        }
        Ok(Some(Operand::Field(field)))
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
        if let Some(operand) = self.right_operand()? {
            return Ok(Test::Compare(comparison, Right::Operand(operand)));
        }
        if comparison.is_order() {
            let number = self.number(comparison)?;
            return Ok(Test::Compare(comparison, Right::Literal(number)));
        }
        for quantifier in Quantifier::ALL {
            let start = self.at;
            if self.take_keyword(quantifier.word()) {
                self.blanks();
                if self.peek() == Some(b'(') {
                    let literals = self.literals()?;
                    return Ok(Test::Several(comparison, *quantifier, literals));
                }
                // It is the value.
                self.at = start;
            }
        }
        Ok(Test::Compare(comparison, Right::Literal(self.literal()?)))
    }

    fn list(&mut self) -> Result<List, ParseError> {
        self.blanks();
        if let Some(operand) = self.right_operand()? {
            return Ok(List::Operand(operand));
        }
        if self.peek() != Some(b'(') {
            let at = self.place();
            let word = match self.peek() {
                Some(b) if b.is_ascii_alphabetic() => self.take_while(is_word),
                _ => {
                    let found = self.found();
                    return Err(self.error(format!("expected a list in \"()\", found {found}")));
                }
            };
            return Ok(List::Literals(vec![Literal {
                text: word.to_owned(),
                at,
            }]));
        }
        Ok(List::Literals(self.literals()?))
    }

    /// Values in parentheses, of which the first is next.
    fn literals(&mut self) -> Result<Vec<Literal>, ParseError> {
        let _ = self.take("(");
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
