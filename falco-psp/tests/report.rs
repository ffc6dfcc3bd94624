//! `--report` as the program's user meets it: of a recording, of manifests, and of a run that goes on.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test says best where it failed"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde_json::Value;

const RESTRICTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/restricted.yaml");
const PERMISSIVE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/permissive.yaml");
const LOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/audit/audit_nopsp.log");
const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recording/v1.recording");

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_falco-psp"));
    command.args(arguments).output().unwrap()
}

/// The report in JSON of a run with these options, and its exit code.
fn report(folder: &Path, arguments: &[&str]) -> (Value, Option<i32>) {
    let path = folder.join("report.json").display().to_string();
    let report = format!("json:{path}");
    let output = run(&[arguments, &["--report", &report]].concat());
    let text = fs::read_to_string(path).unwrap();
    (serde_json::from_str(&text).unwrap(), output.status.code())
}

/// Writes the recording's report to a file; its text.
fn write_report(path: &str) -> String {
    let report = format!("json:{path}");
    run(&[
        "--replay", RECORDING, "--psp", RESTRICTED, "--report", &report,
    ]);
    fs::read_to_string(path).unwrap()
}

/// Writes the recording to a file, with one text in place of another.
fn write_recording(path: &str, from: &str, to: &str) {
    let mut text = String::new();
    let packed = fs::File::open(RECORDING).unwrap();
    let mut unpacked = MultiGzDecoder::new(packed);
    unpacked.read_to_string(&mut text).unwrap();
    assert!(text.contains(from), "{text}");
    let file = fs::File::create(path).unwrap();
    let mut packed = GzEncoder::new(file, Compression::fast());
    packed.write_all(text.replace(from, to).as_bytes()).unwrap();
    packed.finish().unwrap();
}

fn workload<'a>(report: &'a Value, name: &str) -> &'a Value {
    let mut workloads = report["workloads"].as_array().unwrap().iter();
    let found = workloads.find(|workload| workload["name"] == name);
    found.expect(name)
}

/// The cells of a workload that are of this state.
fn cells(workload: &Value, state: &str) -> Vec<String> {
    let cells = workload["cells"].as_array().unwrap();
    let of_state = cells.iter().filter(|cell| cell["state"] == state);
    of_state
        .map(|cell| cell["control"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_recording_is_told_by_workload_and_control() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--replay", RECORDING, "--psp", RESTRICTED];
    let (report, code) = report(folder.path(), &arguments);
    assert_eq!(code, Some(2));
    assert_eq!(report["version"], 1);
    assert_eq!(
        (&report["verdict"], &report["breaking"]),
        (&"breaks".into(), &2.into())
    );
    let declared = workload(&report, "priv-init");
    assert_eq!(cells(declared, "denied"), ["privileged", "capabilities"]);
    let observed = workload(&report, "web");
    assert_eq!(observed["namespace"], "default");
    assert_eq!(cells(observed, "breaks"), ["volumes", "runAsUser"]);
    // What the first version did not record yet: the use of those that it holds, and profiles.
    for control in ["capabilities", "seccomp"] {
        assert!(cells(observed, "unknown").contains(&control.to_owned()));
    }
    let cells = observed["cells"].as_array().unwrap();
    let users = cells
        .iter()
        .find(|cell| cell["control"] == "runAsUser")
        .unwrap();
    let evidence = &users["observed"]["evidence"][0];
    assert_eq!(
        (&evidence["policy"], &evidence["count"]),
        (&"restricted".into(), &5.into())
    );
    assert_eq!(evidence["first"], "2026-11-26T11:49:39.171Z");
    let example = evidence["examples"][0].as_str().unwrap();
    assert!(example.contains("process has the user ids 0"), "{example}");
    assert_eq!(users["declared"], Value::Null);
    // One event of the log is cut short: that is said beside the verdict.
    let weaknesses = report["weaknesses"].to_string();
    assert!(
        weaknesses.contains("audit events that make no sense: 1"),
        "{weaknesses}"
    );
}

/// A workload that one of the policies admits breaks under none.
#[test]
fn one_of_several_policies_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "--replay", RECORDING, "--psp", RESTRICTED, "--psp", PERMISSIVE,
    ];
    let (report, code) = report(folder.path(), &arguments);
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(report["breaking"], 0);
    assert_eq!(report["verdict"], "not_enough_seen");
    for name in ["web", "priv-init"] {
        assert_eq!(cells(workload(&report, name), "breaks"), [""; 0]);
        assert_eq!(cells(workload(&report, name), "denied"), [""; 0]);
    }
}

#[test]
fn manifests_are_told_alike() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("m.yaml");
    let pod = |name: &str, security: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  \
             securityContext: {{runAsUser: 10, fsGroup: 10, supplementalGroups: [10]}}\n  \
             containers: [{{name: c, image: i, securityContext: {{{security}}}}}]\n"
        )
    };
    let good = "allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, \
                capabilities: {drop: [ALL]}";
    fs::write(
        &manifest,
        pod("good", good) + &pod("bad", "privileged: true"),
    )
    .unwrap();
    let manifest = manifest.display().to_string();
    let arguments = ["check", "--psp", RESTRICTED, &manifest];
    let (report, code) = report(folder.path(), &arguments);
    assert_eq!(code, Some(2));
    assert_eq!(cells(workload(&report, "bad"), "denied")[0], "privileged");
    assert_eq!(cells(workload(&report, "good"), "denied"), [""; 0]);
    let place = &workload(&report, "bad")["places"][0];
    assert_eq!(*place, format!("{manifest}:9"));
    assert_eq!(report["breaking"], 1);
    // Those that break come first.
    assert_eq!(report["workloads"][0]["name"], "bad");
}

/// A container that may be in a policy's scope is not passed over.
#[test]
fn what_may_be_in_scope_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (recording, policy) = (path("r.recording"), path("p.yaml"));
    let text = fs::read_to_string(RESTRICTED).unwrap();
    let scoped = "  annotations:\n    falco-rules-psp-namespaces: default\n";
    fs::write(&policy, text.replacen("  annotations:\n", scoped, 1)).unwrap();
    let report = |file: &str| report(folder.path(), &["--replay", file, "--psp", &policy]).0;
    assert_eq!(
        cells(workload(&report(RECORDING), "web"), "breaks").len(),
        2
    );

    // In no scope at all.
    let text = fs::read_to_string(&policy).unwrap();
    fs::write(
        &policy,
        text.replace("-namespaces: default", "-namespaces: other"),
    )
    .unwrap();
    let elsewhere = report(RECORDING);
    assert!(
        elsewhere["workloads"].as_array().unwrap().is_empty(),
        "{elsewhere:#}"
    );
    assert!(
        elsewhere["notes"]
            .to_string()
            .contains("1 containers are in no"),
        "{elsewhere:#}"
    );

    write_recording(
        &recording,
        "\"namespace\":\"default\"",
        "\"namespace\":null",
    );
    let report = report(&recording);
    assert_eq!(report["breaking"], 0, "{report:#}");
    assert_eq!(report["verdict"], "not_enough_seen");
    let weaknesses = report["weaknesses"].to_string();
    assert!(
        weaknesses.contains("may be in a policy's scope: 1"),
        "{weaknesses}"
    );
    assert!(
        !report["notes"].to_string().contains("containers are in no"),
        "{report:#}"
    );
}

#[test]
fn outside_kubernetes_a_container_is_a_workload() {
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("r.recording").display().to_string();
    let pod = "\"name\":\"web\",\"namespace\":\"default\"";
    write_recording(&recording, pod, "\"name\":null,\"namespace\":null");
    let arguments = ["--replay", &recording, "--psp", RESTRICTED];
    let (report, _) = report(folder.path(), &arguments);
    let container = workload(&report, "nginx");
    assert_eq!(
        (&container["kind"], &container["namespace"]),
        (&"Container".into(), &"".into())
    );
    assert_eq!(cells(container, "breaks").len(), 2);
}

/// What nobody could judge is not safe.
#[test]
fn audit_events_without_pods_weaken_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("a.log");
    let event = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata",
        "stage":"ResponseComplete","verb":"create","user":{"username":"u"},
        "objectRef":{"resource":"pods","namespace":"n","name":"p","apiVersion":"v1"},
        "responseStatus":{"code":201},"requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z",
        "stageTimestamp":"2026-01-01T00:00:00.000000Z","auditID":"a","requestURI":"/"}"#;
    let good = fs::read_to_string(LOG).unwrap();
    fs::write(&log, good + &event.replace('\n', "") + "\n").unwrap();
    let log = log.display().to_string();
    let (whole, _) = report(folder.path(), &["--audit-log", LOG, "--psp", PERMISSIVE]);
    assert_eq!(whole["verdict"], "safe", "{whole:#}");
    let (report, _) = report(folder.path(), &["--audit-log", &log, "--psp", PERMISSIVE]);
    assert_eq!(report["verdict"], "not_enough_seen");
    let weaknesses = report["weaknesses"].to_string();
    assert!(weaknesses.contains("do not have them: 1"), "{weaknesses}");
}

/// A file is not to be trusted with its numbers.
#[test]
fn counts_of_reports_do_not_run_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.json").display().to_string();
    let most = u64::MAX;
    let text = write_report(&path)
        .replace("\"count\": 5", &format!("\"count\": {most}"))
        .replace("\"containers\": 1", &format!("\"containers\": {most}"))
        .replace("\"breaking\": 2", &format!("\"breaking\": {most}"));
    fs::write(&path, text).unwrap();
    let output = run(&["report", "merge", &path, &path]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains(&format!("seen {most}×")),
        "{text} {:?}",
        output.stderr
    );
}

/// `| head`, when it has enough, and a disk that has no room.
#[test]
fn whoever_takes_the_report_may_go_and_a_full_disk_is_told() {
    let full = [
        "--replay",
        RECORDING,
        "--psp",
        RESTRICTED,
        "--report",
        "json:/dev/full",
    ];
    let output = run(&full);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("/dev/full: No space left"), "{message}");
    assert_eq!(output.status.code(), Some(1));
    let mut child = Command::new(env!("CARGO_BIN_EXE_falco-psp"))
        .args([
            "--replay", RECORDING, "--psp", RESTRICTED, "--report", "html",
        ])
        .args(["--output", "file:/dev/null"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(2));
}

#[test]
fn reports_of_several_nodes_become_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (first, second) = (path("n1.json"), path("n2.json"));
    let text = write_report(&first);
    // On the other node it is another pod.
    let other = text
        .replace("priv-init", "other")
        .replace("11:49:39.688Z", "11:49:59.000Z");
    fs::write(&second, other).unwrap();
    let output = run(&["report", "merge", &first, &second, "--report", "json"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let merged: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(merged["breaking"], 3);
    assert_eq!(merged["seen"]["containers"], 2);
    let web = workload(&merged, "web");
    assert_eq!(web["containers"], 2);
    let cells = web["cells"].as_array().unwrap();
    let users = cells
        .iter()
        .find(|cell| cell["control"] == "runAsUser")
        .unwrap();
    let evidence = &users["observed"]["evidence"][0];
    assert_eq!(
        (&evidence["count"], &evidence["last"]),
        (&10.into(), &"2026-11-26T11:49:59.000Z".into())
    );
    assert_eq!(evidence["examples"].as_array().unwrap().len(), 2);
    // Each weakness says whose it is.
    assert!(
        merged["weaknesses"]
            .to_string()
            .contains("n2.json: audit events"),
        "{merged}"
    );
    // A merged report is one as well, and a report of one node stays as it is.
    fs::write(&second, &output.stdout).unwrap();
    let output = run(&["report", "merge", &second]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with("policy restricted: 3 workloads break\n"),
        "{text}"
    );
}

#[test]
fn what_is_no_report_is_not_merged() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (good, bad) = (path("good.json"), path("bad.json"));
    let text = write_report(&good);
    for (bad_text, expected) in [
        ("{}".to_owned(), "bad.json:1:2: no report"),
        ("[".to_owned(), "bad.json:1:1: no report"),
        (
            text.replacen("\"version\": 1", "\"version\": 9", 1),
            "version 9",
        ),
        (
            text.replacen("\"hostIPC\",", "", 1),
            "restrict other controls",
        ),
        (text.replace("\"runAsUser\"", "\"x\""), "no control \"x\""),
        (
            text.replace("\"restricted\"", "\"other\""),
            "about policy other",
        ),
    ] {
        fs::write(&bad, bad_text).unwrap();
        let output = run(&["report", "merge", &good, &bad]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains(expected), "{expected}: {message}");
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn every_form_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    let html = format!("html:{}", page.display());
    let output = run(&[
        "--replay",
        RECORDING,
        "--psp",
        RESTRICTED,
        "--json",
        "--output",
        "file:/dev/null",
        "--report",
        "text",
        "--report",
        "markdown",
        "--report",
        &html,
    ]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with("policy restricted: 2 workloads break\n"),
        "{text}"
    );
    assert!(text.contains("\n## falco-psp: policy restricted: 2 workloads break\n"));
    let page = fs::read_to_string(page).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>"));
    // Also without scripts it tells what breaks.
    let broken = "default&#x2f;Pod&#x2f;web: volumes (breaks), runAsUser (breaks)</li>";
    assert!(page.contains(broken), "{page}");
    // It loads nothing.
    assert!(!page.contains("src=") && !page.contains("href="), "{page}");
}

/// With sudo, in a folder of one's own.
#[test]
fn root_writes_into_the_folders_of_others() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(folder.path(), Some(65_534), Some(65_534)).unwrap();
    let (report, code) = report(folder.path(), &["--replay", RECORDING, "--psp", RESTRICTED]);
    assert_eq!((&report["version"], code), (&1.into(), Some(2)));
    let recording = folder.path().join("x.recording").display().to_string();
    let output = run(&["record", &recording, "--audit-log", LOG]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_report_without_a_place_or_form_is_told_before_anything_starts() {
    for (report, expected) in [
        (
            "json:/nonexistent/r.json",
            "cannot write the report to /nonexistent/r.json",
        ),
        (
            "pdf",
            "use text, json, markdown, html, junit, sarif or policyreport",
        ),
    ] {
        let output = run(&[
            "--replay", RECORDING, "--psp", RESTRICTED, "--report", report,
        ]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains("rules (syscall"), "{message}");
        assert_eq!(output.status.code(), Some(1), "{message}");
    }
}
