//! The rule set: which rules are asked for which event.

use super::*;
use crate::rules::{EventTypes, Source};

fn types(condition: &str) -> EventTypes {
    match try_load(&file(condition)) {
        Ok((rules, _)) => rules.event_types(),
        Err(errors) => panic!("{errors:?}"),
    }
}

fn only(types: &[&str]) -> EventTypes {
    EventTypes::Only(types.iter().map(|name| (*name).into()).collect())
}

fn all_but(types: &[&str]) -> EventTypes {
    only(types).complement()
}

#[test]
fn event_types_follow_from_the_condition() {
    for (condition, expected) in [
        ("evt.type = execve", only(&["execve"])),
        ("evt.type in (execve, setuid)", only(&["execve", "setuid"])),
        ("evt.type intersects (execve)", only(&["execve"])),
        ("evt.type = execve and proc.pid = 1", only(&["execve"])),
        (
            "proc.pid = 1 and (evt.type = a or evt.type = b)",
            only(&["a", "b"]),
        ),
        ("evt.type = a or proc.pid = 1", EventTypes::ALL),
        ("proc.pid = 1", EventTypes::ALL),
        ("evt.type exists", EventTypes::ALL),
        ("not evt.type exists", EventTypes::NONE),
        ("evt.type != a", all_but(&["a"])),
        ("not evt.type in (a, b)", all_but(&["a", "b"])),
        ("not (evt.type != a)", only(&["a"])),
        ("not (evt.type != a or proc.pid = 1)", only(&["a"])),
        ("not (evt.type = a and proc.pid = 1)", EventTypes::ALL),
        ("evt.type in (a, b) and evt.type != b", only(&["a"])),
        ("evt.type = a and evt.type = b", EventTypes::NONE),
        (
            "evt.type = a and proc.pid = 1 or evt.type = b",
            only(&["a", "b"]),
        ),
        ("evt.type != a or evt.type = a", EventTypes::ALL),
        ("evt.type startswith exec", EventTypes::ALL),
        ("evt.type = a and evt.type glob *", only(&["a"])),
    ] {
        assert_eq!(types(condition), expected, "{condition}");
    }
}

/// The set may be too large, never too small: where a rule fires, its types hold the event's.
#[test]
fn no_rule_fires_outside_its_types() {
    let atoms = [
        "evt.type = execve",
        "evt.type != setuid",
        "evt.type in (execve, container)",
        "proc.pid = 4711",
        "proc.pid = 1",
        "not evt.type in (mount)",
    ];
    let events = [
        with(Activity::Exec),
        with(Activity::Container),
        with(Activity::Credentials {
            call: "setuid",
            result: 0,
        }),
    ];
    for a in atoms {
        for b in atoms {
            for c in atoms {
                for condition in [
                    format!("{a} and ({b} or not {c})"),
                    format!("not ({a} and {b}) or {c}"),
                    format!("not ({a} or {b} and not {c})"),
                ] {
                    // Twice negated and with no evt.type in sight: so not looked up by type.
                    let (rules, _) = try_load(&file(&condition)).unwrap();
                    let rule = &rules.rules()[0];
                    for event in &events {
                        let holds = rule.condition.matches(&event.clone().into());
                        let found = rules.event_types().contains(event.activity.event_type());
                        assert!(found || !holds, "{condition}");
                        assert_eq!(
                            fired(&rules, event).len(),
                            usize::from(holds),
                            "{condition}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn every_matching_rule_fires_in_the_order_of_the_file() {
    let rule = |name: &str, condition: &str| {
        format!(
            "- {{rule: {name}, desc: d, output: o, priority: info, warn_evttypes: false, \
             condition: '{condition}'}}\n"
        )
    };
    let text = [
        rule("c", "proc.name = nginx"),
        rule("b", "evt.type = execve"),
        rule("no", "evt.type = execve and proc.name = x"),
        rule("other", "evt.type = setuid"),
        rule("a", "evt.type in (execve, setuid)"),
        rule("not", "evt.type != mount"),
    ]
    .concat();
    let rules = rules(&text);
    assert_eq!(fired(&rules, &event()), ["c", "b", "a", "not"]);
    let setuid = with(Activity::Credentials {
        call: "setuid",
        result: 0,
    });
    assert_eq!(fired(&rules, &setuid), ["c", "other", "a", "not"]);
    let mount = with(Activity::Mount {
        call: "mount",
        result: 0,
        source: String::new(),
        target: String::new(),
        fs_type: String::new(),
    });
    assert_eq!(fired(&rules, &mount), ["c"]);
    assert_eq!(fired(&rules, &with(Activity::Container)), ["c", "not"]);
    assert_eq!(rules.count_by_source(), [(Source::Syscall, 6)].into());
    assert_eq!(rules.event_types(), EventTypes::ALL);
}

#[test]
fn nothing_fires_without_rules() {
    let rules = RuleSet::default();
    assert!(rules.is_empty());
    assert!(rules.count_by_source().is_empty());
    assert_eq!(rules.event_types(), EventTypes::NONE);
    assert!(fired(&rules, &event()).is_empty());
}
