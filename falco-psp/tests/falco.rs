//! Rules lowered to Falco's own words: they load, and say of a pod what the original rules say.

#![expect(clippy::unwrap_used, reason = "a test says best where it failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use falco_psp::convert::{self, FalcoRules};
use falco_psp::event::Event;
use falco_psp::rules::ast::{Expr, List, Literal, Right, Test};
use falco_psp::rules::{self, RuleSet, parse_file};
use falco_psp::sources::k8s_audit::decode::decode;
use falco_psp::{convert::falco_rules, psp};
use serde_json::Value;
use serde_json::value::RawValue;

fn lines(file: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/conformance")
        .join(file);
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The rules of a policy and the same for Falco; `None` if the policy is refused.
fn rules_of(policy: &Value) -> Option<(RuleSet, FalcoRules)> {
    let mut policy = policy.clone();
    policy["apiVersion"] = "policy/v1beta1".into();
    policy["kind"] = "PodSecurityPolicy".into();
    let (policy, _) = psp::parse(&"p".into(), &policy.to_string()).ok()?;
    let text = convert::rules_text(&policy).unwrap().text;
    let (rules, _) = rules::load(&"rules".into(), &text).unwrap();
    Some((rules, falco_rules(&"rules".into(), &text).unwrap()))
}

/// The bytes of the longest text that something is compared with.
fn longest_literal(expr: &Expr) -> usize {
    let of = |literals: &[Literal]| literals.iter().map(|l| l.text.len()).max();
    match expr {
        Expr::Or(parts) | Expr::And(parts) => parts.iter().map(longest_literal).max().unwrap_or(0),
        Expr::Not(inner) => longest_literal(inner),
        Expr::Macro(_) => 0,
        Expr::Check(check) => match &check.test {
            Test::Compare(_, Right::Literal(literal)) => literal.text.len(),
            Test::Several(.., literals) | Test::List(_, List::Literals(literals)) => {
                of(literals).unwrap_or(0)
            }
            Test::Exists | Test::Compare(..) | Test::List(..) => 0,
        },
    }
}

fn loaded(text: &str) -> RuleSet {
    // Falco takes no longer ones (libs sinsp_filtercheck.h, s_max_filter_value_buf_size).
    let parsed = parse_file(&"falco".into(), text).unwrap();
    let rules = parsed.rules.iter().map(|rule| &rule.condition);
    for condition in rules.chain(parsed.macros.iter().map(|(_, condition)| condition)) {
        assert!(longest_literal(condition) < 256, "{condition}");
    }
    let loaded = rules::load(&"falco".into(), text);
    assert!(loaded.is_ok(), "{:?}\n{text}", loaded.err());
    let (rules, warnings) = loaded.unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    rules
}

fn fired(rules: &RuleSet, event: &Event) -> BTreeSet<String> {
    rules.matching(event).map(|(_, r)| r.name.clone()).collect()
}

/// The creation of a pod, by its JSON.
fn event(pod: &str) -> Event {
    let json = format!(
        r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","stage":"ResponseComplete","verb":"create","objectRef":{{"resource":"pods","namespace":"ns"}},"responseStatus":{{"code":201}},"requestObject":{pod}}}"#
    );
    decode(json.into(), 1).unwrap().into()
}

#[derive(serde::Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    pod: &'a RawValue,
}

/// Compares the pairs of a file, of `parts` parts only the one with this number.
fn check(file: &str, number: usize, parts: usize) {
    let mut wrong = BTreeMap::<String, Vec<String>>::new();
    let mut compared = 0;
    let mut partly = 0;
    let mut positive = 0;
    for line in lines(file).into_iter().skip(number).step_by(parts) {
        let value: Value = serde_json::from_str(&line).unwrap();
        let id = value["id"].as_str().unwrap();
        let Some((ours, falco)) = rules_of(&value["psp"]) else {
            continue;
        };
        let theirs = loaded(&falco.text);
        let raw: Line<'_> = serde_json::from_str(&line).unwrap();
        // Keys in the order of the data, and sorted.
        for pod in [raw.pod.get().to_owned(), value["pod"].to_string()] {
            let event = event(&pod);
            let (by_us, by_falco) = (fired(&ours, &event), fired(&theirs, &event));
            for rule in theirs.rules() {
                compared += 1;
                positive += usize::from(by_falco.contains(&rule.name));
                let name = &rule.name;
                let is_part = falco.left_out.iter().any(|l| l.partly && l.rule == *name);
                let same = by_us.contains(name) == by_falco.contains(name);
                if !same && is_part && by_us.contains(name) {
                    partly += 1;
                } else if !same {
                    let of = name.split_once(' ').unwrap().1.split_once(' ').unwrap().1;
                    let says = by_falco.contains(name);
                    wrong
                        .entry(of.to_owned())
                        .or_default()
                        .push(format!("{id}: {says}"));
                }
            }
        }
    }
    println!(
        "{compared} verdicts compared, {positive} that a rule fires, {partly} not seen by a rule that says so"
    );
    for (rule, ids) in &wrong {
        println!(
            "{rule}: {} wrong: {:?}",
            ids.len(),
            &ids[..ids.len().min(6)]
        );
    }
    assert!(wrong.is_empty());
    assert!(positive > compared / 20);
}

/// The rules of a policy in YAML for Falco.
fn falco_of(policy: &str) -> FalcoRules {
    let (policy, _) = psp::parse(&"p".into(), policy).unwrap();
    let text = convert::rules_text(&policy).unwrap().text;
    falco_rules(&"rules".into(), &text).unwrap()
}

const HEAD: &str = "apiVersion: policy/v1beta1\nkind: PodSecurityPolicy\n";
const ANY: &str = "  seLinux: {rule: RunAsAny}\n  runAsUser: {rule: RunAsAny}\n  fsGroup: {rule: RunAsAny}\n  supplementalGroups: {rule: RunAsAny}\n";

#[test]
fn images_are_named_with_and_without_registry_tag_and_digest() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let cases = [
        ("nginx", "nginx", true),
        ("nginx", "nginx:1.2", true),
        ("nginx", "quay.io:5000/team/nginx:1.2", true),
        ("nginx", "nginx@DIGEST", true),
        ("nginx", "nginx:1@DIGEST", true),
        ("nginx", "mynginx", false),
        ("nginx", "nginx/app", false),
        ("nginx", "nginx-x", false),
        ("nginx:1.2", "docker.io/library/nginx:1.2", true),
        ("nginx:1.2", "nginx:1.2@DIGEST", true),
        ("nginx:1.2", "nginx:1.20", false),
        ("nginx:1.2", "nginx", false),
        ("team/app", "quay.io/team/app", true),
        ("team/app", "steam/app", false),
        ("team/app", "app", false),
        ("quay.io:5000/app", "quay.io:5000/app:1", true),
        ("app@DIGEST", "x/app@DIGEST", true),
        ("app@DIGEST", "x/app:3@DIGEST", true),
        ("app@DIGEST", "x/app", false),
    ];
    for (listed, image, fires) in cases {
        let full = |text: &str| text.replace("DIGEST", &digest);
        let policy = format!(
            "{HEAD}metadata:\n  name: p\n  annotations:\n    falco-rules-psp-images: '[\"{}\"]'\nspec:\n{ANY}",
            full(listed)
        );
        let rules = loaded(&falco_of(&policy).text);
        let pod = format!(
            r#"{{"kind":"Pod","metadata":{{"name":"p"}},"spec":{{"containers":[{{"name":"a","image":"other"}},{{"name":"b","image":"{}","securityContext":{{"privileged":true}}}}]}}}}"#,
            full(image)
        );
        let fired = fired(&rules, &event(&pod));
        assert_eq!(!fired.is_empty(), fires, "{listed}: {image}: {fired:?}");
    }
}

#[test]
fn what_falco_cannot_say_is_named() {
    let policy = format!(
        "{HEAD}metadata: {{name: p}}\nspec:\n{ANY}  privileged: true\n  volumes: ['*']\n  allowedHostPaths: [{{pathPrefix: /var/log, readOnly: true}}, {{pathPrefix: /tmp}}]\n  allowedCapabilities: [\"a<b\"]\n"
    );
    let falco = falco_of(&policy);
    let reasons = falco.reasons().join("\n");
    for reason in [
        "left out: a name with quotes, backslashes, <, >, & or characters beyond ASCII (PSP p Violation (capabilities) K8s Audit)",
        "not seen: mounts that write below a read-only prefix",
        "left out: what pods do",
    ] {
        assert!(reasons.contains(reason), "{reason}: {reasons}");
        let head: String = falco
            .text
            .lines()
            .take_while(|l| l.starts_with('#'))
            .collect();
        let words = |text: &str| text.replace(['#', ' '], "");
        assert!(words(&head).contains(&words(reason)), "{head}");
    }
    let rules = loaded(&falco.text);
    let pod = |path: &str| {
        event(&format!(
            r#"{{"kind":"Pod","spec":{{"containers":[{{"name":"a","image":"i"}}],"volumes":[{{"name":"v","hostPath":{{"type":"","path":"{path}"}}}}]}}}}"#
        ))
    };
    assert!(fired(&rules, &pod("/etc")).contains("PSP p Violation (allowedHostPaths) K8s Audit"));
    for path in ["/tmp", "/tmp/", "/var/log/x"] {
        assert!(fired(&rules, &pod(path)).is_empty(), "{path}");
    }
}

#[test]
fn what_falco_would_refuse_for_its_length_is_left_out() {
    let prefixes: Vec<String> = (0..40)
        .map(|n| format!("{{pathPrefix: /srv/data/{n}}}"))
        .collect();
    let policy = format!(
        "{HEAD}metadata: {{name: p}}\nspec:\n{ANY}  volumes: ['*']\n  allowedHostPaths: [{}]\n",
        prefixes.join(", ")
    );
    let falco = falco_of(&policy);
    assert!(!loaded(&falco.text).is_empty());
    let reasons = falco.reasons().join("\n");
    let reason = "left out: a list that is too long: Falco takes 255 bytes for one comparison (PSP p Violation (allowedHostPaths) K8s Audit)";
    assert!(reasons.contains(reason), "{reasons}");
}

#[test]
fn a_scope_that_falco_cannot_say_takes_its_rules_along() {
    let policy = format!(
        "{HEAD}metadata:\n  name: p\n  annotations: {{falco-rules-psp-images: '[\"a&b\"]'}}\nspec:\n{ANY}"
    );
    let falco = falco_of(&policy);
    assert!(loaded(&falco.text).is_empty(), "{}", falco.text);
    let reasons = falco.reasons().join("\n");
    assert!(
        reasons.contains("left out: a name with quotes"),
        "{reasons}"
    );
}

#[test]
fn probes() {
    check("admission_probes.jsonl", 0, 1);
}

// In two halves, for machines with two cores: making the expressions takes its time.
#[test]
fn random_pairs() {
    check("admission_random.jsonl", 0, 2);
}

#[test]
fn other_random_pairs() {
    check("admission_random.jsonl", 1, 2);
}
