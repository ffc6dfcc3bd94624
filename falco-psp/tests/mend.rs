//! `falco-psp mend`: the user's own files, changed so that nothing breaks.

#![expect(clippy::expect_used, reason = "a test says best where it failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_falco-psp"));
    let command = command.current_dir(folder).args(arguments);
    command.output().expect("falco-psp starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

/// A folder with the example's policy and workloads.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["restricted.yaml", "workloads.yaml"] {
        let from: PathBuf = [ROOT, "examples", name].iter().collect();
        fs::copy(from, folder.path().join(name)).expect("a copy");
    }
    folder
}

#[test]
fn a_policy_is_changed_where_it_refuses_and_nowhere_else() {
    let folder = folder();
    let mend = [
        "mend",
        "--policy",
        "--psp",
        "restricted.yaml",
        "workloads.yaml",
    ];
    let output = run(folder.path(), &mend);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(text(&output.stderr), "");
    let changed = text(&output.stdout).lines().filter(|line| {
        let is_header = line.starts_with("---") || line.starts_with("+++");
        !is_header && line.starts_with(['+', '-'])
    });
    assert_eq!(
        changed.collect::<Vec<_>>(),
        [
            "-  hostNetwork: false",
            "+  - hostPath",
            "+  hostNetwork: true",
            "+  hostPorts: [{min: 80, max: 80}]",
        ]
    );
    // Nothing was written; with --write it is, and then nothing is broken.
    let check = ["check", "--psp", "restricted.yaml", "workloads.yaml"];
    assert_eq!(run(folder.path(), &check).status.code(), Some(2));
    let write = [&mend[..], &["--write"]].concat();
    assert_eq!(run(folder.path(), &write).status.code(), Some(0));
    assert_eq!(run(folder.path(), &check).status.code(), Some(0));
    let again = run(folder.path(), &mend);
    assert_eq!(again.status.code(), Some(0));
    assert_eq!(text(&again.stdout), "");
    assert_eq!(text(&again.stderr), "nothing is broken\n");
}

#[test]
fn the_diff_is_one_that_patch_takes() {
    let folder = folder();
    let mend = [
        "mend",
        "--policy",
        "--psp",
        "restricted.yaml",
        "workloads.yaml",
    ];
    let diff = run(folder.path(), &mend).stdout;
    fs::write(folder.path().join("d.diff"), diff).unwrap();
    let mut git = Command::new("git");
    git.current_dir(folder.path());
    let applied = git.args(["apply", "-p0", "d.diff"]).output().unwrap();
    assert!(applied.status.success(), "{applied:?}");
    let check = ["check", "--psp", "restricted.yaml", "workloads.yaml"];
    assert_eq!(run(folder.path(), &check).status.code(), Some(0));
}

#[test]
fn without_a_recording_no_specification_is_guessed_at() {
    let folder = folder();
    let output = run(
        folder.path(),
        &["mend", "--psp", "restricted.yaml", "workloads.yaml"],
    );
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(text(&output.stdout), "");
    let line = "not mended: shop/Deployment/web: volumes: what its pods do was not recorded, so that \
                nobody knows what it needs; the policy would admit it with spec.volumes: + hostPath\n";
    assert!(text(&output.stderr).contains(line), "{output:?}");
}

/// Every clause that a policy can lack for a pod, with all that it asks for.
#[test]
fn whatever_a_pod_asks_for_a_policy_can_be_made_to_allow() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let policy = "\
apiVersion: policy/v1beta1
kind: PodSecurityPolicy
metadata:
  name: strict # the name
spec:
  allowPrivilegeEscalation: false
  allowedHostPaths: [{pathPrefix: /none}]
  allowedFlexVolumes: [{driver: a/b}]
  allowedCSIDrivers:
  # The one.
  - name: csi.one
  readOnlyRootFilesystem: true
  volumes: [emptyDir]
  runtimeClass:
    allowedRuntimeClassNames: []
  runAsUser: {rule: MustRunAs, ranges: [{min: 1000, max: 1000}]}
  runAsGroup: {rule: MustRunAs, ranges: [{min: 1000, max: 1000}]}
  supplementalGroups: {rule: MustRunAs, ranges: [{min: 1000, max: 1000}]}
  fsGroup: {rule: MustRunAs, ranges: [{min: 1000, max: 1000}]}
  seLinux:
    rule: MustRunAs
    seLinuxOptions: {level: s0}
";
    let pod = "\
kind: Pod
metadata:
  name: greedy
  annotations:
    seccomp.security.alpha.kubernetes.io/pod: localhost/own
spec:
  hostPID: true
  hostIPC: true
  hostNetwork: true
  runtimeClassName: sandboxed
  securityContext:
    runAsUser: 5
    runAsGroup: 6
    fsGroup: 7
    supplementalGroups: [8, 9, 20]
    seLinuxOptions: {level: s1}
    sysctls: [{name: net.core.somaxconn, value: '1'}]
  containers:
  - name: c
    ports: [{containerPort: 80, hostPort: 80}, {containerPort: 81, hostPort: 8081}]
    securityContext:
      privileged: true
      allowPrivilegeEscalation: true
      readOnlyRootFilesystem: false
      procMount: Unmasked
      capabilities: {add: [NET_ADMIN, SYS_TIME]}
    volumeMounts: [{name: h, mountPath: /h}]
  volumes:
  - {name: h, hostPath: {path: /srv/data}}
  - {name: f, flexVolume: {driver: x/y}}
  - {name: s, csi: {driver: csi.two}}
";
    fs::write(path("p.yaml"), policy).unwrap();
    fs::write(path("pod.yaml"), pod).unwrap();
    let check = ["check", "--psp", "p.yaml", "pod.yaml", "--format", "json"];
    let before = run(folder.path(), &check);
    assert_eq!(before.status.code(), Some(2), "{before:?}");
    let mend = ["mend", "--policy", "--write", "--psp", "p.yaml", "pod.yaml"];
    let output = run(folder.path(), &mend);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let after = run(folder.path(), &check);
    assert_eq!(after.status.code(), Some(0), "{after:?}");
    let changed = fs::read_to_string(path("p.yaml")).unwrap();
    for kept in [
        "name: strict # the name",
        "  # The one.",
        "{pathPrefix: /none}",
    ] {
        assert!(changed.contains(kept), "{changed}");
    }
    for new in [
        "- {name: csi.two}",
        "{min: 8, max: 9}, {min: 20, max: 20}",
        "allowedCapabilities: [NET_ADMIN, SYS_TIME]",
    ] {
        assert!(changed.contains(new), "{changed}");
    }
}

/// A link stays one, and so do the rights; nothing else is left in the folder.
#[test]
fn a_file_is_changed_as_a_whole() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::rename(at("restricted.yaml"), at("real.yaml")).unwrap();
    fs::set_permissions(at("real.yaml"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("real.yaml", at("restricted.yaml")).unwrap();
    let mend = [
        "mend",
        "--policy",
        "--write",
        "--psp",
        "restricted.yaml",
        "workloads.yaml",
    ];
    let output = run(folder.path(), &mend);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(at("restricted.yaml").is_symlink());
    let real = fs::read_to_string(at("real.yaml")).unwrap();
    assert!(real.contains("hostNetwork: true"), "{real}");
    let mode = fs::metadata(at("real.yaml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn what_was_not_seen_is_told() {
    let folder = folder();
    let recording: PathBuf = [ROOT, "falco-psp", "tests", "recording", "v1.recording"]
        .iter()
        .collect();
    let cut = &fs::read(recording).unwrap()[..1_200];
    fs::write(folder.path().join("cut.recording"), cut).unwrap();
    let mend = [
        "mend",
        "--policy",
        "--psp",
        "restricted.yaml",
        "--replay",
        "cut.recording",
    ];
    let output = run(folder.path(), &[&mend[..], &["workloads.yaml"]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = text(&output.stderr);
    assert!(
        said.contains("not all was seen: THE RECORDING IS NOT WHOLE"),
        "{said}"
    );
}

#[test]
fn bad_input_says_what_to_do() {
    let folder = folder();
    fs::write(folder.path().join("bad.yaml"), "a: [").unwrap();
    let json = "{\"kind\": \"PodSecurityPolicy\", \"apiVersion\": \"policy/v1beta1\",\n\
                \"metadata\": {\"name\": \"p\"},\n\"spec\": {\"runAsUser\": {\"rule\": \"RunAsAny\"},\n\
                \"seLinux\": {\"rule\": \"RunAsAny\"}, \"fsGroup\": {\"rule\": \"RunAsAny\"},\n\
                \"supplementalGroups\": {\"rule\": \"RunAsAny\"},\n\"volumes\": [\"*\"]\n}}";
    fs::write(folder.path().join("p.json"), json).unwrap();
    for (arguments, says) in [
        (&["restricted.yaml", "-"][..], "name a file"),
        (&["restricted.yaml", "bad.yaml"], "bad.yaml:1:"),
        (
            &["restricted.yaml", "none.yaml"],
            "none.yaml: error: cannot read it",
        ),
        (&["workloads.yaml", "workloads.yaml"], "workloads.yaml:"),
        (
            &["restricted.yaml", "restricted.yaml"],
            "nothing was judged",
        ),
        (
            &["restricted.yaml", "workloads.yaml", "--replay", "none"],
            "none",
        ),
        (
            &["p.json", "workloads.yaml", "--policy"],
            "is left to people to change",
        ),
    ] {
        let output = run(folder.path(), &[&["mend", "--psp"], arguments].concat());
        assert_eq!(output.status.code(), Some(1), "{arguments:?} {output:?}");
        assert!(text(&output.stderr).contains(says), "{output:?}");
        assert_eq!(text(&output.stdout), "");
    }
    // Without anything to mend by.
    let output = run(folder.path(), &["mend", "--psp", "restricted.yaml"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
