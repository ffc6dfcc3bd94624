//! Conditions evaluated as they are written: walking the tree, looking every field up anew, and
//! without any preparation. Slow and plain; what is compiled has to say the same.

use falco_psp::event::Event;
use falco_psp::fields::{self, Value};
use falco_psp::rules::ast::{
    Argument, Call, Check, Comparison, Expr, Function, List, ListOperator, Literal, Operand,
    Quantifier, Right, Test,
};

/// Whether the condition is true of the event; it has no macros, and it is one that loads.
pub(crate) fn holds(expr: &Expr, event: &Event) -> bool {
    match expr {
        Expr::Or(parts) => parts.iter().any(|part| holds(part, event)),
        Expr::And(parts) => parts.iter().all(|part| holds(part, event)),
        Expr::Not(inner) => !holds(inner, event),
        Expr::Check(check) => check_holds(check, event),
        Expr::Macro(_) => false,
    }
}

fn check_holds(check: &Check, event: &Event) -> bool {
    let left = values(&check.left, event);
    if left.is_empty() {
        return false;
    }
    match &check.test {
        Test::Exists => true,
        Test::Compare(operator, Right::Literal(literal)) => left
            .iter()
            .any(|value| compares(value, *operator, &literal.text)),
        Test::Compare(operator, Right::Operand(right)) => {
            let right = values(right, event);
            left.iter()
                .any(|left| right.iter().any(|right| compares(left, *operator, right)))
        }
        Test::Several(operator, quantifier, literals) => left.iter().any(|value| {
            let holding = literals
                .iter()
                .filter(|l| compares(value, *operator, &l.text))
                .count();
            match quantifier {
                Quantifier::AnyOf => holding > 0,
                Quantifier::OneOf => holding == 1,
                Quantifier::AllOf => holding == literals.len(),
            }
        }),
        Test::List(operator, List::Literals(literals)) => {
            let mut among = left
                .iter()
                .map(|value| is_among(value, *operator, literals));
            match operator {
                ListOperator::Intersects => among.any(|is| is),
                ListOperator::In | ListOperator::PathMatch => among.all(|is| is),
            }
        }
        Test::List(operator, List::Operand(right)) => {
            let right = values(right, event);
            let mut among = left.iter().map(|value| right.contains(value));
            match operator {
                ListOperator::Intersects => among.any(|is| is),
                _ => !right.is_empty() && among.all(|is| is),
            }
        }
    }
}

/// The values as texts: numbers in decimal, truth as `true` and `false`.
fn values(operand: &Operand, event: &Event) -> Vec<String> {
    let call = match operand {
        Operand::Call(call) => call,
        Operand::Field(name) => {
            let mut values = Vec::new();
            let field = fields::lookup(&name.name, name.argument.as_deref());
            field.expect("a field").extract(event, |value| {
                values.push(match value {
                    Value::Bool(value) => value.to_string(),
                    Value::Int(value) => value.to_string(),
                    Value::Text(text) => text.into_owned(),
                });
            });
            return values;
        }
    };
    called(call, event)
}

fn called(call: &Call, event: &Event) -> Vec<String> {
    let arguments: Vec<Vec<String>> = call
        .arguments
        .iter()
        .map(|argument| match argument {
            Argument::Text(literal) => vec![literal.text.clone()],
            Argument::Operand(operand) => values(operand, event),
        })
        .collect();
    if arguments.iter().any(Vec::is_empty) {
        return Vec::new();
    }
    let each = |change: fn(&str) -> String| arguments[0].iter().map(|text| change(text)).collect();
    match call.function {
        Function::ToLower => each(str::to_ascii_lowercase),
        Function::ToUpper => each(str::to_ascii_uppercase),
        Function::Basename => each(|text| text.rsplit('/').next().unwrap_or_default().to_owned()),
        // Random texts are seldom base 64 or options, so these are tested by themselves.
        Function::Base64 | Function::GetOpt => Vec::new(),
        Function::Length => {
            let is_list = match &call.arguments[0] {
                Argument::Operand(Operand::Field(field)) => {
                    fields::lookup(&field.name, None)
                        .expect("a field")
                        .field
                        .list
                }
                _ => false,
            };
            vec![
                if is_list {
                    arguments[0].len()
                } else {
                    arguments[0][0].len()
                }
                .to_string(),
            ]
        }
        Function::Join => vec![arguments[1].join(&arguments[0][0])],
        Function::Concat => vec![arguments.iter().map(|texts| texts[0].as_str()).collect()],
    }
}

fn compares(left: &str, operator: Comparison, right: &str) -> bool {
    let order = || match (left.parse::<i64>(), right.parse::<i64>()) {
        (Ok(left), Ok(right)) => left.cmp(&right),
        _ => left.cmp(right),
    };
    match operator {
        Comparison::Equal => left == right,
        Comparison::NotEqual => left != right,
        Comparison::Less => order().is_lt(),
        Comparison::LessOrEqual => order().is_le(),
        Comparison::Greater => order().is_gt(),
        Comparison::GreaterOrEqual => order().is_ge(),
        Comparison::Contains => left.contains(right),
        Comparison::ContainsIgnoreCase => left
            .to_ascii_lowercase()
            .contains(&right.to_ascii_lowercase()),
        Comparison::StartsWith => left.starts_with(right),
        Comparison::EndsWith => left.ends_with(right),
        Comparison::Glob => wildcard(left.as_bytes(), right.as_bytes()),
        Comparison::GlobIgnoreCase => wildcard(
            left.to_ascii_lowercase().as_bytes(),
            right.to_ascii_lowercase().as_bytes(),
        ),
        Comparison::Regex => regex::Regex::new(&format!("^(?:{right})$"))
            .expect("an expression")
            .is_match(left),
        Comparison::ContainsBytes | Comparison::StartsWithBytes => false,
    }
}

/// `*` is any text, `?` any byte.
fn wildcard(text: &[u8], pattern: &[u8]) -> bool {
    match (pattern.first(), text.first()) {
        (None, None) => true,
        (Some(b'*'), _) => {
            wildcard(text, &pattern[1..]) || (!text.is_empty() && wildcard(&text[1..], pattern))
        }
        (Some(b'?'), Some(_)) => wildcard(&text[1..], &pattern[1..]),
        (Some(a), Some(b)) => a == b && wildcard(&text[1..], &pattern[1..]),
        _ => false,
    }
}

fn is_among(value: &str, operator: ListOperator, literals: &[Literal]) -> bool {
    literals.iter().any(|literal| {
        let literal = literal.text.as_str();
        if operator == ListOperator::PathMatch {
            let parts = |path: &'_ str| -> Vec<String> {
                path.split('/')
                    .filter(|part| !part.is_empty())
                    .map(str::to_owned)
                    .collect()
            };
            return parts(value).starts_with(&parts(literal));
        }
        let range = literal
            .split_once(':')
            .and_then(|(min, max)| Some((min.parse::<i64>().ok()?, max.parse::<i64>().ok()?)));
        match (value.parse::<i64>(), range) {
            (Ok(number), Some((min, max))) => (min..=max).contains(&number),
            _ => value == literal,
        }
    })
}
