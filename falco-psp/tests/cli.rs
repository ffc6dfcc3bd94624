//! The program as its user meets it: what it says and the code it ends with, when all is well and
//! when something is not.

#![expect(clippy::unwrap_used, reason = "a test says best where it failed")]

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a run left.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn run(arguments: &[&str]) -> Ended {
    ended(Command::new(env!("CARGO_BIN_EXE_falco-psp")).args(arguments))
}

fn ended(command: &mut Command) -> Ended {
    let output = command.stdin(Stdio::null()).output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    path.join(name).to_str().unwrap().to_owned()
}

/// A folder with a file of this text, and the file's path.
fn file(text: impl AsRef<[u8]>) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.yaml");
    fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

/// An error: code 1, nothing on standard output, no panic, and these words.
fn assert_error(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    for word in words {
        assert!(
            ended.stderr.contains(word),
            "no `{word}` in: {}",
            ended.stderr
        );
    }
}

#[test]
fn wrong_usage_is_an_error_and_not_a_violation() {
    let policy = example("restricted.yaml");
    assert_error(&run(&[]), &["--psp <FILE>"]);
    assert_error(&run(&["--psp-save", "/tmp/x"]), &["--psp <FILE>"]);
    assert_error(&run(&["--psp_save", "/tmp/x"]), &["--psp <FILE>"]);
    assert_error(&run(&["--what"]), &["--what"]);
    assert_error(&run(&["convert"]), &["<POLICY>"]);
    assert_error(
        &run(&["--psp", &policy, "--duration", "soon"]),
        &["soon", "10s"],
    );
    assert_error(
        &run(&["--psp", &policy, "--ring-size", "1000"]),
        &["power of two"],
    );
}

#[test]
fn help_tells_every_option_and_succeeds() {
    let help = run(&["--help"]);
    assert_eq!(help.code, Some(0));
    for option in [
        "--psp <FILE>",
        "--psp-save <FILE>",
        "--json",
        "--duration <TIME>",
        "--all",
        "--btf <FILE>",
        "--ring-size <KIB>",
        "--verbose",
        "convert",
        "doctor",
    ] {
        assert!(help.stdout.contains(option), "{option}");
    }
    assert_eq!(run(&["--version"]).code, Some(0));
}

#[test]
fn a_place_that_cannot_be_written_is_told_before_anything_starts() {
    let policy = example("restricted.yaml");
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none/rules.yaml");
    for place in [folder.path(), &missing, Path::new("/proc/version")] {
        let place = place.to_str().unwrap();
        let ended = run(&["--psp", &policy, "--psp-save", place, "--duration", "1s"]);
        assert_error(&ended, &["cannot write", place, "name a file"]);
        assert!(!ended.stderr.contains("watching"), "{}", ended.stderr);
    }
}

#[test]
fn a_policy_that_is_none_is_told_with_its_place() {
    let whole = fs::read_to_string(example("restricted.yaml")).unwrap();
    for (text, words) in [
        (String::new(), &["p.yaml", "error"][..]),
        ("# nothing\n".to_owned(), &["p.yaml", "error"]),
        ("a: [".to_owned(), &["p.yaml:1:"]),
        (
            "kind: Pod\napiVersion: v1\n".to_owned(),
            &["p.yaml:1:7: error", "Pod", "PodSecurityPolicy"],
        ),
        (
            whole.replace("hostPID", "hostPid"),
            &["p.yaml:", "hostPid", "did you mean \"hostPID\"?"],
        ),
        (
            whole.replace("privileged: false", "privileged: [1]"),
            &["p.yaml:", "privileged"],
        ),
        (format!("{whole}---\n{whole}"), &["p.yaml:"]),
        ("x".repeat(10 << 20), &["p.yaml"]),
        ("[".repeat(100_000), &["p.yaml"]),
    ] {
        let (_folder, path) = file(text);
        for arguments in [&["convert", &path][..], &["--psp", &path]] {
            assert_error(&run(arguments), words);
        }
    }
    let (_folder, garbage) = file((0..=255).cycle().take(100_000).collect::<Vec<u8>>());
    assert_error(&run(&["convert", &garbage]), &["p.yaml"]);
    assert_error(
        &run(&["convert", "/nonexistent.yaml"]),
        &["/nonexistent.yaml", "No such file"],
    );
    assert_error(&run(&["convert", "/"]), &["directory"]);
}

#[test]
fn all_errors_of_a_policy_are_told_at_once() {
    let whole = fs::read_to_string(example("restricted.yaml")).unwrap();
    let broken = whole
        .replace("hostPID", "hostPid")
        .replace("hostIPC", "hostIpc");
    let (_folder, path) = file(broken);
    let ended = run(&["convert", &path]);
    assert_error(&ended, &["hostPID", "hostIPC"]);
    assert!(ended.stderr.lines().count() >= 2, "{}", ended.stderr);
}

#[test]
fn converted_rules_load_and_stand_alone_on_standard_output() {
    for name in ["permissive.yaml", "restricted.yaml"] {
        let ended = run(&["convert", &example(name)]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{name}");
        let loaded = falco_psp::rules::load(&name.into(), &ended.stdout);
        assert!(loaded.is_ok(), "{name}: {loaded:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut convert = Command::new(env!("CARGO_BIN_EXE_falco-psp"))
        .args(["convert", &example("restricted.yaml")])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(convert.stdout.take());
    let mut said = String::new();
    convert
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(convert.wait().unwrap().success(), "{said}");
    assert_eq!(said, "");
}

/// As behind `2>&1 | head`: what is said besides is lost, and the verdict is not.
#[test]
fn nobody_at_standard_error_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_falco-psp"));
    let (policy, workloads) = (example("restricted.yaml"), example("workloads.yaml"));
    command.args(["check", "--psp", &policy, &workloads]);
    let status = command
        .stdout(Stdio::null())
        .stderr(writer)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(2));
}

#[test]
fn the_doctor_names_every_hook() {
    let ended = run(&["doctor"]);
    assert!(matches!(ended.code, Some(0 | 1)));
    for word in [
        "kernel object",
        "rights",
        "kernel types",
        "sched_process_exec",
        "sys_exit",
        "tp_btf cap_capable",
        "fexit cap_capable",
        "container runtime",
        "hostPorts",
        "seccomp",
        "AppArmor",
        "SELinux",
        "procMount",
        "sysctls",
        "CSI drivers",
    ] {
        assert!(
            ended.stdout.contains(word),
            "no `{word}` in: {}",
            ended.stdout
        );
    }
    assert_eq!(ended.code == Some(1), ended.stdout.contains("MISSING"));
}

/// The program as somebody without rights: as oneself, or as nobody where these tests run as root.
fn as_nobody(arguments: &[&str]) -> (tempfile::TempDir, Command) {
    let folder = tempfile::tempdir().unwrap();
    let program: PathBuf = folder.path().join("falco-psp");
    fs::copy(env!("CARGO_BIN_EXE_falco-psp"), &program).unwrap();
    for path in [folder.path(), &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new(&program);
    command.args(arguments).current_dir(folder.path());
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    (folder, command)
}

/// The example where anybody can read it.
fn open_example(name: &str) -> (tempfile::TempDir, String) {
    let (folder, path) = file(fs::read(example(name)).unwrap());
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    (folder, path)
}

#[test]
fn without_rights_it_converts_and_says_what_watching_needs() {
    let (_example, policy) = open_example("restricted.yaml");
    let (_program, mut convert) = as_nobody(&["convert", &policy]);
    let converted = ended(&mut convert);
    assert_eq!(converted.code, Some(0), "{}", converted.stderr);
    assert!(
        converted
            .stdout
            .contains("- rule: PSP restricted Violation (privileged)")
    );

    let (_program, mut watch) = as_nobody(&["--psp", &policy, "--duration", "1s"]);
    assert_error(&ended(&mut watch), &["needs root", "CAP_BPF", "sudo"]);

    let (_program, mut doctor) = as_nobody(&["doctor"]);
    let doctor = ended(&mut doctor);
    assert_eq!(doctor.code, Some(1));
    assert!(
        doctor.stdout.contains("MISSING  rights"),
        "{}",
        doctor.stdout
    );
    assert!(
        doctor.stdout.contains("sched_process_exec"),
        "{}",
        doctor.stdout
    );
}

#[test]
fn warnings_go_to_standard_error_and_do_not_stop_it() {
    let whole = fs::read_to_string(example("restricted.yaml")).unwrap();
    let (_folder, path) = file(whole.replace("name: restricted", "name: Not a DNS name"));
    let ended = run(&["convert", &path]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("p.yaml:") && ended.stderr.contains("warning"));
    assert!(
        ended
            .stdout
            .contains("PSP Not a DNS name Violation (privileged)")
    );
}

#[test]
fn check_tells_what_admission_would_say_of_manifests() {
    let (policy, workloads) = (example("restricted.yaml"), example("workloads.yaml"));
    let ended = run(&["check", "--psp", &policy, &workloads]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    for line in [
        "denied   shop/Deployment/web (",
        "         hostNetwork, hostPorts, volumes\n",
        "workloads.yaml:25)\n         seccomp, apparmor\n",
        "2 workloads: 1 denied",
    ] {
        assert!(
            ended.stderr.contains(line),
            "no `{line}` in: {}",
            ended.stderr
        );
    }
    assert!(
        ended
            .stdout
            .contains("PSP restricted Violation (hostPorts)")
    );

    let ended = run(&["check", "--json", "--psp", &policy, &workloads]);
    for line in ended.stdout.lines() {
        let alert: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(alert["source"], "k8s_audit");
    }
    let ended = run(&["check", "--format", "json", "--psp", &policy, &workloads]);
    let document: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((ended.code, &document["version"]), (Some(2), &1.into()));
    assert_eq!(document["summary"]["denied"], 1);
    assert_eq!(
        document["workloads"][0]["findings"][0]["control"],
        "hostNetwork"
    );
    assert_eq!(document["workloads"][0]["line"], 3);
    let allowed = run(&["check", "--psp", &example("permissive.yaml"), &workloads]);
    assert_eq!((allowed.code, allowed.stdout.as_str()), (Some(0), ""));

    let (_folder, broken) = file("kind: Pod\nspec: [\n");
    assert_error(
        &run(&["check", "--psp", &policy, &broken]),
        &["p.yaml:", "error"],
    );
    assert_error(
        &run(&["check", "--psp", &policy, "/nonexistent"]),
        &["/nonexistent", "No such file"],
    );
    assert_error(&run(&["check", "--psp", &policy]), &["<FILE>"]);
}

#[test]
fn of_several_policies_what_each_lacks_is_told() {
    let (policy, workloads) = (example("restricted.yaml"), example("workloads.yaml"));
    let text = fs::read_to_string(&policy).unwrap();
    let (_folder, other) = file(text.replace("name: restricted", "name: other"));
    let ended = run(&["check", "--psp", &policy, "--psp", &other, &workloads]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    for name in ["restricted", "other"] {
        let alert = format!("PSP {name} Violation (hostPorts)");
        assert!(ended.stdout.contains(&alert), "{}", ended.stdout);
        let line = format!("         {name}: hostNetwork, hostPorts, volumes\n");
        assert!(ended.stderr.contains(&line), "{}", ended.stderr);
    }
    // Admitted with changes by either: the first by name makes them.
    assert!(!ended.stdout.contains("PSP restricted Mutation"));
    assert!(ended.stdout.contains("PSP other Mutation (seccomp)"));
    assert_error(
        &run(&["check", "--psp", &policy, "--psp", &policy, &workloads]),
        &["there is a policy restricted already"],
    );
}

#[test]
fn rules_for_falco_are_printed_and_saved_alike() {
    let policy = example("restricted.yaml");
    let printed = run(&["convert", "--format", "falco", &policy]);
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    assert!(printed.stderr.contains("left out: what pods do"));
    assert!(!printed.stdout.contains("ka.pod."));
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("rules.yaml");
    let place = place.to_str().unwrap();
    let (_log, log) = file("");
    let ended = run(&[
        "--psp",
        &policy,
        "--psp-save",
        place,
        "--psp-save-format",
        "falco",
        "--audit-log",
        &log,
    ]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(fs::read_to_string(place).unwrap(), printed.stdout);
}

#[test]
fn rules_files_are_validated_with_lines_and_carets() {
    let (_folder, bad) = file(
        "- rule: r\n  desc: d\n  condition: proc.pid > x\n  output: \"%proc.nme\"\n  priority: WARNING\n  outpt: 1\n",
    );
    let ended = run(&["validate", &bad]);
    assert_eq!(ended.code, Some(1));
    for lines in [
        "p.yaml:3:25: error: expected a number after >, found \"x\"\n  |   condition: proc.pid > x\n  |                         ^\n",
        "p.yaml:4:12: error: unknown field \"proc.nme\"; did you mean \"proc.name\"?\n",
        "p.yaml:6:3: warning: unknown key \"outpt\", ignored; did you mean \"output\"?\n",
        "p.yaml: 2 errors, 1 warning\n",
    ] {
        assert!(ended.stdout.contains(lines), "{}", ended.stdout);
    }
    let json = run(&["validate", "--json", &bad]);
    assert_eq!(json.code, Some(1));
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["successful"], false);
    assert_eq!(
        json["results"][0]["errors"][1]["help"],
        "did you mean \"proc.name\"?"
    );
    // What we write ourselves is right, also when it is read as a folder.
    let folder = tempfile::tempdir().unwrap();
    for (name, format) in [("a.yaml", "falco-psp"), ("b.yml", "falco")] {
        let rules = run(&["convert", "--format", format, &example("restricted.yaml")]);
        fs::write(folder.path().join(name), rules.stdout).unwrap();
    }
    let folder = folder.path().to_str().unwrap();
    let ended = run(&["validate", folder]);
    // The second file's rules take the place of those of the same names.
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    let golden = include_str!("golden/restricted.rules.yaml");
    let count = golden.matches("- rule:").count();
    assert!(
        ended
            .stdout
            .ends_with(&format!("{count} rules can be loaded\n")),
        "{}",
        ended.stdout
    );
    let missing = run(&["validate", "/nowhere.yaml"]);
    assert_error(&missing, &["cannot read /nowhere.yaml: No such file"]);
    let empty = tempfile::tempdir().unwrap();
    let empty = run(&["validate", empty.path().to_str().unwrap()]);
    assert_error(&empty, &["has no files *.yaml or *.yml"]);
}

#[test]
fn fields_are_listed_as_in_the_documentation() {
    let listed = run(&["fields", "--markdown"]);
    assert_eq!(listed.code, Some(0));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/fields.md");
    let documented = fs::read_to_string(path).unwrap();
    assert!(
        documented.ends_with(&listed.stdout),
        "docs/fields.md is not what `falco-psp fields --markdown` prints"
    );
    let some = run(&["fields", "--source", "syscall", "proc"]);
    assert!(
        some.stdout
            .contains("proc.name (text; syscall; Falco)\n    ")
    );
    assert!(!some.stdout.contains("ka."));
    assert_error(
        &run(&["fields", "proc.nme"]),
        &["there is no field \"proc.nme\"; did you mean \"proc.name\"?"],
    );
}

#[test]
fn a_check_of_nothing_is_an_error() {
    let policy = example("restricted.yaml");
    let (_folder, empty) = file("# nothing\n---\n");
    let ended = run(&["check", "--psp", &policy, &empty]);
    assert_error(
        &ended,
        &["p.yaml: error: no manifest in it: nothing was judged"],
    );
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    // Nor is there a report of nothing.
    for form in [&["--report", "text"][..], &["--format", "json"]] {
        let arguments = [&["check", "--psp", &policy, &empty][..], form].concat();
        assert_error(&run(&arguments), &["no manifest in it"]);
    }
    // Objects without pods are something.
    let (_folder, service) = file("kind: Service\n");
    let ended = run(&["check", "--psp", &policy, &service]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn a_file_without_an_end_is_not_read_for_ever() {
    let policy = example("restricted.yaml");
    for arguments in [
        &["convert", "/dev/zero"][..],
        &["check", "--psp", &policy, "/dev/zero"],
        &["--psp", &policy, "--rules", "/dev/full"],
        &["--config", "/dev/zero"],
        &["explain", "--psp", &policy, "--event", "/dev/zero"],
        &["report", "merge", "/dev/zero"],
    ] {
        let ended = run(arguments);
        assert_error(&ended, &["/dev/", "more than 256 MiB", "split it"]);
    }
}

#[test]
fn completions_and_the_manual_page_know_every_command_and_option() {
    for arguments in [
        &["completions", "bash"][..],
        &["completions", "fish"],
        &["man"],
    ] {
        let ended = run(arguments);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let text = ended.stdout.replace('\\', "");
        for word in ["audit-listen", "psp-save", "listen", "compare", "doctor"] {
            assert!(text.contains(word), "no {word} by {arguments:?}");
        }
    }
    assert_error(&run(&["completions", "sh"]), &["bash", "zsh"]);
    let page = run(&["man", "check"]).stdout.replace('\\', "");
    assert!(page.contains("falco-psp-check") && page.contains("exempt-namespace"));
    assert_error(&run(&["man", "nope"]), &["no command nope"]);
}
