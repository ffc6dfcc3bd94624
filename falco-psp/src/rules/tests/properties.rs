//! What holds for every condition.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{errors, event, file, fired, try_load};
use crate::rules::ast::{
    Argument, At, Call, Check, Comparison, Expr, FieldName, Function, List, ListOperator, Literal,
    Name, Operand, Quantifier, Right, Test,
};
use crate::rules::glob::Glob;
use crate::rules::parse;
use crate::rules::values::{IntSet, PathPrefixes};

fn literal(text: String) -> Literal {
    Literal {
        text,
        at: At::default(),
    }
}

/// Any text, with a liking for what needs quotes.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z/:.0-9-]{1,8}",
        "[ \\\\\"'(),=\\[\\]\n\r\t\u{8}\u{c}\u{b}a-cé]{0,8}",
        ".*",
    ]
}

fn word() -> impl Strategy<Value = String> {
    "[a-zA-Z][a-zA-Z0-9_]{0,6}".prop_filter("no keyword", |word| {
        !["and", "or", "not"].contains(&word.as_str())
    })
}

fn field() -> impl Strategy<Value = FieldName> {
    let name = vec("[a-zA-Z][a-zA-Z0-9_]{0,4}", 2..4).prop_map(|words| words.join("."));
    let argument = any_text().prop_filter("not empty", |text| !text.is_empty());
    (name, proptest::option::of(argument)).prop_map(|(name, argument)| FieldName {
        name,
        argument,
        at: At::default(),
    })
}

fn operand() -> impl Strategy<Value = Operand> {
    let leaf = field().prop_map(Operand::Field);
    leaf.prop_recursive(3, 6, 3, |inner| {
        let argument = prop_oneof![
            inner.prop_map(Argument::Operand),
            any_text().prop_map(|text| Argument::Text(literal(text))),
        ];
        let function = proptest::sample::select(Function::ALL);
        let selector =
            proptest::option::of(any_text().prop_filter("an argument", |text| !text.is_empty()));
        (function, vec(argument, 1..4), selector).prop_map(|(function, arguments, selector)| {
            Operand::Call(Call {
                function,
                arguments,
                selector,
                at: At::default(),
            })
        })
    })
}

fn test() -> impl Strategy<Value = Test> {
    let number = prop_oneof![
        "[+-]?[0-9]{1,4}",
        "0x[0-9a-f]{1,4}",
        "[0-9]\\.[0-9]e[+-][0-9]"
    ];
    let compare = proptest::sample::select(Comparison::ALL);
    let list = proptest::sample::select(ListOperator::ALL);
    prop_oneof![
        Just(Test::Exists),
        (compare.clone(), any_text(), number).prop_map(|(operator, text, number)| {
            let text = if operator.is_order() { number } else { text };
            Test::Compare(operator, Right::Literal(literal(text)))
        }),
        (compare.clone(), operand())
            .prop_map(|(operator, right)| Test::Compare(operator, Right::Operand(right))),
        (
            compare.prop_filter("of texts", |operator| !operator.is_order()),
            proptest::sample::select(Quantifier::ALL),
            vec(any_text().prop_map(literal), 0..4)
        )
            .prop_map(|(operator, quantifier, texts)| Test::Several(operator, quantifier, texts)),
        (list.clone(), operand())
            .prop_map(|(operator, right)| Test::List(operator, List::Operand(right))),
        (list, vec(any_text().prop_map(literal), 0..4))
            .prop_map(|(operator, literals)| Test::List(operator, List::Literals(literals))),
    ]
}

fn expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        word().prop_map(|name| Expr::Macro(Name {
            name,
            at: At::default()
        })),
        (operand(), test()).prop_map(|(left, test)| Expr::Check(Box::new(Check { left, test }))),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 2..5).prop_map(Expr::And),
            vec(inner.clone(), 2..5).prop_map(Expr::Or),
            inner.prop_map(|expr| Expr::Not(Box::new(expr))),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(expr in expr()) {
        let text = expr.to_string();
        prop_assert_eq!(parse(&text), Ok(expr), "{}", text);
    }

    #[test]
    fn garbage_is_refused_without_a_panic(text in ".*") {
        if let Err(error) = parse(&text) {
            prop_assert!(error.offset <= text.len());
        }
        let _ = try_load(&text);
        let _ = try_load(&file(&text.replace('\n', " ")));
        let _ = crate::rules::output::Output::new(&text, crate::fields::Source::Syscall);
    }

    #[test]
    fn almost_conditions_are_refused_without_a_panic(
        tokens in vec(proptest::sample::select(&[
            "and", "or", "not", "(", ")", "proc.name", "user.uids", "=", "in", "exists", ",", " ",
            "\"", "'", "\\", "[", "]", "30:40", "é", "<", "%", "m", "l", "\u{b}", "0x",
        ][..]), 0..20),
    ) {
        let text = tokens.concat();
        let items = "- {macro: m, condition: proc.pid = 1}\n- {list: l, items: [a, 1, '\"']}\n";
        let _ = try_load(&format!("{items}{}", file(&text)));
        let _ = crate::rules::output::Output::new(&text, crate::fields::Source::Syscall);
    }

    #[test]
    fn a_set_of_ranges_holds_what_one_of_them_holds(
        ranges in vec((-20_i64..20, 0_i64..10), 0..6),
        number in -25_i64..35,
    ) {
        let ranges: Vec<(i64, i64)> = ranges.iter().map(|(min, n)| (*min, min + n)).collect();
        let naive = ranges.iter().any(|(min, max)| (*min..=*max).contains(&number));
        let set: IntSet = ranges.iter().copied().collect();
        prop_assert_eq!(set.contains(number), naive);
        let reversed: IntSet = ranges.iter().rev().copied().collect();
        prop_assert_eq!(set, reversed);
    }

    #[test]
    fn ranges_in_a_condition_have_no_order(
        ranges in vec((0_u32..2000, 0_u32..100), 1..5),
        uid in 0_u32..2100,
    ) {
        let mut event = event();
        std::sync::Arc::make_mut(&mut event.process).users.real = uid;
        let mut texts: Vec<String> =
            ranges.iter().map(|(min, n)| format!("{min}:{}", min + n)).collect();
        let answer = |texts: &[String]| {
            let condition = format!("user.uid in ({})", texts.join(", "));
            let (rules, _) = try_load(&file(&condition)).unwrap();
            !fired(&rules, &event).is_empty()
        };
        let naive = ranges.iter().any(|(min, n)| (*min..=min + n).contains(&uid));
        prop_assert_eq!(answer(&texts), naive);
        texts.reverse();
        prop_assert_eq!(answer(&texts), naive);
    }

    #[test]
    fn a_pattern_without_signs_matches_itself(text in "[a-z/.é]{0,12}", other in "[a-z/.é]{0,12}") {
        let glob = Glob::new(&text, false).unwrap();
        prop_assert!(glob.matches(&text));
        prop_assert_eq!(glob.matches(&other), text == other);
    }

    #[test]
    fn a_pattern_of_stars_matches_like_its_regular_expression(
        pattern in "[ab*?]{0,8}",
        text in "[ab]{0,10}",
    ) {
        let regex = pattern.replace('*', ".*").replace('?', ".");
        let regex = regex::Regex::new(&format!("^(?:{regex})$")).unwrap();
        prop_assert_eq!(Glob::new(&pattern, false).unwrap().matches(&text), regex.is_match(&text));
    }

    #[test]
    fn patterns_never_panic(pattern in "[\\[\\]!^*?\\\\a-c:é-]{0,12}", text in "[a-cé\\[\\]-]{0,8}") {
        if let Ok(glob) = Glob::new(&pattern, true) {
            let _ = glob.matches(&text);
        }
    }

    #[test]
    fn image_references_never_panic(reference in "[a:@/é]{0,10}") {
        let image = crate::fields::image::Image::parse(&reference);
        image.for_each_name(|_| ());
    }

    #[test]
    fn a_path_is_below_its_beginnings_only(
        path in vec("[ab]{1,2}", 0..5),
        prefix in vec("[ab]{1,2}", 0..4),
    ) {
        let below = path.starts_with(&prefix);
        let text = format!("/{}/", path.join("//"));
        let prefixes = PathPrefixes::new([format!("/{}", prefix.join("/")).as_str()]).unwrap();
        prop_assert_eq!(prefixes.matches(&text), below);
    }
}

#[test]
fn deep_garbage_is_an_error() {
    for text in ["(", "not (", "proc.name in (", "((a.b = 1) and "] {
        let errors = errors(&file(&text.repeat(100_000)));
        assert_eq!(errors.len(), 1);
    }
}
