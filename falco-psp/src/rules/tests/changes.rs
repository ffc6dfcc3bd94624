//! Items that change earlier ones, and exceptions.

use super::*;

const BASE: &str = "
- list: shells
  items: [bash, sh]
- macro: web
  condition: proc.name = nginx
- rule: r
  desc: d
  condition: web and evt.type = execve
  output: o %proc.name
  priority: WARNING
  tags: [a]
";

/// The base with more items, of which all loads.
fn changed(items: &str) -> RuleSet {
    let text = format!("{BASE}{items}");
    match try_load(&text) {
        Ok((rules, _)) => rules,
        Err(errors) => panic!("{errors:?}\n{text}"),
    }
}

fn fires(items: &str) -> bool {
    !fired(&changed(items), &event()).is_empty()
}

#[test]
fn override_adds_or_replaces_each_part() {
    let rules = changed(
        "
- rule: r
  condition: and proc.pid > 1
  output: (%proc.pid)
  desc: and more
  tags: [b]
  priority: ERROR
  override: {condition: append, output: append, desc: append, tags: append, priority: replace}
",
    );
    let rule = &rules.rules()[0];
    assert_eq!(rule.output.render(&event().into()), "o nginx (4711)");
    assert_eq!(rule.description, "d and more");
    assert!(rule.tags.iter().eq(["a", "b"]));
    assert_eq!(rule.priority, crate::rules::Priority::Error);
    assert_eq!(fired(&rules, &event()), ["r"]);
    let rules = changed(
        "
- rule: r
  condition: proc.name = x
  output: other
  tags: [c]
  override: {condition: replace, output: replace, tags: replace}
",
    );
    let rule = &rules.rules()[0];
    assert_eq!(rule.output.render(&event().into()), "other");
    assert!(rule.tags.iter().eq(["c"]));
    assert!(fired(&rules, &event()).is_empty());
    assert!(!fires("- {rule: r, enabled: false}\n"));
    assert!(!fires(
        "- {rule: r, enabled: false, override: {enabled: replace}}\n"
    ));
    assert!(fires(
        "- {rule: r, enabled: false}\n- {rule: r, enabled: true}\n"
    ));
}

#[test]
fn lists_and_macros_can_be_added_to_and_replaced() {
    assert!(!fires(
        "- {macro: web, condition: and proc.pid = 0, override: {condition: append}}\n"
    ));
    assert!(!fires(
        "- {macro: web, condition: proc.name = x, override: {condition: replace}}\n"
    ));
    let shells = "- {macro: web, condition: proc.name in (shells)}\n";
    assert!(!fires(shells));
    assert!(fires(&format!(
        "- {{list: shells, items: [nginx], override: {{items: append}}}}\n{shells}"
    )));
    assert!(fires(&format!(
        "- {{list: shells, items: [nginx], override: {{items: replace}}}}\n{shells}"
    )));
    assert!(fires(&format!(
        "- {{list: shells, items: [nginx], append: true}}\n{shells}"
    )));
}

/// An item that adds this exception to the base's rule.
fn exception(text: &str) -> String {
    format!("- {{rule: r, exceptions: [{text}], override: {{exceptions: append}}}}\n")
}

#[test]
fn exceptions_are_cases_that_do_not_fire() {
    for (text, fires_still) in [
        ("{name: e, fields: proc.name, values: [nginx]}", false),
        (
            "{name: e, fields: proc.name, values: [apache, nginx]}",
            false,
        ),
        ("{name: e, fields: proc.name, values: [apache]}", true),
        (
            "{name: e, fields: proc.name, comps: in, values: [[nginx]]}",
            false,
        ),
        (
            "{name: e, fields: proc.exepath, comps: pmatch, values: [/usr]}",
            false,
        ),
        (
            "{name: e, fields: user.uids, comps: intersects, values: [0]}",
            false,
        ),
        ("{name: e, fields: proc.name}", true),
        ("{name: e, fields: proc.name, values: []}", true),
        (
            "{name: e, fields: [proc.name, proc.pid], values: [[nginx, 4711]]}",
            false,
        ),
        (
            "{name: e, fields: [proc.name, proc.pid], values: [[nginx, 1], [x, 4711]]}",
            true,
        ),
        (
            "{name: e, fields: [proc.name, proc.exepath], comps: [startswith, =], \
             values: [[x, y], [ng, /usr/sbin/nginx]]}",
            false,
        ),
        (
            "{name: e, fields: [proc.name, container.name], comps: [in, =], values: [[[a, nginx], web]]}",
            false,
        ),
        // Lists by name, and values that need quotes.
        ("{name: e, fields: proc.name, values: [shells]}", true),
        ("{name: e, fields: proc.args, values: ['-g x y']}", false),
        (
            "{name: e, fields: proc.args, values: ['\"-g x y\"']}",
            false,
        ),
        (
            "{name: e, fields: proc.name, values: ['a(b', nginx]}",
            false,
        ),
        (
            "{name: a, fields: proc.name, values: [x]}, {name: b, fields: proc.pid, values: [4711]}",
            false,
        ),
    ] {
        assert_eq!(fires(&exception(text)), fires_still, "{text}");
    }
    // Values can come later, and the condition is one as a whole.
    let first = exception("{name: e, fields: proc.name}");
    assert!(!fires(&format!(
        "{first}{}",
        exception("{name: e, values: [nginx]}")
    )));
    assert!(!fires(&format!(
        "{first}- {{rule: r, append: true, exceptions: [{{name: e, values: [nginx]}}]}}\n"
    )));
    let either = "- {rule: r, condition: proc.pid = 1 or proc.name = nginx, override: {condition: replace}}\n";
    assert!(!fires(&format!(
        "{either}{}",
        exception("{name: e, fields: proc.name, values: [nginx]}")
    )));
}

#[test]
fn wrong_exceptions_are_named_with_their_places() {
    let lengths = "\"fields\" and \"comps\" have one length";
    for (text, message) in [
        ("{fields: proc.name}", "13:26: error: \"name\" is missing"),
        (
            "{name: e}",
            "the rule \"r\" has no exception \"e\"; a new one needs \"fields\"",
        ),
        (
            "{name: e, comps: in}",
            "13:43: error: \"comps\" is of no use without \"fields\"",
        ),
        ("{name: e, fields: [proc.name], comps: [=, in]}", lengths),
        ("{name: e, fields: [proc.name], comps: in}", lengths),
        ("{name: e, fields: proc.name, comps: [in]}", lengths),
        (
            "{name: e, fields: proc.name, comps: startswith}",
            "one field is compared with a list, by one of: in pmatch intersects; not startswith",
        ),
        (
            "{name: e, fields: [proc.name, proc.pid], values: [[a]]}",
            "13:76: error: there are 1 values here and 2 fields",
        ),
        (
            "{name: e, fields: [proc.name, proc.pid], values: [a]}",
            "the values are lists of 2 items",
        ),
        (
            "{name: e, fields: [proc.name], values: [[[a, b]]]}",
            "= takes one value, not a list",
        ),
        (
            "{name: e, fields: proc.nme, values: [a]}",
            "unknown field \"proc.nme\"",
        ),
        (
            "{name: e, fields: proc.pid, values: [a]}",
            "\"a\" is neither a whole number",
        ),
        (
            "{name: e, fields: proc.name, values: [{a: b}]}",
            "a value of an exception is text",
        ),
        (
            "{name: e, fields: proc.name, values: a}",
            "\"values\" is a list; this is a string",
        ),
        (
            "7",
            "an exception has a name, fields and values; this is an integer",
        ),
    ] {
        let errors = errors(&format!("{BASE}\n{}", exception(text)));
        assert!(errors[0].contains(message), "{text}: {errors:?}");
    }
    let twice = exception("{name: e, fields: proc.name, values: [a]}").repeat(2);
    let errors = errors(&format!("{BASE}{twice}"));
    assert!(errors[0].contains("only values can be added to the exception \"e\""));
    let warned = warnings(&format!(
        "{BASE}{}",
        exception("{name: e, fields: proc.name}, {name: e, fields: proc.name}")
            .replace("append", "replace")
    ));
    assert!(
        warned
            .iter()
            .any(|w| w.contains("there are several exceptions \"e\"")),
        "{warned:?}"
    );
}
