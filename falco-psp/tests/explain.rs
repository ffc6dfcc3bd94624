//! `falco-psp explain`: why rules fire for an event, or do not.

#![expect(clippy::unwrap_used, reason = "a test says best where it failed")]

use std::fs;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

const POLICY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/restricted.yaml");
const LOG: &str = include_str!("audit/audit_nopsp.log");

struct Files(TempDir);

impl Files {
    fn new(rules: &str, event: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("rules.yaml"), rules).unwrap();
        fs::write(folder.path().join("event.json"), event.to_string()).unwrap();
        Self(folder)
    }

    fn explain(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_falco-psp"));
        command.args(["explain", "--event", "event.json"]);
        command.args(arguments).current_dir(self.0.path());
        command.output().unwrap()
    }

    fn text(&self, arguments: &[&str]) -> String {
        let output = self.explain(arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// The event of the log that makes this pod.
fn made(pod: &str) -> Value {
    let mut events = LOG.lines().map(|line| serde_json::from_str(line).unwrap());
    let is_it = |event: &Value| event["verb"] == "create" && event["objectRef"]["name"] == pod;
    events.find(is_it).unwrap()
}

#[test]
fn a_policys_rules_on_an_audit_event() {
    let files = Files::new("", &made("hostns"));
    let all = files.text(&["--psp", POLICY]);
    for expected in [
        "rule \"PSP restricted Violation (hostPID) K8s Audit\" fires\n  Warning: PSP restricted \
         Violation (hostPID) pod with hostPID: true and the policy allows only false",
        "  true    ka.pod.host_pid = true [true]\n",
        "rule \"PSP restricted Violation (privileged) K8s Audit\" does not fire\n  \
         false ka.pod.privileged exists [no value]\n",
    ] {
        assert!(all.contains(expected), "{all}");
    }
    let one = "PSP restricted Violation (runAsUser) K8s Audit";
    let one = files.text(&["--psp", POLICY, "--rule", one]);
    let lines: Vec<&str> = one.lines().collect();
    assert!(
        lines[0].ends_with("(runAsUser) K8s Audit\" does not fire"),
        "{one}"
    );
    assert!(
        lines.contains(&"  true      ka.verb in (create, update, patch) [create]"),
        "{one}"
    );
    assert!(
        lines.contains(&"  false     ka.pod.users intersects (0) [no value]"),
        "{one}"
    );
    let other = "PSP restricted Violation (runAsUser) System Activity";
    let other = files.text(&["--psp", POLICY, "--rule", other]);
    assert!(other.contains("it is about events of syscall, and this is one of k8s_audit"));
}

#[test]
fn own_rules_with_macros_lists_and_other_fields() {
    let rules = "
- list: names
  items: [a, hostns]
- macro: named
  condition: ka.target.name in (names) or ka.target.name = val(ka.user.name)
- rule: r
  desc: d
  condition: not ka.verb = get and named
  output: '%ka.target.name'
  priority: INFO
  source: k8s_audit
";
    let files = Files::new(rules, &made("hostns"));
    assert_eq!(
        files.text(&["--rules", "rules.yaml"]),
        "rule \"r\" fires
  Informational: hostns
  true  and
  true    not
  false     ka.verb = get [create]
  true    or
  true      ka.target.name in (a, hostns) [hostns]
  false     ka.target.name = val(ka.user.name) [ka.target.name: hostns; ka.user.name: dev]
"
    );
}

/// The options in a container's arguments.
#[test]
fn getopt_reads_arguments() {
    let mut event = made("hostns");
    event["requestObject"]["spec"]["containers"][0]["args"] =
        json!(["-v", "-p80", "-c", "x.conf", "--long", "rest", "-z"]);
    let rules = "
- rule: r
  desc: d
  condition: >
    getopt(ka.req.pod.containers.args, \"vp:c:\")[p] = 80
    and getopt(ka.req.pod.containers.args, \"vp:c:\") intersects (x.conf)
    and not getopt(ka.req.pod.containers.args, \"vp:c:z\")[z] exists
  output: '%getopt(ka.req.pod.containers.args, \"vp:c:\")'
  priority: INFO
  source: k8s_audit
";
    let text = Files::new(rules, &event).text(&["--rules", "rules.yaml"]);
    assert!(
        text.contains("  Informational: (v,p,80,c,x.conf)\n"),
        "{text}"
    );
    assert!(text.contains("[p] = 80 [80]\n"), "{text}");
    assert!(
        text.contains("intersects (x.conf) [v, p, 80, c, x.conf]\n"),
        "{text}"
    );
}

#[test]
fn an_event_that_no_policy_judges() {
    let mut events = LOG.lines().map(|line| serde_json::from_str(line).unwrap());
    let about_others = |event: &Value| event["objectRef"]["resource"] == "serviceaccounts";
    let files = Files::new("", &events.find(about_others).unwrap());
    let text = files.text(&["--psp", POLICY]);
    let first = "a policy does not judge this event: it is about something else than pods\n";
    assert!(text.starts_with(first), "{text}");
    assert!(!text.contains("\" fires"), "{text}");
}

/// Of an alert some fields are known: what follows from them is told, what does not is not.
#[test]
fn an_alert_of_falcos() {
    let rules = "
- rule: known
  desc: d
  condition: evt.type = execve and proc.name = sh and user.uid = 0
  output: '%proc.name'
  priority: INFO
- rule: decided
  desc: d
  condition: evt.type = execve and proc.vpid = 1 and proc.name = bash
  output: o
  priority: INFO
- rule: open
  desc: d
  condition: evt.type = execve and proc.vpid = 1 and proc.name = sh
  output: o
  priority: INFO
";
    let alert = json!({
        "hostname": "node", "output": "o", "priority": "Notice", "rule": "x", "source": "syscall",
        "tags": [], "time": "2024-01-02T03:04:05.000000006Z",
        "output_fields": {
            "evt.time": 1_704_164_645_000_000_006_u64, "evt.type": "execve", "proc.name": "sh",
            "user.uid": "0"
        }
    });
    let files = Files::new(rules, &alert);
    let text = files.text(&["-r", "rules.yaml"]);
    for expected in [
        "rule \"known\" fires\n  Informational: sh\n",
        "rule \"decided\" does not fire\n  false proc.name = bash [sh]\n",
        "rule \"open\" may fire: the alert lacks fields that it asks for\n  \
         ?     proc.vpid = 1 [not in the alert]\n",
    ] {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn what_is_no_event_is_an_error() {
    let files = Files::new("", &json!({"kind": "Pod"}));
    let fails = |arguments: &[&str], words: &str| {
        let output = files.explain(arguments);
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(words), "{told}");
    };
    fails(
        &["--psp", POLICY],
        "event.json is no event: kind is \"Pod\"",
    );
    fs::write(files.0.path().join("event.json"), LOG).unwrap();
    fails(&["--psp", POLICY], "it has more than one line of JSON");
    fs::write(files.0.path().join("event.json"), "").unwrap();
    fails(&["--psp", POLICY], "event.json is no event: ");
    fs::write(
        files.0.path().join("event.json"),
        made("hostns").to_string(),
    )
    .unwrap();
    fails(
        &[
            "--psp",
            POLICY,
            "--rule",
            "PSP restricted Violation (hostPid) K8s Audit",
        ],
        "did you mean \"PSP restricted Violation (hostPID) K8s Audit\"?",
    );
    fs::remove_file(files.0.path().join("event.json")).unwrap();
    fails(&["--psp", POLICY], "cannot read event.json: No such file");
}
