//! The grammar.

use crate::rules::ast::{Comparison, Expr, List, ListOperator, Right, Test};
use crate::rules::{MAX_NESTING, parse};

/// The condition as it is printed: parentheses show how it was read.
fn printed(text: &str) -> String {
    match parse(text) {
        Ok(expr) => expr.to_string(),
        Err(error) => panic!("{text}: {error}"),
    }
}

/// Where reading stops, and why.
fn error(text: &str) -> (usize, String) {
    match parse(text) {
        Ok(expr) => panic!("{text} is read as {expr}"),
        Err(error) => (error.offset, error.message),
    }
}

#[test]
fn not_binds_tighter_than_and_that_tighter_than_or() {
    let same = "a.b exists or not c and d.e = 1 or f";
    assert_eq!(printed(same), same);
    assert_eq!(printed("(a or b) and c"), "(a or b) and c");
    assert_eq!(printed("((a)) or (b and c)"), "a or b and c");
    assert_eq!(printed("a and (b and c)"), "a and (b and c)");
    assert!(matches!(parse("a or b or c"), Ok(Expr::Or(parts)) if parts.len() == 3));
}

#[test]
fn repeated_not_cancels() {
    assert_eq!(printed("not not a"), "a");
    assert_eq!(printed("not not not a"), "not a");
    assert_eq!(printed("not(a)"), "not a");
    assert_eq!(printed("not (not a)"), "not (not a)");
    assert_eq!(printed("notify and nota"), "notify and nota");
}

#[test]
fn keywords_need_a_blank_or_a_parenthesis() {
    assert_eq!(printed("a and(b)or(c)"), "a and b or c");
    assert_eq!(printed(" \ta\n\r and\nb "), "a and b");
    assert_eq!(
        error("a andb"),
        (
            2,
            "expected \"and\", \"or\" or the end, found \"andb\"".to_owned()
        )
    );
    assert_eq!(error("a AND b").0, 2);
}

#[test]
fn every_operator_is_read() {
    for comparison in Comparison::ALL {
        let text = format!("a.b {} 1", comparison.word());
        let Ok(Expr::Check(check)) = parse(&text) else {
            panic!("{text}");
        };
        assert!(matches!(&check.test, Test::Compare(read, _) if read == comparison));
    }
    for operator in ListOperator::ALL {
        let text = format!("a.b {} (1, 2)", operator.word());
        let Ok(Expr::Check(check)) = parse(&text) else {
            panic!("{text}");
        };
        assert!(
            matches!(&check.test, Test::List(read, List::Literals(values))
            if read == operator && values.len() == 2)
        );
    }
    assert_eq!(printed("a.b == x"), "a.b = x");
    assert_eq!(printed("a.b exists"), "a.b exists");
}

#[test]
fn signs_need_no_blanks() {
    assert_eq!(printed("evt.dir=<"), "evt.dir = <");
    assert_eq!(printed("evt.num>=0"), "evt.num >= 0");
    assert_eq!(printed("a.b!=c and d.e<0x1F"), "a.b != c and d.e < 0x1F");
    assert_eq!(printed("a.b < -1.5e+3"), "a.b < -1.5e+3");
    assert_eq!(printed("a.b in(c,d)"), "a.b in (c, d)");
    assert_eq!(
        error("a.b startswith\"x\"").1,
        "expected a blank after startswith"
    );
}

#[test]
fn lists_may_be_empty_or_a_single_word() {
    assert_eq!(printed("a.b in ( )"), "a.b in ()");
    assert_eq!(
        printed("a.b pmatch ( /x , '/y z' )"),
        "a.b pmatch (/x, \"/y z\")"
    );
    assert_eq!(printed("a.b intersects word"), "a.b intersects (word)");
    assert_eq!(
        error("a.b in (x,)"),
        (10, "expected a value, found \")\"".to_owned())
    );
    assert_eq!(
        error("a.b in (x y)").1,
        "expected \",\" or \")\", found \"y\""
    );
    assert_eq!(
        error("a.b in 5").1,
        "expected a list in \"()\", found \"5\""
    );
}

#[test]
fn quoted_text_knows_these_escapes() {
    let text = |condition: &str| match parse(condition) {
        Ok(Expr::Check(check)) => match check.test {
            Test::Compare(_, Right::Literal(literal)) => literal.text,
            _ => panic!(),
        },
        other => panic!("{other:?}"),
    };
    assert_eq!(
        text(r#"a.b = "\b\f\n\r\t\\\/\"'""#),
        "\u{8}\u{c}\n\r\t\\/\"'"
    );
    assert_eq!(text(r#"a.b = '\'"'"#), "'\"");
    assert_eq!(text(r#"a.b = "a\ b""#), "a\\b");
    assert_eq!(text(r#"a.b = "ends in \\""#), "ends in \\");
    assert_eq!(text(r#"a.b = "(and, or)""#), "(and, or)");
    assert_eq!(text("a.b = ''"), "");
    assert_eq!(text("a.b = größe"), "größe");
    assert_eq!(
        error(r#"a.b = "x\d""#),
        (8, "unknown escape \"\\d\"".to_owned())
    );
    assert_eq!(error(r#"a.b = "x\'""#).1, "unknown escape \"\\'\"");
    assert_eq!(
        error("a.b = \"x"),
        (6, "the text has no closing \"".to_owned())
    );
}

#[test]
fn fields_take_arguments() {
    assert_eq!(printed("a.b[0] exists"), "a.b[0] exists");
    assert_eq!(printed("a.b[/x/y] = 1"), "a.b[/x/y] = 1");
    assert_eq!(printed("a.b['x y'] = 1"), "a.b[\"x y\"] = 1");
    assert_eq!(printed("a.b[(=,)] exists"), "a.b[(=,)] exists");
    assert_eq!(
        error("a.b[] exists").1,
        "expected the field's argument after \"[\""
    );
    assert_eq!(
        error("a.b[x exists").1,
        "expected \"]\" after the field's argument"
    );
}

#[test]
fn what_is_not_a_condition_is_named() {
    for (text, offset, message) in [
        ("", 0, "the condition is empty"),
        (" \n", 0, "the condition is empty"),
        (
            "a and",
            5,
            "expected a field, a macro or \"(\", found the end",
        ),
        (
            "and b",
            0,
            "expected a field, a macro or \"(\", found \"and\"",
        ),
        ("(a", 2, "expected \")\", found the end"),
        ("a)", 1, "expected \"and\", \"or\" or the end, found \")\""),
        ("a.b", 3, "expected an operator, found the end"),
        ("a.b is 1", 4, "expected an operator, found \"is\""),
        ("a.b =", 5, "expected a value, found the end"),
        ("a.b > x", 6, "expected a number after >, found \"x\""),
        (
            "a.b = 1 2",
            8,
            "expected \"and\", \"or\" or the end, found \"2\"",
        ),
        (
            "1a.b = 1",
            0,
            "expected a field, a macro or \"(\", found \"1a.b\"",
        ),
        ("a.b = val(c)", 10, "expected a field, found \"c\""),
        ("a.b = val(c.d", 13, "expected \")\", found the end"),
        ("a.b = val(len(c.d))", 10, "expected a field, found \"len\""),
        ("tolower(a) = c", 8, "expected a field, found \"a\""),
        (
            "tolower(a.b c.d) = c",
            12,
            "expected \",\" or \")\", found \"c.d\"",
        ),
        ("lower(a.b) = c", 0, "unknown function \"lower\""),
        ("val(a.b) = c", 0, "unknown function \"val\""),
        ("len() = 1", 4, "expected a field, found \")\""),
    ] {
        assert_eq!(error(text), (offset, message.to_owned()), "{text}");
    }
    let help = |text| parse(text).unwrap_err().help.unwrap_or_default();
    assert_eq!(
        help("a.b start x"),
        "one of: = != < <= > >= contains icontains bcontains startswith bstartswith endswith glob iglob regex in intersects pmatch exists"
    );
    assert_eq!(help("a.b contain x"), "did you mean \"contains\"?");
}

#[test]
fn functions_stand_on_either_side() {
    for text in [
        "tolower(a.b) = c",
        "len(a.b[1]) > 3",
        "a.b = val(c.d)",
        "a.b in val(c.d[x])",
        "join(\"|\", a.b) regex x",
        "concat(\"a\", b.c, \"d\") startswith tolower(e.f)",
        "toupper(basename(b64(a.b))) exists",
        "a.b >= len(c.d)",
        "a.b startswith anyof (x, y)",
        "a.b != allof ()",
        // Without a list they are values.
        "a.b = oneof",
        "a.b = len",
        "len and tolower or val",
    ] {
        assert_eq!(printed(text), text);
    }
    assert_eq!(printed("join( '|' ,a.b)=x"), "join(\"|\", a.b) = x");
    assert_eq!(printed("a.b in tolower( c.d )"), "a.b in tolower(c.d)");
    let deep = |n: usize| format!("{}a.b{} = x", "b64(".repeat(n), ")".repeat(n));
    assert!(parse(&deep(16)).is_ok());
    let message = "functions are nested more than 16 deep";
    assert_eq!(error(&deep(17)).1, message);
    assert_eq!(error(&deep(100_000)).1, message);
}

#[test]
fn deep_nesting_is_an_error_and_no_crash() {
    let nested = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
    assert!(parse(&nested(MAX_NESTING)).is_ok());
    let message = format!("parentheses are nested more than {MAX_NESTING} deep");
    assert_eq!(error(&nested(MAX_NESTING + 1)).1, message);
    assert_eq!(error(&nested(100_000)).1, message);
    assert_eq!(error(&"(".repeat(100_000)).1, message);
    assert_eq!(error(&"not (a or b and ".repeat(100_000)).1, message);
    assert_eq!(printed(&format!("{}a", "not ".repeat(100_001))), "not a");
}
