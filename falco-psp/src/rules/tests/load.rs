//! Rules files: items, lists, macros, and what is said about them.

use super::*;
use crate::rules::Priority;

/// A file with these items before one rule with this condition.
fn with_items(items: &str, condition: &str) -> String {
    format!("{items}{}", file(condition))
}

#[test]
fn a_rule_has_all_its_parts() {
    let text = "
- required_engine_version: 5
- required_plugin_versions:
  - {name: k8saudit, version: 0.18.0}
---
- rule: Root user
  desc: >
    Someone is root.
  condition: evt.type in (execve, setuid) and user.uids intersects (0)
  output: >
    root (user=%user.uid container=%container.id)
  priority: WARNING
  source: syscall
  tags: [k8s-psp, runAsUser, k8s-psp, 1.10]
---
";
    let rules = rules(text);
    let rule = &rules.rules()[0];
    assert_eq!(rule.name, "Root user");
    assert_eq!(rule.description, "Someone is root.");
    assert_eq!(rule.priority, Priority::Warning);
    assert_eq!(rule.source.name(), "syscall");
    assert!(rule.tags.iter().eq(["1.10", "k8s-psp", "runAsUser"]));
    assert_eq!(rule.control(), Some(crate::control::Control::RunAsUser));
    assert!(rule.field_names().into_iter().eq([
        "container.id",
        "evt.type",
        "user.uid",
        "user.uids"
    ]));
    assert_eq!(
        rule.output.render(&event().into()),
        "root (user=1000 container=0123456789ab)"
    );
}

#[test]
fn empty_documents_hold_no_rules() {
    assert!(rules("").is_empty());
    assert!(rules("---\n---\n- \n").is_empty());
    assert!(rules("# nothing\n").is_empty());
}

#[test]
fn priorities_have_an_order_and_two_cases() {
    for (text, priority) in [
        ("info", Priority::Informational),
        ("INFORMATIONAL", Priority::Informational),
        ("Debug", Priority::Debug),
        ("emergency", Priority::Emergency),
    ] {
        assert_eq!(Priority::parse(text), Some(priority));
    }
    assert!(Priority::ALL.is_sorted());
    assert!(Priority::Emergency < Priority::Debug);
}

#[test]
fn lists_are_replaced_in_the_text() {
    let lists = "- {list: shells, items: [bash, 'my sh', \"'q s'\"]}\n\
                 - {list: none, items: []}\n\
                 - {list: word, items: [w]}\n\
                 - {list: all, items: [shells, nginx]}\n\
                 - {list: ids, items: [30, 0x10, '1000:1001']}\n";
    let load = |condition: &str| {
        let text = with_items(lists, condition);
        match try_load(&text) {
            Ok((rules, _)) => rules,
            Err(errors) => panic!("{condition}: {errors:?}"),
        }
    };
    let named = |name: &str| {
        let mut event = event();
        Arc::make_mut(&mut event.process).name = name.to_owned();
        event
    };
    let fires = |condition: &str, name: &str| !fired(&load(condition), &named(name)).is_empty();
    assert!(fires("proc.name in (shells)", "bash"));
    assert!(fires("proc.name in(shells)", "my sh"));
    assert!(fires("proc.name in (x,shells,y)", "q s"));
    assert!(fires("proc.name in (all)", "nginx"));
    // One level deep.
    assert!(fires("proc.name in (all)", "bash"));
    // Not where the name is a part of a word.
    assert!(!fires("proc.name in (shells2, my-shells)", "bash"));
    // In quotes too.
    assert!(fires("proc.name = 'a word b'", "a w b"));
    // An empty list takes its comma along.
    assert!(fires("proc.name in (a, none)", "a"));
    assert!(fires("proc.name in (none, a)", "a"));
    assert!(fires("proc.name in (a, none, b)", "b"));
    assert!(!fires("proc.name in (none)", "none"));
    assert!(fires("user.uid in (ids)", "x"));
    assert!(!fires(
        "user.uid in (ids) and not user.uid in (16:2000)",
        "x"
    ));
}

#[test]
fn lists_see_only_earlier_lists_among_their_items() {
    let text = with_items(
        "- {list: a, items: [b, x]}\n- {list: b, items: [nginx]}\n",
        "proc.name in (a)",
    );
    // The condition is searched for list "a" first and for "b" then: so it is replaced all the same.
    let (rules, _) = try_load(&text).unwrap();
    assert_eq!(fired(&rules, &event()), ["r"]);
}

#[test]
fn macros_are_whole() {
    let macros = "- {macro: either, condition: proc.name = x or proc.name = nginx}\n\
                  - {macro: both, condition: either and proc.pid = 1}\n";
    let load = |condition: &str| rules(&with_items(macros, condition));
    assert!(fired(&load("both"), &event()).is_empty());
    assert!(!fired(&load("not both and either"), &event()).is_empty());
}

#[test]
fn macros_see_only_earlier_macros() {
    assert_eq!(
        errors(&with_items(
            "- {macro: a, condition: b}\n- {macro: b, condition: proc.pid = 1}\n",
            "a"
        )),
        [
            "r.yaml:1:25: error: the macro \"b\" is defined only after its use; a macro can use \
             those that stand before it"
        ]
    );
    assert_eq!(
        errors(&with_items("- {macro: a, condition: not a}\n", "a")),
        ["r.yaml:1:29: error: the macro \"a\" is defined by itself"]
    );
    // Redefined after b, so that it sees b: which uses it.
    assert_eq!(
        errors(
            "- {macro: a, condition: proc.pid = 1}\n- {macro: b, condition: a}\n\
             - {macro: a, condition: b}\n"
        )[0],
        "r.yaml:2:25: error: the macro \"a\" is defined by itself"
    );
    assert_eq!(
        errors(&with_items(
            "- {macro: spawned, condition: proc.pid = 1}\n",
            "spawn"
        )),
        ["r.yaml:4:15: error: undefined macro \"spawn\"; did you mean \"spawned\"?"]
    );
}

#[test]
fn growth_is_bounded() {
    use std::fmt::Write;
    let mut lists = String::from("- {list: l0, items: [x]}\n");
    let mut macros = String::from("- {macro: m0, condition: proc.pid = 1}\n");
    for i in 1..40 {
        let before = i - 1;
        writeln!(
            macros,
            "- {{macro: m{i}, condition: m{before} or m{before}}}"
        )
        .unwrap();
        writeln!(lists, "- {{list: l{i}, items: [l{before}, l{before}]}}").unwrap();
    }
    // Later lists first, so that each finds the names that the one before has left.
    let mut lists: Vec<&str> = lists.lines().collect();
    lists.reverse();
    let text = with_items(&format!("{}\n", lists.join("\n")), "proc.name in (l39)");
    let too_long = errors(&text);
    assert!(
        too_long[0].contains("too long when its lists are filled in"),
        "{too_long:?}"
    );
    let errors = errors(&with_items(&macros, "m39"));
    assert!(
        errors
            .iter()
            .all(|e| e.contains("too large when its macros are filled in"))
    );
}

/// Macros of this number, each the negation of the one before.
fn chain(length: usize) -> String {
    let link = |i: usize| match i {
        0 => "- {macro: m0, condition: proc.pid = 1}\n".to_owned(),
        i => format!("- {{macro: m{i}, condition: not m{}}}\n", i - 1),
    };
    (0..length).map(link).collect()
}

#[test]
fn deep_macros_are_an_error_and_no_crash() {
    let errors = errors(&with_items(&chain(2000), "m1999"));
    let too_deep = "nested more than 1000 deep when its macros are filled in";
    let (last, all) = errors.split_last().unwrap();
    assert!(all.iter().all(|e| e.contains(too_deep)), "{errors:?}");
    assert!(last.contains("mend these first"), "{last}");
    // As deep as it may be.
    let deep = rules(&with_items(&chain(1000), "m999"));
    assert_eq!(fired(&deep, &event()), ["r"]);
    let level = "not (proc.pid = 1 or (proc.pid = 2 and ";
    let levels = crate::rules::MAX_NESTING / 2;
    let condition = format!(
        "{}proc.pid = 3{}",
        level.repeat(levels),
        "))".repeat(levels)
    );
    fired(&rules(&file(&condition)), &event());
}

#[test]
fn names_are_replaced_in_place_and_added_to() {
    let text = "
- {list: l, items: [a]}
- {macro: m, condition: proc.pid = 1}
- {rule: first, desc: d, output: old, priority: info, condition: m}
- {rule: second, desc: d, output: o, priority: info, condition: evt.type = execve}
- {list: l, items: [nginx], append: true}
- {macro: m, condition: or proc.name in (l), append: true}
- {rule: first, desc: d, output: new, priority: info, condition: evt.type = execve and m}
- {rule: second, condition: and proc.name = y, append: true}
- {rule: second, enabled: false}
- {rule: second, enabled: true}
";
    let (rules, warnings) = try_load(text).unwrap();
    let names: Vec<_> = rules.rules().iter().map(|rule| &rule.name).collect();
    assert_eq!(names, ["first", "second"]);
    assert_eq!(fired(&rules, &event()), ["first"]);
    assert_eq!(rules.rules()[0].output.render(&event().into()), "new");
    assert_eq!(warnings.len(), 3);
    assert!(
        warnings
            .iter()
            .all(|w| w.message == "\"append\" is deprecated")
    );
    let disabled = rules_named(&format!("{RULE}- {{rule: r, enabled: false}}\n"));
    assert!(disabled.is_empty());
}

fn rules_named(text: &str) -> Vec<String> {
    let text = text.replace("condition: c", "condition: proc.pid = 1");
    let rules = rules(&text);
    rules.rules().iter().map(|rule| rule.name.clone()).collect()
}

#[test]
fn adding_to_nothing_is_an_error() {
    assert_eq!(
        errors(
            "- {list: l, items: [], append: true}\n- {macro: m, condition: c, append: true}\n\
             - {rule: r, condition: c, append: true}\n- {rule: r, enabled: true}\n"
        )
        .into_iter()
        .filter(|message| message.contains(" error: "))
        .collect::<Vec<_>>(),
        [
            "r.yaml:1:10: error: there is no list \"l\" before this",
            "r.yaml:2:11: error: there is no macro \"m\" before this",
            "r.yaml:3:10: error: there is no rule \"r\" before this",
            "r.yaml:4:10: error: there is no rule \"r\" before this",
        ]
    );
}

/// What would take minutes or all memory if its time grew faster than the file.
#[test]
fn huge_files_load_or_are_refused_in_time() {
    let rule = |n: usize, condition: &str| {
        format!("- {{rule: r{n}, desc: d, output: o, priority: info, condition: '{condition}'}}\n")
    };
    let many = |condition: &str| (0..5_000).map(|n| rule(n, condition)).collect::<String>();
    let right = many("evt.type = execve and proc.name in (a, b)");
    assert_eq!(rules(&right).rules().len(), 5_000);
    let wrong = errors(&many("evt.type = execve and proc.nam = x"));
    assert_eq!(wrong.len(), 101);
    assert!(wrong[100].contains("mend these first; 4900 more findings or rules wait"));
    let items = |n: usize| {
        (0..n)
            .map(|i| format!("i{i}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let list = |n: usize| {
        let list = format!("- {{list: l, items: [{}]}}\n", items(n));
        list + &rule(0, "evt.type = execve and proc.name in (l)")
    };
    assert_eq!(rules(&list(30_000)).rules().len(), 1);
    assert!(errors(&list(600_000))[0].contains("too long when its lists are filled in"));
    assert!(errors(&list(1_100_000))[0].contains("too many values"));
    let mut doubling = "- {macro: m0, condition: proc.pid = 1}\n".to_owned();
    for n in 1..60 {
        let before = n - 1;
        doubling += &format!("- {{macro: m{n}, condition: m{before} or m{before}}}\n");
    }
    doubling += &rule(0, "evt.type = execve and m59");
    assert!(errors(&doubling)[0].contains("too large when its macros are filled in"));
}

#[test]
fn rules_that_need_what_nobody_sees_are_named_and_not_judged() {
    let text = "
- macro: etc
  condition: fd.name startswith /etc and evt.arg.flags contains O_CREAT
- rule: written
  desc: d
  condition: evt.type = openat and etc
  output: o
  priority: INFO
- rule: negated
  desc: would fire for every event if it were judged
  condition: not proc.pname in (sshd)
  output: o
  priority: INFO
- rule: shown
  desc: d
  condition: evt.type = execve and proc.name = sh
  output: '%proc.pname %user.name %proc.name'
  priority: INFO
";
    let (rules, warnings) = try_load(text).unwrap();
    let names: Vec<_> = rules.rules().iter().map(|rule| &*rule.name).collect();
    assert_eq!(names, ["shown"]);
    let told: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    for words in [
        "the rule \"written\" is skipped: falco-psp does not observe evt.arg, fd.name",
        "the rule \"negated\" is skipped: falco-psp does not observe proc.pname",
        "the output of the rule \"shown\" has <NA> for what falco-psp does not observe: \
         proc.pname, user.name",
    ] {
        assert!(told.iter().any(|told| told.contains(words)), "{told:?}");
    }
    // Their types are known all the same.
    let wrong = text.replace("fd.name startswith /etc", "fd.num = three");
    assert!(try_load(&wrong).is_err());
}

/// What the files ask for is looked at: a plugin that is too old would miss fields.
#[test]
fn plugins_of_the_right_version_are_asked_for() {
    let told = |plugins: &str| -> Vec<String> {
        let text = format!("- required_plugin_versions: {plugins}\n");
        match try_load(&text) {
            Ok((_, found)) => found.iter().map(ToString::to_string).collect(),
            Err(found) => found,
        }
    };
    for fine in [
        "[{name: k8saudit, version: 0.7.0}, {name: json, version: 0.7.0}]",
        "[{name: other, version: 9.0.0, alternatives: [{name: k8saudit, version: 0.18.3}]}]",
        "[]",
    ] {
        assert!(told(fine).is_empty(), "{fine}");
    }
    for (plugins, expected) in [
        (
            "[{name: k8saudit, version: 0.99.0}]",
            "error: the rules need the plugin k8saudit 0.99.0; the fields here are those of 0.18",
        ),
        (
            "[{name: k8saudit, version: 1.0.0}]",
            "error: the rules need the plugin k8saudit 1.0.0",
        ),
        (
            "[{name: okta, version: 0.1.0}]",
            "warning: the rules need the plugin okta, which is not here",
        ),
        (
            "[{name: k8saudit}]",
            "error: a required plugin has a \"name\" and a \"version\" such as 0.18.0",
        ),
        (
            "k8saudit",
            "error: required_plugin_versions is a list of {name, version}",
        ),
    ] {
        let told = told(plugins);
        assert!(told.len() == 1 && told[0].contains(expected), "{told:?}");
    }
}

#[test]
fn cautions_about_conditions() {
    for (condition, expected) in [
        (
            "evt.type = execve and proc.name != \"<NA>\"",
            "no value is \"<NA>\"",
        ),
        (
            "evt.type = execve and proc.name in (a, \"<NA>\")",
            "no value is \"<NA>\"",
        ),
        (
            "evt.type = execve and not (evt.dir = < and proc.pid = 1)",
            "evt.dir is deprecated",
        ),
    ] {
        let (_, found) = try_load(&file(condition)).unwrap();
        assert_eq!(found.len(), 1, "{condition}: {found:?}");
        assert!(
            !found[0].is_error() && found[0].message.contains(expected),
            "{found:?}"
        );
        assert!(found[0].position.is_some());
    }
}
