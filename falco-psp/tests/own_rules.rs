//! Rules of the user's own, without a policy and beside one.

#![expect(clippy::unwrap_used, reason = "a test says best where it failed")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const LOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/audit/audit_nopsp.log");
const POLICY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/restricted.yaml");
const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/workloads.yaml");

/// About pods, about other objects, and about what this run does not see.
const RULES: &str = "
- list: deletions
  items: [delete, deletecollection]
- rule: Something deleted
  desc: of any kind
  condition: ka.verb in (deletions) and ka.stage = ResponseComplete
  output: '%ka.target.resource deleted by %ka.user.name'
  priority: WARNING
  source: k8s_audit
- rule: Pod in the node's network
  desc: needs the facts of the pod
  condition: ka.verb = create and ka.pod.host_network = true
  output: '%ka.target.namespace/%ka.target.name'
  priority: NOTICE
  source: k8s_audit
- rule: Secret written
  desc: the event has no object
  condition: ka.target.resource = secrets and jevt.value[/level] = Metadata
  output: '%ka.target.name'
  priority: INFO
  source: k8s_audit
- rule: File opened
  desc: by a process
  condition: evt.type in (open, openat)
  output: '%proc.name'
  priority: INFO
";

fn run(rules: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.yaml");
    fs::write(&path, rules).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_falco-psp"));
    command.args(arguments).arg("--rules").arg(path);
    command.output().unwrap()
}

fn alerts(output: &Output) -> Vec<Value> {
    let lines = output.stdout.split(|byte| *byte == b'\n');
    lines
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

fn of_rule<'a>(alerts: &'a [Value], rule: &str) -> Vec<&'a Value> {
    alerts
        .iter()
        .filter(|alert| alert["rule"] == rule)
        .collect()
}

/// How many events of the log a reader of JSON finds.
fn count_in_log(is_one: impl Fn(&Value) -> bool) -> usize {
    let log = fs::read_to_string(LOG).unwrap();
    let events = log.lines().map(|line| serde_json::from_str(line).unwrap());
    events.filter(|event| is_one(event)).count()
}

#[test]
fn requests_of_every_kind_reach_the_rules() {
    let output = run(RULES, &["--audit-log", LOG, "--json", "--all"]);
    assert_eq!(output.status.code(), Some(2));
    let alerts = alerts(&output);
    let complete = |event: &Value| event["stage"] == "ResponseComplete";
    let deleted = |event: &Value| {
        let verb = event["verb"].as_str().unwrap();
        complete(event) && ["delete", "deletecollection"].contains(&verb)
    };
    let secret =
        |event: &Value| event["objectRef"]["resource"] == "secrets" && event["level"] == "Metadata";
    let host_pid = |event: &Value| {
        event["verb"] == "create" && event["requestObject"]["spec"]["hostNetwork"] == true
    };
    for (rule, expected) in [
        ("Something deleted", count_in_log(deleted)),
        ("Secret written", count_in_log(secret)),
        ("Pod in the node's network", count_in_log(host_pid)),
    ] {
        assert_ne!(expected, 0, "{rule}");
        assert_eq!(of_rule(&alerts, rule).len(), expected, "{rule}");
    }
    let pod = of_rule(&alerts, "Pod in the node's network");
    assert!(
        pod.iter()
            .any(|alert| alert["output_fields"]["ka.target.name"] == "hostns")
    );
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("rule \"File opened\": not judged: this run has no events of syscall\n"),
        "{told}"
    );
    assert!(
        told.ends_with("184 audit events, 0 of them malformed\n"),
        "{told}"
    );
}

#[test]
fn they_change_nothing_in_what_a_policy_says() {
    let with = run(RULES, &["--psp", POLICY, "--audit-log", LOG, "--json"]);
    let alone = run("", &["--psp", POLICY, "--audit-log", LOG, "--json"]);
    assert_eq!(with.status.code(), Some(2));
    let of_policy = |output: &Output| -> Vec<String> {
        let alerts = alerts(output).into_iter();
        let rules = alerts.map(|alert| alert["rule"].as_str().unwrap().to_owned());
        rules.filter(|rule| rule.starts_with("PSP ")).collect()
    };
    assert_eq!(of_policy(&with), of_policy(&alone));
    assert_eq!(of_rule(&alerts(&with), "Something deleted").len(), 2);
    let (with, alone) = (
        String::from_utf8(with.stderr),
        String::from_utf8(alone.stderr),
    );
    let (with, alone) = (with.unwrap(), alone.unwrap());
    assert!(with.ends_with(&alone), "{with}\n---\n{alone}");
}

#[test]
fn a_check_tells_what_fired() {
    let output = run(RULES, &["check", "--format", "json", MANIFESTS]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(2), "{document}");
    assert_eq!(document["rules_fired"]["Pod in the node's network"], 1);
    assert_eq!(document["policies"], Value::Array(Vec::new()));
    let nothing = run("", &["check", MANIFESTS]);
    assert_eq!(nothing.status.code(), Some(0));
}

#[test]
fn what_is_wrong_is_shown_with_its_line() {
    let rules = RULES.replace("ka.verb in", "ka.verv in");
    let output = run(&rules, &["--audit-log", LOG]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let told = String::from_utf8(output.stderr).unwrap();
    for words in [
        "own.yaml:6:14: error: unknown field \"ka.verv\"; did you mean \"ka.verb\"?\n",
        "  |   condition: ka.verv in (deletions)",
        "\n  |              ^\n",
    ] {
        assert!(told.contains(words), "{told}");
    }
    let missing = Path::new(LOG).with_file_name("nothing.yaml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_falco-psp"));
    let output = command.arg("-r").arg(&missing).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.starts_with("falco-psp: cannot read "), "{told}");
}
