//! Syntax tree to compiled condition: fields are looked up, values typed, sets and patterns made.
//!
//! Everything that can be wrong with a condition is found here, when the rules are loaded, and
//! all of it at once. Which operator goes with which type of field is Falco's table (libs
//! `userspace/libsinsp/filter_compare.cpp`, `flt_is_comparable`).

use regex::Regex;

use super::ast::{
    At, Check, Comparison, Expr, List, ListOperator, Literal, Operand as AstOperand, Right,
    Test as AstTest,
};
use super::evaluate::{
    BoolTest, Condition, FieldTest, IntTest, Order, Relation, Set, Test, TextTest,
};
use super::glob::Glob;
use super::operand::Operand;
use super::posix;
use super::text::Problem;
use super::values::PathPrefixes;
use crate::fields::{Kind, Source};

/// Compiles a condition without macros for the events of `source`.
pub(super) fn compile(expr: &Expr, source: Source) -> Result<Condition, Vec<Problem>> {
    let mut compiler = Compiler {
        source,
        problems: Vec::new(),
    };
    match compiler.condition(expr) {
        Some(condition) if compiler.problems.is_empty() => Ok(condition),
        _ => Err(compiler.problems),
    }
}

struct Compiler {
    source: Source,
    problems: Vec<Problem>,
}

impl Compiler {
    /// `None` where there is a problem.
    fn condition(&mut self, expr: &Expr) -> Option<Condition> {
        match expr {
            Expr::Or(parts) => self.all(parts).map(Condition::Or),
            Expr::And(parts) => self.all(parts).map(Condition::And),
            Expr::Not(inner) => Some(Condition::Not(Box::new(self.condition(inner)?))),
            Expr::Macro(name) => {
                let message = format!("undefined macro \"{}\"", name.name);
                self.problems.push(Problem::new(name.at, message));
                None
            }
            Expr::Check(check) => match self.check(check) {
                Ok(test) => Some(Condition::Test(Box::new(test))),
                Err(problems) => {
                    self.problems.extend(problems);
                    None
                }
            },
        }
    }

    fn all(&mut self, parts: &[Expr]) -> Option<Box<[Condition]>> {
        let compiled: Vec<_> = parts.iter().map(|part| self.condition(part)).collect();
        compiled.into_iter().collect()
    }

    fn check(&self, check: &Check) -> Result<FieldTest, Vec<Problem>> {
        let operand = |ast| Operand::new(ast, self.source).map_err(|problem| vec![problem]);
        let left = operand(&check.left)?;
        let subject = Subject::new(&check.left, &left);
        let test = match &check.test {
            AstTest::Exists => Test::Exists,
            AstTest::Compare(operator, Right::Literal(literal)) => {
                compare(&subject, *operator, literal).map_err(|problem| vec![problem])?
            }
            AstTest::Compare(operator, Right::Operand(right)) => {
                let operand = operand(right)?;
                let other = Subject::new(right, &operand);
                let relation = Relation::Compares(*operator);
                relate(&subject, &other, relation).map_err(|problem| vec![problem])?;
                Test::Other(relation, Box::new(operand))
            }
            AstTest::Several(operator, quantifier, literals) => {
                let tests = every(literals, |literal| compare(&subject, *operator, literal))?;
                Test::Several(*quantifier, tests.into())
            }
            AstTest::List(operator, List::Literals(literals)) => {
                list(&subject, *operator, literals)?
            }
            AstTest::List(operator, List::Operand(right)) => {
                let operand = operand(right)?;
                let other = Subject::new(right, &operand);
                let relation = Relation::Among(*operator);
                relate(&subject, &other, relation).map_err(|problem| vec![problem])?;
                Test::Other(relation, Box::new(operand))
            }
        };
        Ok(FieldTest { left, test })
    }
}

/// What stands on one side of an operator, for messages and types.
struct Subject {
    name: String,
    kind: Kind,
    list: bool,
    at: At,
}

impl Subject {
    fn new(ast: &AstOperand, operand: &Operand) -> Self {
        Self {
            name: ast.to_string(),
            kind: operand.kind(),
            list: operand.is_list(),
            at: ast.at(),
        }
    }

    fn describe(&self) -> &'static str {
        if self.list {
            "a list"
        } else {
            self.kind.describe()
        }
    }
}

/// Whether the values of two fields can be compared so.
fn relate(left: &Subject, right: &Subject, relation: Relation) -> Result<(), Problem> {
    let wrong = |word: &str, side: &str, subject: &Subject| {
        let (name, what) = (&subject.name, subject.describe());
        let message = format!("{word} cannot have {name} on its {side}, which is {what}");
        Err(Problem::new(subject.at, message))
    };
    let word = relation.word();
    match relation {
        Relation::Compares(operator) => {
            let of_text = match operator {
                Comparison::Equal | Comparison::NotEqual => false,
                operator if operator.is_order() => false,
                Comparison::Contains
                | Comparison::ContainsIgnoreCase
                | Comparison::StartsWith
                | Comparison::EndsWith => true,
                _ => {
                    let message = format!("{word} cannot have a field on its right");
                    return Err(Problem::new(right.at, message));
                }
            };
            let no_order = operator.is_order() && left.kind == Kind::Bool;
            if left.list || no_order || (of_text && left.kind != Kind::String) {
                return wrong(word, "left", left);
            }
            if right.list {
                return wrong(word, "right", right);
            }
        }
        Relation::Among(ListOperator::PathMatch) => {
            let message = "pmatch cannot have a field on its right";
            return Err(Problem::new(right.at, message));
        }
        Relation::Among(ListOperator::In | ListOperator::Intersects) => {}
    }
    if left.kind == right.kind {
        return Ok(());
    }
    let kinds = (left.kind.describe(), right.kind.describe());
    let message = format!(
        "{} is {} and {} is {}: they cannot be compared",
        left.name, kinds.0, right.name, kinds.1
    );
    Err(Problem::new(right.at, message))
}

fn compare(field: &Subject, operator: Comparison, literal: &Literal) -> Result<Test, Problem> {
    if field.list {
        return Err(wrong_operator(field, operator.word()));
    }
    let text = literal.text.as_str();
    let refused = || Err(wrong_operator(field, operator.word()));
    Ok(match field.kind {
        Kind::Bool => Test::Bool(match operator {
            Comparison::Equal => BoolTest::Equal(truth(literal)?),
            Comparison::NotEqual => BoolTest::NotEqual(truth(literal)?),
            _ => return refused(),
        }),
        Kind::Int => Test::Int(match (operator, Order::from_comparison(operator)) {
            (Comparison::Equal, _) => IntTest::Equal(number(literal)?),
            (Comparison::NotEqual, _) => IntTest::NotEqual(number(literal)?),
            (_, Some(order)) => IntTest::Order(order, number(literal)?),
            _ => return refused(),
        }),
        Kind::String => Test::Text(match operator {
            Comparison::Equal => TextTest::Equal(text.into()),
            Comparison::NotEqual => TextTest::NotEqual(text.into()),
            Comparison::Less => TextTest::Order(Order::Less, text.into()),
            Comparison::LessOrEqual => TextTest::Order(Order::LessOrEqual, text.into()),
            Comparison::Greater => TextTest::Order(Order::Greater, text.into()),
            Comparison::GreaterOrEqual => TextTest::Order(Order::GreaterOrEqual, text.into()),
            Comparison::Contains => TextTest::Contains(text.into()),
            Comparison::ContainsIgnoreCase => TextTest::ContainsIgnoreCase(text.into()),
            Comparison::ContainsBytes => TextTest::ContainsBytes(bytes(literal)?),
            Comparison::StartsWith => TextTest::StartsWith(text.into()),
            Comparison::StartsWithBytes => TextTest::StartsWithBytes(bytes(literal)?),
            Comparison::EndsWith => TextTest::EndsWith(text.into()),
            Comparison::Glob => TextTest::Glob(glob(literal, false)?),
            Comparison::GlobIgnoreCase => TextTest::Glob(glob(literal, true)?),
            Comparison::Regex => TextTest::Regex(regex(literal)?),
        }),
    })
}

fn list(
    field: &Subject,
    operator: ListOperator,
    literals: &[Literal],
) -> Result<Test, Vec<Problem>> {
    let at = field.at;
    let set = match (operator, field.kind) {
        (ListOperator::PathMatch, Kind::String) => {
            let prefixes = literals.iter().map(|literal| literal.text.as_str());
            Set::Paths(PathPrefixes::new(prefixes).map_err(|(i, message)| {
                let at = literals.get(i).map_or(at, |literal| literal.at);
                vec![Problem::new(at, message)]
            })?)
        }
        (ListOperator::PathMatch, Kind::Bool | Kind::Int) => {
            return Err(vec![wrong_operator(field, operator.word())]);
        }
        (_, Kind::Bool) => {
            let values = every(literals, truth)?;
            Set::Bool {
                has_true: values.contains(&true),
                has_false: values.contains(&false),
            }
        }
        (_, Kind::Int) => Set::Int(every(literals, range)?.into_iter().collect()),
        (_, Kind::String) => {
            let texts = literals.iter().map(|literal| literal.text.as_str().into());
            Set::Text(texts.collect())
        }
    };
    Ok(match operator {
        ListOperator::Intersects => Test::Some(set),
        ListOperator::In | ListOperator::PathMatch => Test::Every(set),
    })
}

/// Reads all literals; all that is wrong with them.
fn every<T>(
    literals: &[Literal],
    read: impl Fn(&Literal) -> Result<T, Problem>,
) -> Result<Vec<T>, Vec<Problem>> {
    let mut values = Vec::new();
    let mut problems = Vec::new();
    for literal in literals {
        match read(literal) {
            Ok(value) => values.push(value),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        Ok(values)
    } else {
        Err(problems)
    }
}

fn wrong_operator(field: &Subject, word: &str) -> Problem {
    let name = &field.name;
    let operators = match (field.list, field.kind) {
        (true, Kind::String) => "exists in intersects pmatch",
        (true, Kind::Bool | Kind::Int) => "exists in intersects",
        (false, Kind::Bool) => "exists = != in intersects",
        (false, Kind::Int) => "exists = != < <= > >= in intersects",
        (false, Kind::String) => "all",
    };
    let what = field.describe();
    Problem::new(
        field.at,
        format!("{word} cannot be used on {name}, which is {what}"),
    )
    .with_help(format!("use one of: {operators}"))
}

fn truth(literal: &Literal) -> Result<bool, Problem> {
    match literal.text.as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        other => Err(Problem::new(
            literal.at,
            format!("\"{other}\" is neither true nor false"),
        )),
    }
}

/// A whole number, decimal or with `0x`.
fn whole(text: &str) -> Option<i64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if !digits.starts_with(['+', '-']) => i64::from_str_radix(digits, 16).ok(),
        Some(_) => None,
        None => text.parse().ok(),
    }
}

fn number(literal: &Literal) -> Result<i64, Problem> {
    let text = &literal.text;
    whole(text).ok_or_else(|| {
        let is_range = text
            .split_once(':')
            .is_some_and(|(min, max)| whole(min).is_some() && whole(max).is_some());
        let help = is_range.then(|| format!("write: in ({text})"));
        Problem::new(literal.at, format!("\"{text}\" is not a whole number")).with_help(help)
    })
}

/// A number, or a range of numbers `min:max`.
fn range(literal: &Literal) -> Result<(i64, i64), Problem> {
    let text = &literal.text;
    let bounds = match text.split_once(':') {
        Some((min, max)) => whole(min).zip(whole(max)),
        None => whole(text).map(|number| (number, number)),
    };
    match bounds {
        Some((min, max)) if min > max => Err(Problem::new(
            literal.at,
            format!("the range {text} is empty: its minimum is greater than its maximum"),
        )),
        Some(bounds) => Ok(bounds),
        None => Err(Problem::new(
            literal.at,
            format!("\"{text}\" is neither a whole number nor a range such as 30:40"),
        )),
    }
}

/// Bytes in hexadecimal, as `bcontains` and `bstartswith` take them.
fn bytes(literal: &Literal) -> Result<Box<[u8]>, Problem> {
    let text = &literal.text;
    let pairs = text.as_bytes().chunks(2).map(|pair| {
        let text = str::from_utf8(pair).ok()?;
        let hex = pair.len() == 2 && pair.iter().all(u8::is_ascii_hexdigit);
        hex.then(|| u8::from_str_radix(text, 16).ok())?
    });
    pairs.collect::<Option<_>>().ok_or_else(|| {
        Problem::new(
            literal.at,
            format!("\"{text}\" is not a sequence of bytes in hexadecimal, such as cafe"),
        )
    })
}

fn glob(literal: &Literal, ignore_case: bool) -> Result<Glob, Problem> {
    Glob::new(&literal.text, ignore_case).map_err(|message| Problem::new(literal.at, message))
}

fn regex(literal: &Literal) -> Result<Regex, Problem> {
    posix::full_match(&literal.text)
        .map_err(|message| Problem::new(literal.at, format!("bad regular expression: {message}")))
}
