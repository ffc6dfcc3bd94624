//! What is said about a rules file, and where.

use super::*;

#[test]
fn all_errors_of_a_file_are_shown_with_their_places() {
    let text = "\
- macro: container
  condition: container.id exists and proc.nam = x
- rule: one
  desc: d
  condition: >
    evt.type = execve
    and containr
    and user.uid in (5:1)
  output: \"%proc.pid %proc.nme %evt.arg\"
  priority: warn
- rule: two
  condition: container and proc.pid contains 1
  output: x %user.udi
  desc: d
  priority: notice
- rule: three
  condition: |
    proc.pid = 1 and
      (proc.name = x
  output: o
  desc: d
  priority: notice
- rule: four
  priority: notice
  exceptions: 7
  output: ''
";
    assert_eq!(
        errors(text),
        [
            "r.yaml:2:38: error: unknown field \"proc.nam\"; did you mean \"proc.name\"?",
            "r.yaml:10:13: error: unknown priority \"warn\"; one of: emergency alert critical \
             error warning notice informational debug",
            "r.yaml:12:28: error: contains cannot be used on proc.pid, which is a whole number; \
             use one of: exists = != < <= > >= in intersects",
            "r.yaml:13:13: error: unknown field \"user.udi\"; did you mean \"user.uid\"?",
            "r.yaml:19:21: error: expected \")\", found the end",
            "r.yaml:23:3: error: \"condition\" is missing",
            "r.yaml:23:3: error: \"desc\" is missing",
            "r.yaml:25:15: error: \"exceptions\" is a list; this is an integer",
            "r.yaml:26:11: error: \"output\" is empty",
        ]
    );
    let text = text.replace("priority: warn\n", "priority: error\n");
    let one: Vec<String> = errors(&text)
        .into_iter()
        .filter(|e| {
            ["r.yaml:7", "r.yaml:8", "r.yaml:9"]
                .iter()
                .any(|at| e.starts_with(at))
        })
        .collect();
    assert_eq!(
        one,
        [
            "r.yaml:7:9: error: undefined macro \"containr\"; did you mean \"container\"?",
            "r.yaml:9:22: error: unknown field \"proc.nme\"; did you mean \"proc.name\"?",
            "r.yaml:9:32: error: evt.arg needs an argument, one of: dev dir type call path cap",
        ]
    );
}

#[test]
fn places_survive_lists_and_appended_conditions() {
    let text = "\
- list: ids
  items: [1, x]
- rule: r
  desc: d
  output: o
  priority: info
  condition: proc.pid in (5, ids) and proc.nam = x
- rule: r
  append: true
  condition: and user.uid = y
";
    let errors: Vec<String> = errors(text)
        .into_iter()
        .filter(|message| message.contains("error"))
        .collect();
    assert_eq!(
        errors,
        [
            "r.yaml:7:30: error: \"x\" is neither a whole number nor a range such as 30:40",
            "r.yaml:7:39: error: unknown field \"proc.nam\"; did you mean \"proc.name\"?",
            "r.yaml:10:29: error: \"y\" is not a whole number",
        ]
    );
}

#[test]
fn several_files_are_one() {
    let (one, two) = (Arc::from("1.yaml"), Arc::from("2.yaml"));
    let second = format!("- {{macro: m, condition: proc.pid = x}}\n{}", file("m"));
    let loaded = crate::rules::load_files([
        (&one, "- {macro: m, condition: proc.pid = 1}\n- x\n"),
        (&two, second.as_str()),
    ]);
    let errors: Vec<String> = loaded
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        errors,
        [
            "1.yaml:2:3: error: an item is a mapping; this is a string",
            "2.yaml:1:36: error: \"x\" is not a whole number"
        ]
    );
}

#[test]
fn what_may_be_a_mistake_is_a_warning() {
    assert_eq!(
        warnings(&format!(
            "- {{lst: l, items: []}}\n- {{list: 'a b', items: [], item: 1}}\n\
             - {{macro: x.y, condition: proc.pid = 1}}\n{}",
            RULE.replace(": c", ": evt.type = a and evt.type = b")
        )),
        [
            "r.yaml:1:3: warning: unknown item, ignored; an item has one of the keys rule, macro, \
             list, required_engine_version or required_plugin_versions",
            "r.yaml:2:10: warning: no condition can use a list of the name \"a b\"",
            "r.yaml:2:10: warning: the list \"a b\" is not used",
            "r.yaml:2:28: warning: unknown key \"item\", ignored; did you mean \"items\"?",
            "r.yaml:3:11: warning: no condition can use a macro of the name \"x.y\"; use \
             letters, digits and _, with a letter first",
            "r.yaml:3:11: warning: the macro \"x.y\" is not used",
            "r.yaml:4:10: warning: the rule \"r\" can match no type of event",
        ]
    );
    assert_eq!(
        warnings("- {rule: r, desc: d, output: o, priority: info, condition: proc.pid = 1}\n"),
        ["r.yaml:1:10: warning: the rule \"r\" names no evt.type: it looks at every event"]
    );
}

#[test]
fn rules_of_unknown_sources_are_skipped() {
    let text = "- {macro: m, condition: ct.name = x}\n\
                - {rule: r, desc: d, output: o, priority: info, source: aws_cloudtrail, \
                condition: m}\n";
    assert_eq!(
        warnings(text),
        ["r.yaml:2:57: warning: the rule \"r\" is skipped: unknown source \"aws_cloudtrail\""]
    );
}

#[test]
fn rules_with_unknown_fields_are_skipped_on_demand() {
    let rule = |condition: &str, output: &str| {
        format!(
            "- {{rule: r, desc: d, output: '{output}', priority: info, condition: {condition}, \
             skip-if-unknown-filter: true}}\n"
        )
    };
    let skipped = ["r.yaml:1:10: warning: the rule \"r\" is skipped: unknown field \"a.b\""];
    assert_eq!(warnings(&rule("a.b exists", "o")), skipped);
    assert_eq!(warnings(&rule("proc.pid = 1", "%a.b")), skipped);
    assert!(errors(&rule("proc.pid = x", "o"))[0].contains("not a whole number"));
}

#[test]
fn engine_versions_are_compared() {
    for fine in ["5", "62", "0.62.0", "'0.1.2'"] {
        rules(&format!("- required_engine_version: {fine}\n"));
    }
    for (version, message) in [
        (
            "63",
            "the rules need version 0.63.0 of the rules engine; this is 0.62.0",
        ),
        ("1.0.0", "the rules need version 1.0.0"),
        ("0.62.1", "the rules need version 0.62.1"),
        ("0.62", "is a number or a version such as \"0.62.0\""),
        ("-1", "is a number or a version"),
        ("x.y.z", "is a number or a version"),
    ] {
        let errors = errors(&format!("- required_engine_version: {version}\n"));
        assert!(errors[0].contains(message), "{errors:?}");
    }
}

#[test]
fn what_is_not_a_rules_file_is_refused() {
    for (text, message) in [
        (
            "a: b",
            "r.yaml:1:1: error: a rules file is a list of rules, macros and lists; this is a mapping",
        ),
        ("- rule: [", "r.yaml:"),
        ("- list: l", "\"items\" is missing"),
        (
            "- {list: l, items: x}",
            "\"items\" must be a list; this is a string",
        ),
        (
            "- {list: l, items: [[x]]}",
            "an item of \"items\" is text; this is a list",
        ),
        ("- {macro: m}", "\"condition\" is missing"),
        (
            "- {macro: m, condition: [x]}",
            "\"condition\" must be text; this is a list",
        ),
        ("- {macro: m, condition: ''}", "the condition is empty"),
        (
            "- {rule: {}, enabled: true}",
            "\"rule\" must be text; this is a mapping",
        ),
        (
            "- {rule: r, enabled: 1}",
            "\"enabled\" is true or false; this is an integer",
        ),
        (
            "- {rule: r, override: {desc: append}, desc: x}",
            "there is no rule \"r\" before this",
        ),
        (
            "- {rule: r, override: {desc: append}}",
            "\"desc\" is to append, but it is not here",
        ),
        (
            "- {rule: r, override: {desc: append}, desc: x, output: y}",
            "\"output\" is here, but \"override\" does not name it",
        ),
        (
            "- {rule: r, override: {priority: append}, priority: info}",
            "cannot append \"priority\", only: condition output desc tags exceptions",
        ),
        (
            "- {rule: r, override: {desc: add}, desc: x}",
            "\"override\" knows \"append\" and \"replace\", not \"add\"",
        ),
        (
            "- {rule: r, append: true, override: {desc: append}, desc: x}",
            "\"override\" and \"append: true\" exclude each other",
        ),
        (
            "- {rule: r, override: {}, desc: x}",
            "\"desc\" is here, but \"override\" does not name it",
        ),
        (
            "- {rule: r, append: true, desc: x}",
            "what is appended has a \"condition\" or \"exceptions\"",
        ),
        (
            "- {macro: m, override: {condition: append}, condition: or x}",
            "there is no macro \"m\" before this",
        ),
        (
            "- {list: l, override: {items: replace}, items: [x]}",
            "there is no list \"l\" before this",
        ),
    ] {
        let errors = errors(text);
        assert!(errors.iter().any(|e| e.contains(message)), "{errors:?}");
    }
}
