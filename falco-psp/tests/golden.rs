//! Policies and the rules that they become. `UPDATE_GOLDEN=1 cargo test` writes the rules anew.

#![expect(clippy::unwrap_used, reason = "a test says best where it failed")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use falco_psp::control::Control;
use falco_psp::rules::Source;
use falco_psp::{convert, psp, rules};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn check(policy: &str, rules: &str) -> convert::Rules {
    let (policy, _) = psp::load(&root().join(policy)).unwrap();
    let rendered = convert::rules_text(&policy).unwrap();
    let golden = root().join("falco-psp/tests/golden").join(rules);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &rendered.text).unwrap();
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    assert!(
        rendered.text == expected,
        "{} is not what is rendered now; look at it with UPDATE_GOLDEN=1 and git diff:\n{}",
        golden.display(),
        rendered.text
    );
    reload(&policy, &rendered);
    rendered
}

/// What was rendered loads, without a warning, and each control has a rule or is said to have none.
fn reload(policy: &psp::Policy, rendered: &convert::Rules) {
    let (loaded, warnings) = rules::load(&Arc::from("rules"), &rendered.text).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    let rules = loaded.rules();
    assert_eq!(rules.len(), rendered.text.matches("- rule:").count());
    for control in Control::ALL {
        let of_control = rules.iter().filter(|rule| rule.control() == Some(control));
        let has_rule = of_control
            .clone()
            .any(|rule| rule.source == Source::Syscall);
        let denies = of_control
            .clone()
            .any(|rule| rule.name.contains(" Violation ") && rule.source == Source::K8sAudit);
        assert_eq!(policy.restricts(control), denies, "{control}");
        let said = rendered.unobserved.contains(&control);
        assert_eq!(policy.restricts(control), has_rule || said, "{control}");
        assert!(!(has_rule && said), "{control}");
    }
    for rule in rules {
        let name = rule.control().unwrap().name();
        let middle = format!(" ({name}) ");
        assert!(rule.name.starts_with("PSP ") && rule.name.contains(&middle));
        assert!(rule.tags.contains("k8s-psp"));
    }
}

fn unobserved(rules: &convert::Rules) -> Vec<&'static str> {
    rules
        .unobserved
        .iter()
        .map(|control| control.name())
        .collect()
}

#[test]
fn permissive() {
    let rules = check("examples/permissive.yaml", "permissive.rules.yaml");
    assert_eq!(unobserved(&rules), [""; 0]);
    assert!(!rules.text.contains("System Activity\n"));
}

#[test]
fn restricted() {
    let rules = check("examples/restricted.yaml", "restricted.rules.yaml");
    assert_eq!(unobserved(&rules), [""; 0]);
}

#[test]
fn all_fields() {
    let policy = "falco-psp/tests/golden/all-fields.psp.yaml";
    let rules = check(policy, "all-fields.rules.yaml");
    assert_eq!(rules.text.matches("System Activity").count(), 24);
    assert_eq!(unobserved(&rules), ["runtimeClass"]);
}

#[test]
fn odd_name() {
    check(
        "falco-psp/tests/golden/odd-name.psp.yaml",
        "odd-name.rules.yaml",
    );
}
