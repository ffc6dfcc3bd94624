//! Recordings as the program's user meets them: what was recorded once is judged again, with the
//! same result, and what is wrong with a recording is told.

#![expect(clippy::unwrap_used, reason = "a test says best where it failed")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_falco-psp"));
    command.args(arguments).output().unwrap()
}

fn restricted() -> String {
    file("../examples/restricted.yaml").display().to_string()
}

fn log() -> String {
    file("tests/audit/audit_nopsp.log").display().to_string()
}

fn stdout(output: &Output) -> &str {
    str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

/// A recording of the audit log.
fn record(folder: &Path) -> String {
    let path = folder.join("run.recording").display().to_string();
    let output = run(&["record", &path, "--audit-log", &log()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = format!("recorded to {path}: 184 events, ");
    assert!(stderr(&output).contains(&said), "{}", stderr(&output));
    path
}

fn replay(path: &str, more: &[&str]) -> Output {
    let psp = restricted();
    run(&[&["--replay", path, "--psp", &psp], more].concat())
}

fn unpacked(path: &str) -> String {
    let mut text = String::new();
    let packed = fs::File::open(path).unwrap();
    MultiGzDecoder::new(packed)
        .read_to_string(&mut text)
        .unwrap();
    text
}

fn pack(text: &str) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

#[test]
fn what_was_recorded_is_judged_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = record(folder.path());
    let psp = restricted();
    for more in [&["--json"][..], &["--all"]] {
        let at_once = run(&[&["--audit-log", &log(), "--psp", &psp], more].concat());
        let later = replay(&path, more);
        assert!(!at_once.stdout.is_empty());
        assert_eq!(stdout(&at_once), stdout(&later));
        assert_eq!(later.status.code(), Some(2));
        // Less its header.
        let said = stderr(&later).split_once('\n').unwrap().1;
        assert_eq!(stderr(&at_once), said);
    }
}

#[test]
fn no_secret_gets_in() {
    let folder = tempfile::tempdir().unwrap();
    let events = folder.path().join("log");
    let event = |resource: &str, object: &str| {
        format!(
            "{{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"level\":\"RequestResponse\",\
             \"auditID\":\"{resource}\",\"stage\":\"ResponseComplete\",\"verb\":\"create\",\
             \"user\":{{\"username\":\"u\"}},\"objectRef\":{{\"resource\":\"{resource}\",\
             \"namespace\":\"n\",\"name\":\"x\",\"apiVersion\":\"v1\"}},\
             \"responseStatus\":{{\"code\":201}},\"requestObject\":{object}}}\n"
        )
    };
    let pod = "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"x\"},\
        \"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\",\
        \"env\":[{\"name\":\"A\",\"value\":\"geheim1\"}],\
        \"args\":[\"--token=geheim2\",\"geheim3\"],\"securityContext\":{\"privileged\":true}}]}}";
    let secret = "{\"kind\":\"Secret\",\"data\":{\"k\":\"geheim4\"}}";
    fs::write(
        &events,
        event("pods", pod) + &event("secrets", secret) + "{\"geheim5\n",
    )
    .unwrap();
    let path = folder.path().join("r").display().to_string();
    let events = events.display().to_string();
    let recorded = run(&[
        "record",
        &path,
        "--audit-log",
        &events,
        "--redact",
        "geheim3",
    ]);
    assert_eq!(recorded.status.code(), Some(0), "{}", stderr(&recorded));
    let text = unpacked(&path);
    assert!(!text.contains("geheim"), "{text}");
    let later = replay(&path, &[]);
    assert!(stdout(&later).contains("Violation (privileged)"));
    assert!(stderr(&later).contains("1 malformed"), "{}", stderr(&later));
}

#[test]
fn a_recording_that_was_cut_reads_up_to_the_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = record(folder.path());
    let whole = fs::read(&path).unwrap();
    let all = stdout(&replay(&path, &[])).to_owned();
    let mut longest = 0;
    for length in [
        20,
        whole.len() / 3,
        whole.len() / 2,
        whole.len() * 9 / 10,
        whole.len() - 1,
    ] {
        fs::write(&path, &whole[..length]).unwrap();
        let output = replay(&path, &[]);
        let (told, said) = (stdout(&output), stderr(&output));
        assert!(all.starts_with(told));
        let is_told = said.contains("THE RECORDING IS NOT WHOLE: it was cut\n")
            || said.contains("is no recording of falco-psp: it was cut");
        assert!(is_told, "{said}");
        assert!(told.len() >= longest);
        longest = told.len();
    }
    assert!(longest > 0);
}

#[test]
fn lines_that_make_no_sense_are_told_and_the_rest_is_judged() {
    let folder = tempfile::tempdir().unwrap();
    let path = record(folder.path());
    let text = unpacked(&path);
    let first_line = text.find('\n').unwrap() + 1;
    let (start, rest) = text.split_at(first_line);
    let broken = format!("{start}{{\"event\": 7}}\nnonsense\n{{\"later\": {{}}}}\n{rest}");
    let good = replay(&path, &[]);
    fs::write(&path, pack(&broken)).unwrap();
    let output = replay(&path, &[]);
    assert_eq!(stdout(&output), stdout(&good));
    let said = stderr(&output);
    for line in 2..5 {
        assert!(said.contains(&format!("{path}:{line}: ")), "{said}");
    }
    assert!(said.contains("3 LINES OF THE RECORDING MAKE NO SENSE"));
}

#[test]
fn what_is_no_recording_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r").display().to_string();
    let newer = "{\"start\":{\"falco_psp_recording\":99}}\n";
    for (content, expected) in [
        (Vec::new(), "is no recording of falco-psp: it is empty"),
        (b"text\n".to_vec(), "is no recording of falco-psp"),
        (
            pack("text\n"),
            "is no recording of falco-psp: its first line is no JSON",
        ),
        (
            pack("{\"a\":1}\n"),
            "is no recording of falco-psp: its first line does not say so",
        ),
        (pack(newer), "is a recording of version 99"),
    ] {
        fs::write(&path, content).unwrap();
        let output = replay(&path, &[]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
    let output = replay("/nonexistent", &[]);
    assert!(stderr(&output).contains("cannot read /nonexistent: "));
    // A file that is there is not written over.
    let output = run(&["record", &path, "--audit-log", &log()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("exists already"));
}

/// Recordings of earlier versions of the format are kept in `tests/recording`.
#[test]
fn recordings_of_every_version_are_read() {
    let path = file("tests/recording/v1.recording").display().to_string();
    let rules = file("tests/recording/rules.yaml").display().to_string();
    let output = run(&["--replay", &path, "--rules", &rules, "--json", "--all"]);
    let expected = fs::read_to_string(file("tests/recording/v1.alerts.json")).unwrap();
    let without_host = |text: &str| -> Vec<serde_json::Value> {
        let alerts = text.lines().map(|line| {
            let mut alert: serde_json::Value = serde_json::from_str(line).unwrap();
            alert.as_object_mut().unwrap().remove("hostname");
            alert
        });
        alerts.collect()
    };
    assert!(!expected.is_empty());
    assert_eq!(without_host(stdout(&output)), without_host(&expected));
    assert!(!stderr(&output).contains("NOT WHOLE"));
}
