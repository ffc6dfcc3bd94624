//! `compare` as the program's user meets it: several policies, one recording, audit log or manifest.

#![expect(clippy::expect_used, reason = "a test says best where it failed")]

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

const RESTRICTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/restricted.yaml");
const PERMISSIVE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/permissive.yaml");
const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/workloads.yaml");
const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recording/v1.recording");
const LOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/audit/audit_nopsp.log");

fn compare(policies: [&str; 2], by: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_falco-psp"));
    let [first, second] = policies;
    command.args(["compare", "--psp", first, "--psp", second]);
    command.args(by).output().expect("falco-psp starts")
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

#[test]
fn a_recording_by_two_policies() {
    let by = ["--replay", RECORDING];
    let output = compare([PERMISSIVE, RESTRICTED], &by);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    for expected in [
        "permissive  restricted  workload\n",
        "fine        denied      test/Pod/priv-init\n",
        "unknown     breaks      default/Pod/web\n",
        "not all was seen: audit events that make no sense: 1\n",
        "not all was seen for permissive: cells that are unknown: 1\n",
        "not all was seen for restricted: cells that are unknown: 6\n",
        "\nfrom permissive to restricted\n",
        "  breaks  default/Pod/web\n          volumes, runAsUser\n",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    // The other way round nothing breaks.
    let output = compare([RESTRICTED, PERMISSIVE], &[&by[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let step = &document(&output)["steps"][0];
    assert_eq!(step["breaks"], Value::Array(Vec::new()));
    assert_eq!(step["mends"][0]["workload"], "default/Pod/web");
}

#[test]
fn manifests_and_audit_logs_alike() {
    for by in [&[MANIFESTS][..], &["--audit-log", LOG]] {
        let output = compare([PERMISSIVE, RESTRICTED], &[by, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let document = document(&output);
        let names: Vec<&Value> = document["policies"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|policy| &policy["name"])
            .collect();
        assert_eq!(names, ["permissive", "restricted"]);
        assert_eq!(document["policies"][0]["breaking"], 0);
        let breaking = &document["policies"][1]["breaking"];
        let broken = document["steps"][0]["breaks"].as_array().map(Vec::len);
        assert_eq!(breaking.as_u64(), broken.map(|n| n as u64), "{document:#}");
        assert!(broken > Some(0), "{document:#}");
    }
}

/// As before and after a change of one policy.
#[test]
fn policies_of_one_name_go_by_their_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = folder.path().join("other.yaml");
    let text = fs::read_to_string(RESTRICTED).expect("the example");
    let text = text.replace("hostNetwork: false", "hostNetwork: true");
    fs::write(&other, text).expect("a file");
    let other = other.display().to_string();
    let output = compare([&other, RESTRICTED], &[MANIFESTS, "--json"]);
    let document = document(&output);
    assert_eq!(document["steps"][0]["from"], *other);
    let breaks = &document["steps"][0]["breaks"][0];
    assert_eq!(breaks["workload"], "shop/Deployment/web");
    assert_eq!(breaks["controls"], serde_json::json!(["hostNetwork"]));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn what_cannot_be_compared_is_an_error() {
    for (by, expected) in [
        (&["--replay", "/nonexistent"][..], "/nonexistent"),
        (&["--audit-log", "/nonexistent"], "/nonexistent"),
        (&["/nonexistent"], "/nonexistent"),
        (&["-"], "name a file"),
        (&["--audit-log", "/dev/null"], "nothing was compared"),
        (&[], "<FILE>"),
    ] {
        let output = compare([PERMISSIVE, RESTRICTED], by);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.contains(expected), "{message}");
    }
}
