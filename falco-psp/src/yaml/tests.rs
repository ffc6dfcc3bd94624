use proptest::prelude::*;

use super::*;

fn file() -> Arc<str> {
    Arc::from("f.yaml")
}

fn one(text: &str) -> Node {
    let mut nodes = parse(&file(), text).unwrap();
    assert_eq!(nodes.len(), 1);
    nodes.remove(0)
}

fn error(text: &str) -> String {
    parse(&file(), text).unwrap_err().to_string()
}

fn at(node: &Node) -> String {
    node.position.to_string()
}

#[test]
fn what_is_not_yaml_is_an_error_with_its_place() {
    assert_eq!(
        error("a: b\nc: [1, 2\nd: e\n"),
        "f.yaml:3:2: error: did not find expected ',' or ']', while parsing a flow sequence at \
         line 2 column 4"
    );
    assert_eq!(
        error("a:\n\tb: c\n"),
        "f.yaml:2:1: error: found character that cannot start any token, while scanning for the \
         next token"
    );
    assert_eq!(error("a: *nowhere\n"), "f.yaml:1:4: error: unknown anchor");
    assert_eq!(
        error("a: \"b\n"),
        "f.yaml:1:6: error: found unexpected end of stream, while scanning a quoted scalar at \
         line 1 column 4"
    );
    assert!(error("a: b\n---\n]\n").starts_with("f.yaml:3:1: error: "));
    assert!(error("\u{0}").contains("control characters are not allowed"));
}

#[test]
fn a_key_twice_is_an_error_at_the_second() {
    assert_eq!(
        error("spec:\n  a: 1\n  b: 2\n  \"a\": 3\n"),
        "f.yaml:4:3: error: key \"a\" is here twice; the first one is at 2:3"
    );
    assert!(parse(&file(), "{1: a, \"1\": b}").is_ok());
    assert!(parse(&file(), "{[1]: a, [1]: b}").is_err());
}

#[test]
fn deep_nesting_and_alias_bombs_are_errors() {
    let deep = "[".repeat(5_000) + &"]".repeat(5_000);
    assert_eq!(
        error(&deep),
        "f.yaml:1:129: error: recursion limit exceeded"
    );
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = level - 1;
        let items = format!("*a{below}, ").repeat(10);
        bomb += &format!("a{level}: &a{level} [{items}]\n");
    }
    let message = error(&bomb);
    assert!(
        message.contains("repetition limit") || message.contains("too many values"),
        "{message}"
    );
    let wide = format!(
        "a: &a [{}]\nb: [{}]\n",
        "x, ".repeat(2_000),
        "*a, ".repeat(2_000)
    );
    assert!(
        error(&wide).contains("error: too many values"),
        "{}",
        error(&wide)
    );
    assert!(error("&a [*a]").contains("recursion limit"));
}

#[test]
fn a_text_without_values_has_no_documents() {
    for text in ["", "\n\n", "# only a comment\n"] {
        assert!(parse(&file(), text).unwrap().is_empty(), "{text:?}");
    }
    assert!(one("---\n").is_null());
    assert_eq!(parse(&file(), "a\n---\nb\n").unwrap().len(), 2);
}

#[test]
fn every_value_has_its_place() {
    let text = "# head\nkind: x\nspec:\n  list:\n  - one\n  - {two: 2, é: [3]}\n  none:\n  tagged: !t &a 'x'\n  again: *a\nlast: y\n";
    let root = one(text);
    assert_eq!(at(&root), "2:1");
    let spec = root.get("spec").unwrap();
    assert_eq!(at(spec), "4:3");
    let list = spec.get("list").unwrap().as_sequence().unwrap();
    assert_eq!((at(&list[0]), at(&list[1])), ("5:5".into(), "6:5".into()));
    assert_eq!(at(list[1].get("two").unwrap()), "6:11");
    let accented = &list[1].as_mapping().unwrap()[1];
    assert_eq!(
        (at(&accented.0), at(&accented.1)),
        ("6:14".into(), "6:17".into())
    );
    assert_eq!(
        at(&spec.get("list").unwrap().as_sequence().unwrap()[1]),
        "6:5"
    );
    assert_eq!(spec.get("none").unwrap().position.line, 7);
    assert_eq!(spec.get("again").unwrap().as_str(), Some("x"));
    assert_eq!(at(spec.get("again").unwrap()), "9:10");
    assert_eq!(at(root.get("last").unwrap()), "10:7");
    let second = &parse(&file(), "a: 1\n---\nb: 2\n").unwrap()[1];
    assert_eq!(at(second.get("b").unwrap()), "3:4");
}

#[test]
fn scalars_are_what_they_look_like() {
    let root = one("[~, true, 7, -7, 1.5, \"7\", yes, 0x10, 18446744073709551615]");
    let kinds: Vec<_> = root.as_sequence().unwrap().iter().map(Node::kind).collect();
    assert_eq!(
        kinds,
        [
            "nothing",
            "a boolean",
            "an integer",
            "an integer",
            "a number",
            "a string",
            "a string",
            "an integer",
            "a number"
        ]
    );
    assert_eq!(root.as_sequence().unwrap()[7].as_int(), Some(16));
    assert_eq!(
        root.as_sequence().unwrap()[1].as_text().as_deref(),
        Some("true")
    );
}

/// The character in the file to which `word` in the value of key `k` is traced, with its place.
fn traced(text: &str, word: &str) -> (String, String) {
    let root = one(text);
    let node = root.get("k").unwrap();
    let offset = node.as_str().unwrap().find(word).unwrap();
    let position = node.position_at(text, offset);
    let rest: String = text
        .lines()
        .nth(position.line - 1)
        .unwrap()
        .chars()
        .skip(position.column - 1)
        .take(word.chars().count())
        .collect();
    (position.to_string(), rest)
}

#[test]
fn a_place_in_a_text_is_found_in_every_style() {
    let cases = [
        ("k: some plain word\n", "word", "1:15"),
        (
            "k: some plain\n   text with a\n\n   word in it\n",
            "word",
            "4:4",
        ),
        ("k: 'it''s a word'\n", "word", "1:13"),
        ("k: \"a\\tb \\u00e9 \\\"x\\\" word\"\n", "word", "1:23"),
        ("k: \"a fold\n  and \\\n  a word\"\n", "word", "3:5"),
        ("k: \"fold \\\n  word\"\n", "word", "2:3"),
        ("k: |\n  one\n\n    two\n  a word\n", "word", "5:5"),
        ("k: |\n  one\n\n    two\n  a word\n", "two", "4:5"),
        (
            "k: >\n  one\n  two\n\n  three\n    more\n  a word\n",
            "word",
            "7:5",
        ),
        (
            "k: >\n  one\n  two\n\n  three\n    more\n  a word\n",
            "three",
            "5:3",
        ),
        ("k: | # x |\n\n  one\n  a word\n", "word", "4:5"),
        ("k: >-\n  one\n  two word\n", "two", "3:3"),
        ("k: |2\n    one\n  word\n", "word", "3:3"),
        ("k: >\r\n  one\r\n  a word\r\n", "word", "3:5"),
        ("k: !!str é word\n", "word", "1:12"),
        ("k: &a é word\n", "word", "1:9"),
    ];
    for (text, word, expected) in cases {
        let (position, found) = traced(text, word);
        assert_eq!(
            (position.as_str(), found.as_str()),
            (expected, word),
            "{text:?}"
        );
    }
}

#[test]
fn a_place_in_an_alias_is_the_alias() {
    let text = "a: &x some word\nk: *x\n";
    let root = one(text);
    assert_eq!(
        root.get("k").unwrap().position_at(text, 5).to_string(),
        "2:4"
    );
}

#[test]
fn places_up_to_what_only_one_of_the_libraries_reads() {
    let root = one("a: 1\nb:\n  c: 2\n  d: \"x\n\"\n");
    assert_eq!(at(root.get("b").unwrap().get("c").unwrap()), "3:6");
    assert_eq!(
        root.get("b").unwrap().get("d").unwrap().as_str(),
        Some("x ")
    );
}

fn as_serde(node: &Node) -> serde_yaml::Value {
    match &node.value {
        Value::Null => serde_yaml::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(value) => (*value).into(),
        Value::Float(value) => (*value).into(),
        Value::String(value) => value.clone().into(),
        Value::Sequence(items) => items.iter().map(as_serde).collect::<Vec<_>>().into(),
        Value::Mapping(entries) => serde_yaml::Value::Mapping(
            entries
                .iter()
                .map(|(k, v)| (as_serde(k), as_serde(v)))
                .collect(),
        ),
    }
}

fn values() -> impl Strategy<Value = serde_yaml::Value> {
    let scalar = prop_oneof![
        Just(serde_yaml::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "[ -~é\n]{0,12}".prop_map(Into::into),
    ];
    scalar.prop_recursive(4, 40, 6, |inner| {
        let map = prop::collection::btree_map("[a-z]{1,4}", inner.clone(), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..6).prop_map(Into::into),
            map.prop_map(|map| serde_yaml::Value::Mapping(
                map.into_iter().map(|(k, v)| (k.into(), v)).collect()
            )),
        ]
    })
}

fn each<'a>(node: &'a Node, visit: &mut impl FnMut(&'a Node)) {
    visit(node);
    match &node.value {
        Value::Sequence(items) => items.iter().for_each(|item| each(item, visit)),
        Value::Mapping(entries) => entries.iter().for_each(|(key, value)| {
            each(key, visit);
            each(value, visit);
        }),
        _ => {}
    }
}

proptest! {
    #[test]
    fn values_are_those_of_serde_yaml(value in values()) {
        let text = serde_yaml::to_string(&value).unwrap();
        let node = one(&text);
        prop_assert_eq!(as_serde(&node), serde_yaml::from_str::<serde_yaml::Value>(&text).unwrap());
        each(&node, &mut |node| {
            let length = node.as_str().map_or(0, str::len);
            for offset in 0..=length {
                node.position_at(&text, offset); // must not panic
            }
        });
    }

    #[test]
    fn no_text_makes_it_panic(text in "[-a-c:{}\\[\\],&*!|>'\"#%@ \n\t\\\\é]{0,40}") {
        let theirs: Result<Vec<serde_yaml::Value>, _> = serde_yaml::Deserializer::from_str(&text)
            .map(serde::Deserialize::deserialize)
            .collect();
        if let Ok(nodes) = parse(&file(), &text) {
            nodes.iter().for_each(|node| each(node, &mut |node| {
                for offset in 0..=node.as_str().map_or(0, str::len) {
                    node.position_at(&text, offset);
                }
            }));
            prop_assert!(theirs.is_ok() , "{:?}", theirs);
        }
    }

    /// Words of a block or quoted text are found where they are written.
    #[test]
    fn words_are_found_where_they_are_written(lines in prop::collection::vec("( {0,3}[a-z]{1,5}){1,3}", 1..5), style in 0..4usize) {
        let mut text = ["k: |\n", "k: >\n", "k: \"", "k: '"][style].to_owned();
        let mut words = 0;
        for (number, line) in lines.iter().enumerate() {
            let mut numbered = String::new();
            for word in line.split(' ') {
                numbered += " ";
                if !word.is_empty() {
                    numbered += &format!("w{words}{word}");
                    words += 1;
                }
            }
            // Lines of a block may be indented more, but for the first; there may be empty ones.
            let blanks = numbered.len() - numbered.trim_start().len();
            let more = if number > 0 && style < 2 { blanks - 1 } else { 0 };
            text += &format!("  {:more$}{}\n", "", numbered.trim_start());
            if line.len() % 3 == 0 {
                text += "\n";
            }
        }
        text += ["", "", "  \"\n", "  '\n"][style];
        for word in 0..words {
            let wanted = format!("w{word}");
            let (position, found) = traced(&text, &wanted);
            prop_assert_eq!(found, wanted, "{} in {:?}", position, text);
        }
    }
}
