//! Compiled conditions say what their trees say, on random conditions and real audit events.

#![expect(clippy::expect_used, reason = "a test says best where it failed")]

mod naive;

use std::sync::LazyLock;

use falco_psp::event::Event;
use falco_psp::rules::{self, parse};
use falco_psp::sources::k8s_audit::decode::decode;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

static EVENTS: LazyLock<Vec<Event>> = LazyLock::new(|| {
    let log = include_str!("audit/audit_nopsp.log");
    let events = log
        .lines()
        .filter_map(|line| decode(line.to_owned().into(), 1).ok());
    events.map(Event::from).collect()
});

const TEXTS: &[&str] = &[
    "ka.verb",
    "ka.user.name",
    "ka.target.namespace",
    "ka.pod.name",
    "ka.pod.runtime_class",
    "ka.response.code",
    "tolower(ka.pod.name)",
    "concat(ka.verb, \"/\", ka.target.namespace)",
    "join(\",\", ka.pod.volumes.types)",
    "basename(ka.uri)",
    "jevt.value[/requestObject/spec/hostPID]",
];
const TEXT_LISTS: &[&str] = &[
    "ka.pod.images",
    "ka.pod.volumes.types",
    "ka.pod.volumes.host_path",
    "ka.pod.caps.added",
    "ka.pod.privileged",
    "toupper(ka.pod.caps.added)",
    "ka.user.groups",
];
const NUMBERS: &[&str] = &["ka.pod.fs_group", "len(ka.pod.images)", "len(ka.pod.name)"];
const NUMBER_LISTS: &[&str] = &[
    "ka.pod.users",
    "ka.pod.host_ports",
    "ka.pod.supplemental_groups",
];
const FLAGS: &[&str] = &["ka.pod.host_pid", "ka.pod.host_network", "ka.dry_run"];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        select(
            &[
                "create",
                "pods",
                "default",
                "nginx",
                "hostPath",
                "emptyDir",
                "/etc",
                "/var/log",
                "201",
                "kubernetes-admin",
                "NET_ADMIN",
                "SYS_TIME",
                "c",
                "p",
                "",
                "true",
                "system:masters",
            ][..]
        )
        .prop_map(str::to_owned),
        "[a-zA-Z0-9/._-]{0,6}",
    ]
    .prop_map(|word| format!("\"{word}\""))
}

fn words() -> impl Strategy<Value = String> {
    vec(word(), 0..4).prop_map(|words| format!("({})", words.join(", ")))
}

fn numbers() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        (0_i64..1200).prop_map(|n| n.to_string()),
        (0_i64..1200, 0_i64..900).prop_map(|(min, n)| format!("{min}:{}", min + n)),
    ];
    vec(number, 0..4).prop_map(|numbers| format!("({})", numbers.join(", ")))
}

fn check() -> impl Strategy<Value = String> {
    let all = [TEXTS, TEXT_LISTS, NUMBERS, NUMBER_LISTS, FLAGS].concat();
    let of_text = &[
        "=",
        "!=",
        "contains",
        "icontains",
        "startswith",
        "endswith",
        "glob",
        "iglob",
    ][..];
    let of_number = &["=", "!=", "<", "<=", ">", ">="][..];
    prop_oneof![
        select(all).prop_map(|field| format!("{field} exists")),
        (select(TEXTS), select(of_text), word()).prop_map(|(f, o, w)| format!("{f} {o} {w}")),
        (
            select(TEXTS),
            select(of_text),
            select(&["anyof", "allof", "oneof"][..]),
            words()
        )
            .prop_map(|(f, o, q, w)| format!("{f} {o} {q} {w}")),
        (
            select(TEXTS),
            select(&["=", "!=", "startswith", "contains"][..]),
            select(&TEXTS[..5])
        )
            .prop_map(|(f, o, g)| format!("{f} {o} val({g})")),
        (
            select([TEXTS, TEXT_LISTS].concat()),
            select(&["in", "intersects", "pmatch"][..]),
            words()
        )
            .prop_map(|(f, o, w)| format!("{f} {o} {w}")),
        (
            select([TEXTS, TEXT_LISTS].concat()),
            select(&["in", "intersects"][..]),
            select(&TEXT_LISTS[..5])
        )
            .prop_map(|(f, o, g)| format!("{f} {o} val({g})")),
        (select(NUMBERS), select(of_number), 0_i64..1200)
            .prop_map(|(f, o, n)| format!("{f} {o} {n}")),
        (
            select([NUMBERS, NUMBER_LISTS].concat()),
            select(&["in", "intersects"][..]),
            numbers()
        )
            .prop_map(|(f, o, n)| format!("{f} {o} {n}")),
        (select(FLAGS), select(&["=", "!="][..]), any::<bool>())
            .prop_map(|(f, o, b)| format!("{f} {o} {b}")),
    ]
}

fn condition() -> impl Strategy<Value = String> {
    check().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" and "))),
            vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" or "))),
            inner.prop_map(|inner| format!("not ({inner})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_compiled_says_what_is_written(condition in condition()) {
        let file = serde_json::json!([{
            "rule": "r", "desc": "d", "condition": condition, "output": "o", "priority": "INFO",
            "source": "k8s_audit",
        }]);
        let (rules, _) = rules::load(&"r".into(), &file.to_string()).unwrap();
        let tree = parse(&condition).unwrap();
        for event in EVENTS.iter() {
            let compiled = rules.matching(event).next().is_some();
            prop_assert_eq!(compiled, naive::holds(&tree, event), "{} {:?}", condition, event);
            let explained = rules.rules()[0].explain(event)[0].holds;
            prop_assert_eq!(explained, Some(compiled), "{} {:?}", condition, event);
        }
    }
}

#[test]
fn there_are_events() {
    assert_eq!(EVENTS.len(), 34);
}
