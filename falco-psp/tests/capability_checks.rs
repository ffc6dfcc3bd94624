//! What a container was granted and refused, by a recording: only what was granted is a use, and the
//! report tells both.

#![expect(clippy::unwrap_used, reason = "a test says best where it failed")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Output};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recording/v1.recording");
const RESTRICTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/restricted.yaml");

/// Rules that ask for what was refused.
const RULES: &str = "
- rule: refused
  desc: d
  condition: evt.type=capable and evt.failed=true and evt.res=EPERM and evt.arg.cap=NET_RAW
  output: refused %evt.arg.cap in %evt.arg.call (%evt.rawres)
  priority: INFO
- rule: granted
  desc: d
  condition: evt.type=capable and evt.res=SUCCESS
  output: granted %evt.caps in %evt.arg.call
  priority: INFO
";

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_falco-psp"));
    command.args(arguments).output().unwrap()
}

/// Writes a recording of a container with some checks, and how often the kernel saw each again.
fn record(path: &str, checks: &[(Value, u64)]) {
    let mut text = String::new();
    let packed = fs::File::open(RECORDING).unwrap();
    MultiGzDecoder::new(packed)
        .read_to_string(&mut text)
        .unwrap();
    let mut lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    lines[0]["start"]["made_by"]["hooks"] =
        json!(["sched_process_exec", "sys_exit", "cap_capable"]);
    let exec = lines
        .iter()
        .find(|line| line["event"]["activity"] == "exec");
    let exec = exec.unwrap().clone();
    let end = lines.pop().unwrap();
    for (number, (check, times)) in (1..).zip(checks) {
        let mut event = exec.clone();
        let time_ns = 1_795_693_780_000_000_000_u64 + number * 1_000_000_000;
        event["event"]["time_ns"] = json!(time_ns);
        event["event"]["activity"] = json!({ "capability": check });
        event["event"]["posture"] = json!(number);
        lines.push(event);
        let last = json!({ "time_ns": time_ns + 500_000_000, "pid": 4711 });
        lines.push(json!({ "repeated": { "posture": number, "times": times, "last": last } }));
    }
    lines.push(end);
    let mut packed = GzEncoder::new(fs::File::create(path).unwrap(), Compression::fast());
    for line in lines {
        writeln!(packed, "{line}").unwrap();
    }
    packed.finish().unwrap();
}

fn refused() -> (Value, u64) {
    (
        json!({"capability": "NET_RAW", "call": "socket", "result": -1}),
        2,
    )
}

/// As earlier versions recorded it.
fn granted() -> (Value, u64) {
    (json!({"capability": "NET_RAW", "call": "setsockopt"}), 4)
}

/// The report of a recording in JSON, and what came with it.
fn report(folder: &Path, name: &str, checks: &[(Value, u64)]) -> (Value, Output) {
    let path = |kind: &str| folder.join(name).with_extension(kind).display().to_string();
    record(&path("recording"), checks);
    let rules = path("yaml");
    fs::write(&rules, RULES).unwrap();
    let json = path("json");
    let output = run(&[
        "--replay",
        &path("recording"),
        "--psp",
        RESTRICTED,
        "--rules",
        &rules,
        "--json",
        "--report",
        &format!("json:{json}"),
    ]);
    let report = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    (report, output)
}

/// The checks of the container.
fn checks(report: &Value) -> &Value {
    let workloads = report["workloads"].as_array().unwrap();
    let web = workloads.iter().find(|workload| workload["name"] == "web");
    &web.unwrap()["needs"]["observed"]["nginx"]["capability_checks"]
}

/// The rules that fired about a capability that was asked for, with what they said.
fn fired(output: &Output) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(&output.stdout);
    let alerts = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let said = alerts.map(|alert: Value| {
        let text = |key: &str| alert[key].as_str().unwrap().to_owned();
        // Less time and priority.
        let output = text("output").splitn(3, ' ').last().unwrap().to_owned();
        (text("rule"), output)
    });
    said.filter(|(rule, _)| {
        ["refused", "granted"].contains(&&**rule) || rule.ends_with("System Activity Call")
    })
    .collect()
}

fn is_of_schema(report: &Value) {
    let schema = fs::read_to_string(format!("{ROOT}/docs/report.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let options = jsonschema::options().should_validate_formats(true);
    let validator = options.build(&schema).unwrap();
    let errors = validator.iter_errors(report).map(|error| error.to_string());
    assert_eq!(errors.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn what_was_refused_is_told_and_breaks_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (report, output) = report(folder.path(), "r", &[refused()]);
    let said = ("refused", "refused NET_RAW in socket (-1)");
    assert_eq!(fired(&output), [(said.0.to_owned(), said.1.to_owned())]);
    let expected = json!({ "NET_RAW": {
        "granted": 0,
        "denied": 3,
        "calls": { "socket": { "granted": 0, "denied": 3 } },
        "first": {
            "time": "2026-11-26T11:49:41.000Z", "call": "socket", "denied": true, "pid": 15495,
            "process": "sh", "command": "sh -c while :; do true; sleep 1; done",
        },
        "last": {
            "time": "2026-11-26T11:49:41.500Z", "call": "socket", "denied": true, "pid": 4711,
        },
    }});
    assert_eq!(*checks(&report), expected);
    is_of_schema(&report);
}

#[test]
fn what_was_granted_is_a_use() {
    let folder = tempfile::tempdir().unwrap();
    let (report, output) = report(folder.path(), "g", &[granted()]);
    let rules: Vec<String> = fired(&output).into_iter().map(|(rule, _)| rule).collect();
    let of_policy = "PSP restricted Violation (capabilities) System Activity Call";
    assert_eq!(rules, [of_policy, "granted"]);
    let of_socket = &checks(&report)["NET_RAW"];
    assert_eq!(
        (&of_socket["granted"], &of_socket["denied"]),
        (&json!(5), &json!(0))
    );
}

#[test]
fn reports_of_nodes_add_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let _ = report(folder.path(), "1", &[granted(), refused()]);
    let _ = report(folder.path(), "2", &[refused()]);
    let merged = path("merged");
    let request = format!("json:{merged}");
    let output = run(&[
        "report",
        "merge",
        &path("1.json"),
        &path("2.json"),
        "--report",
        &request,
    ]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let report: Value = serde_json::from_str(&fs::read_to_string(&merged).unwrap()).unwrap();
    is_of_schema(&report);
    let checks = &checks(&report)["NET_RAW"];
    assert_eq!(
        (&checks["granted"], &checks["denied"]),
        (&json!(5), &json!(6))
    );
    assert_eq!(
        checks["calls"]["socket"],
        json!({"granted": 0, "denied": 6})
    );
    let first = (&checks["first"]["call"], &checks["first"]["time"]);
    let of_first = ("setsockopt", "2026-11-26T11:49:41.000Z");
    assert_eq!(first, (&json!(of_first.0), &json!(of_first.1)));
    assert_eq!(checks["last"]["time"], "2026-11-26T11:49:42.500Z");
    let text = run(&["report", "merge", &merged]);
    let text = String::from_utf8_lossy(&text.stdout);
    let told = "\nasked for, and refused by the kernel:\n  default/Pod/web: NET_RAW (socket, 6×)\n";
    assert!(text.contains(told), "{text}");
}
