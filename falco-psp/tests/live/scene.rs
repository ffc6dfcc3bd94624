//! Six workloads, recorded once and judged by three policies: each cell of the reports is what it has to
//! be, and what is proposed mends what breaks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::{Command, Output},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{
    agent::{Agent, RESTRICTED},
    bundle::Bundle,
    container::Container,
    needs,
    workload::{WORKLOAD, workload},
};

const PERMISSIVE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/permissive.yaml");
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/baseline.yaml");

/// What a web server needs that starts as root and drops its rights.
const SERVER: [&str; 4] = [
    "CAP_CHOWN",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETGID",
    "CAP_SETUID",
];

/// Whatever they do, they have done after this time.
const CALM: Duration = Duration::from_secs(2);

fn scene() -> Result<Vec<Bundle>> {
    let workload = workload()?;
    let with_program = |bundle: Bundle| bundle.program(workload, WORKLOAD, 0o755);
    let bundles = vec![
        // Does its work in a volume.
        Bundle::benign()?
            .kubelet_volume("kubernetes.io~empty-dir/work", &[])?
            .args(&["/bin/sh", "-c", "while :; do :; /bin/sleep 1; done"])
            .pod("default", "benign"),
        with_program(Bundle::new()?)?
            .capabilities(&SERVER)
            .no_new_privs(true)
            .args(&[WORKLOAD, "serve"])
            .pod("default", "server"),
        Bundle::new()?
            .privileged()?
            .host_namespace("pid")
            .args(&["/bin/sleep", "3600"])
            .pod("default", "agent"),
        Bundle::benign()?
            .host_path("/var/log", "/var/log", true)
            .pod("default", "shipper"),
        // A user that becomes root by a program.
        Bundle::benign()?
            .no_new_privs(false)
            .setuid_root(workload, "/bin/becomes-root")?
            .args(&[
                "/bin/sh",
                "-c",
                "/bin/becomes-root print-ids; exec /bin/sleep 3600",
            ])
            .pod("default", "setuid"),
        Bundle::benign()?.pod("default", "idle"),
    ];
    Ok(bundles)
}

fn run(arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_falco-psp"));
    command
        .args(arguments)
        .output()
        .context("cannot start falco-psp")
}

/// Records containers from their start.
fn record(file: &str, bundles: Vec<Bundle>, arguments: &[&str]) -> Result<()> {
    let arguments = [&["--cri", "none"], arguments].concat();
    let agent = Agent::record(file, RESTRICTED, &arguments)?;
    let containers = bundles.into_iter().map(Container::start);
    let _running: Vec<Container> = containers.collect::<Result<_>>()?;
    thread::sleep(CALM);
    let ended = agent.stop()?;
    ensure!(!ended.messages.contains("LOST"), "{}", ended.messages);
    Ok(())
}

fn read(path: &Path) -> Result<Value> {
    Ok(serde_json::from_str(&fs::read_to_string(path)?)?)
}

/// The report of a recording by a policy.
fn report(folder: &Path, file: &str, policy: &str) -> Result<Value> {
    let path = folder.join("report.json");
    let request = format!("json:{}", path.display());
    let output = run(&["--replay", file, "--psp", policy, "--report", &request])?;
    let code = output.status.code();
    ensure!(matches!(code, Some(0 | 2)), "{output:?}");
    read(&path)
}

type Cells = BTreeMap<String, BTreeMap<String, String>>;

/// The cells that are not fine, by pod and control.
fn cells(report: &Value) -> Cells {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let workloads = report["workloads"].as_array().into_iter().flatten();
    workloads
        .map(|workload| {
            let cells = workload["cells"].as_array().into_iter().flatten();
            let cells = cells.map(|cell| (text(&cell["control"]), text(&cell["state"])));
            let cells = cells.filter(|(_, state)| state != "fine");
            (text(&workload["name"]), cells.collect())
        })
        .collect()
}

/// Controls by state.
type States<'a> = &'a [(&'a str, &'a [&'a str])];

fn expected(of: &[(&str, States<'_>)]) -> Cells {
    let cells = |states: States<'_>| {
        let each = states.iter().flat_map(|(state, controls)| {
            let controls = controls.iter();
            controls.map(|control| ((*control).to_owned(), (*state).to_owned()))
        });
        each.collect()
    };
    of.iter()
        .map(|(pod, states)| ((*pod).to_owned(), cells(states)))
        .collect()
}

#[test]
fn six_workloads_by_three_policies() -> Result<()> {
    if !needs::containers() || !needs::capability_use() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("scene.recording").display().to_string();
    let live = folder.path().join("live.json");
    let request = format!("json:{}", live.display());
    record(&file, scene()?, &["--report", &request])?;
    // What the runtime does not tell here of any of them.
    let unknown: (&str, &[&str]) = ("unknown", &["hostPorts", "sysctls"]);
    let permissive = ["agent", "benign", "idle", "server", "setuid", "shipper"];
    let permissive = permissive.map(|pod| (pod, &[][..]));
    assert_eq!(
        cells(&report(folder.path(), &file, PERMISSIVE)?),
        expected(&permissive)
    );
    assert_eq!(
        cells(&report(folder.path(), &file, BASELINE)?),
        expected(&[
            ("agent", &[("breaks", &["hostPID", "privileged"]), unknown]),
            ("benign", &[unknown]),
            ("idle", &[unknown]),
            ("server", &[unknown]),
            ("setuid", &[unknown]),
            ("shipper", &[("breaks", &["volumes"]), unknown]),
        ])
    );
    let restricted = report(folder.path(), &file, RESTRICTED)?;
    let of_agent = ["hostPID", "privileged", "runAsUser"];
    let of_server = ["capabilities", "readOnlyRootFilesystem", "runAsUser"];
    let of_setuid = ["allowPrivilegeEscalation", "runAsUser"];
    assert_eq!(
        cells(&restricted),
        expected(&[
            ("agent", &[("breaks", &of_agent), unknown]),
            ("benign", &[unknown]),
            ("idle", &[unknown]),
            ("server", &[("breaks", &of_server), unknown]),
            ("setuid", &[("breaks", &of_setuid), unknown]),
            ("shipper", &[("breaks", &["volumes"]), unknown]),
        ])
    );
    // The run itself came to the same, to the byte; how long it took is another matter.
    let without_time = |mut report: Value| {
        report["seen"]["window_seconds"] = Value::Null;
        report["seen"]["began"] = Value::Null;
        report.to_string()
    };
    assert_eq!(without_time(read(&live)?), without_time(restricted));
    Ok(())
}

/// The clauses that somebody uses.
fn used(report: &Value) -> BTreeMap<String, Vec<String>> {
    let texts = |value: &Value| {
        let values = value.as_array().into_iter().flatten();
        values
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let allowances = report["allowances"].as_array().into_iter().flatten();
    allowances
        .map(|allowance| {
            let clause = allowance["clause"].as_str().unwrap_or_default();
            (clause.to_owned(), texts(&allowance["used_by"]))
        })
        .filter(|(_, users): &(String, Vec<String>)| !users.is_empty())
        .collect()
}

/// The host paths of all workloads, and whether anything was written there.
fn written(report: &Value) -> Vec<String> {
    let workloads = report["workloads"].as_array().into_iter().flatten();
    let uses = workloads.map(|workload| &workload["needs"]["observed"]["main"]);
    let paths = uses.flat_map(|uses| {
        let written = uses["written_host_paths"].as_array();
        let is_written = move |path: &str| written.is_some_and(|all| all.iter().any(|p| p == path));
        let paths = uses["host_paths"].as_object().into_iter().flatten();
        paths.map(move |(path, _)| format!("{path}: {}", is_written(path)))
    });
    paths.collect()
}

#[test]
fn whether_a_path_of_the_host_is_written_to_is_told() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let shared = tempfile::tempdir()?;
    let (read, write) = (shared.path().join("read"), shared.path().join("write"));
    fs::create_dir(&read)?;
    fs::create_dir(&write)?;
    let shown = |path: &Path| path.display().to_string();
    let bundle = Bundle::new()?
        .host_path(&shown(&read), "/in", false)
        .host_path(&shown(&write), "/out", false)
        .args(&[
            "/bin/sh",
            "-c",
            "ls /in; cat /in/x; echo x > /out/x; exec sleep 3600",
        ]);
    let file = folder.path().join("r.recording").display().to_string();
    record(&file, vec![bundle], &[])?;
    let report = report(folder.path(), &file, PERMISSIVE)?;
    let expected = [
        format!("{}: false", read.display()),
        format!("{}: true", write.display()),
    ];
    assert_eq!(written(&report), expected, "{report}");
    Ok(())
}

#[test]
fn what_nobody_uses_of_a_policy_is_told() -> Result<()> {
    if !needs::containers() || !needs::capability_use() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("scene.recording").display().to_string();
    record(&file, scene()?, &[])?;
    let used = used(&report(folder.path(), &file, PERMISSIVE)?);
    let users = |clause: &str| used.get(clause).cloned().unwrap_or_default();
    assert_eq!(users("privileged: true"), ["default/Pod/agent"]);
    assert_eq!(users("hostPID: true"), ["default/Pod/agent"]);
    let escalation = users("allowPrivilegeEscalation: true");
    assert_eq!(escalation, ["default/Pod/setuid"]);
    let of_root = [
        "default/Pod/agent",
        "default/Pod/server",
        "default/Pod/setuid",
    ];
    assert_eq!(users("runAsUser: RunAsAny"), of_root);
    let writes = users("readOnlyRootFilesystem: false");
    assert_eq!(writes, ["default/Pod/server"]);
    // That a path of the host could be written to is no use of it.
    assert_eq!(
        written(&report(folder.path(), &file, PERMISSIVE)?),
        ["/var/log: false"]
    );
    for unused in [
        "hostIPC: true",
        "hostNetwork: true",
        "allowedCapabilities: *",
    ] {
        assert_eq!(users(unused), [""; 0], "{unused}");
    }
    Ok(())
}

const MANIFESTS: &str = "\
# The workloads of the scene.
kind: Pod
metadata: {name: server, namespace: default}
spec:
  containers:
  - name: main # the only one
    image: busybox
    securityContext:
      # As root.
      capabilities:
        drop: [ALL]
        add: [CHOWN, NET_BIND_SERVICE, SETGID, SETUID, KILL]
---
kind: Pod
metadata: {name: shipper, namespace: default}
spec:
  securityContext: {runAsUser: 1000}
  containers:
  - name: main
    image: busybox
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true}
    volumeMounts:
    - {name: logs, mountPath: /var/log, readOnly: true}
  volumes:
  - name: logs
    hostPath: {path: /var/log}
";

/// Writes the manifests and a policy of its own into a folder.
fn write(folder: &Path, policy: &str) -> Result<(String, String)> {
    let (policy_file, manifests) = (folder.join("policy.yaml"), folder.join("pods.yaml"));
    fs::write(&policy_file, policy)?;
    fs::write(&manifests, MANIFESTS)?;
    let shown = |path: &Path| path.display().to_string();
    Ok((shown(&policy_file), shown(&manifests)))
}

/// The states that speak against a policy, of all workloads.
fn broken(report: &Value) -> Vec<(String, String)> {
    let each = cells(report).into_iter().flat_map(|(pod, cells)| {
        let broken = cells
            .into_iter()
            .filter(|(_, state)| state == "breaks" || state == "denied");
        broken.map(move |(control, _)| (pod.clone(), control))
    });
    each.collect()
}

#[test]
fn a_changed_policy_admits_what_was_broken() -> Result<()> {
    if !needs::containers() || !needs::capability_use() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("scene.recording").display().to_string();
    record(&file, scene()?, &[])?;
    let (policy, manifests) = write(folder.path(), &fs::read_to_string(RESTRICTED)?)?;
    let before = fs::read_to_string(&policy)?;
    let mend = [
        "mend", "--policy", "--write", "--psp", &policy, "--replay", &file, &manifests,
    ];
    let output = run(&mend)?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let diff = String::from_utf8_lossy(&output.stdout);
    for line in ["+  privileged: true", "-  privileged: false"] {
        assert!(diff.contains(line), "{diff}");
    }
    let after = fs::read_to_string(&policy)?;
    let comments = before.lines().filter(|line| line.trim().starts_with('#'));
    for comment in comments {
        assert!(after.contains(comment), "{after}");
    }
    assert_eq!(broken(&report(folder.path(), &file, &policy)?), []);
    let output = run(&["check", "--psp", &policy, &manifests])?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    Ok(())
}

#[test]
fn a_changed_manifest_is_admitted_and_its_container_runs() -> Result<()> {
    if !needs::containers() || !needs::capability_use() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("scene.recording").display().to_string();
    let server = || scene().map(|mut bundles| bundles.swap_remove(1));
    record(&file, vec![server()?], &[])?;
    let policy = fs::read_to_string(RESTRICTED)?
        .replace("rule: MustRunAsNonRoot", "rule: RunAsAny")
        .replace(
            "requiredDropCapabilities: [ALL]",
            "requiredDropCapabilities: [ALL]\n  \
                  allowedCapabilities: [CHOWN, NET_BIND_SERVICE, SETGID, SETUID]",
        );
    let (policy, manifests) = write(folder.path(), &policy)?;
    let mend = [
        "mend", "--write", "--psp", &policy, "--replay", &file, &manifests,
    ];
    let output = run(&mend)?;
    // The other one has no change of its specification.
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("default/Pod/shipper: volumes"), "{said}");
    assert!(!said.contains("not mended: default/Pod/server"), "{said}");
    let changed = fs::read_to_string(&manifests)?;
    for comment in [
        "# The workloads of the scene.",
        "# the only one",
        "# As root.",
    ] {
        assert!(changed.contains(comment), "{changed}");
    }
    let (pod, _) = changed.split_once("---").context("one document")?;
    let only = folder.path().join("server.yaml");
    fs::write(&only, pod)?;
    let output = run(&["check", "--psp", &policy, &only.display().to_string()])?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");

    // As changed it still does what it did, and breaks nothing any more.
    let pod: Value = serde_yaml::from_str(pod)?;
    let container = &pod["spec"]["containers"][0];
    let context = &container["securityContext"];
    assert_eq!(context["readOnlyRootFilesystem"], true, "{changed}");
    let added = context["capabilities"]["add"]
        .as_array()
        .into_iter()
        .flatten();
    let added: Vec<String> = added
        .filter_map(|name| Some(format!("CAP_{}", name.as_str()?)))
        .collect();
    assert_eq!(added, SERVER, "{changed}");
    let added: Vec<&str> = added.iter().map(String::as_str).collect();
    let mut bundle = server()?.capabilities(&added).read_only_root(true);
    let mounts = container["volumeMounts"].as_array().into_iter().flatten();
    let mut paths = BTreeSet::new();
    for (mount, number) in mounts.zip(0..) {
        let path = mount["mountPath"].as_str().context("a path")?;
        paths.insert(path.to_owned());
        bundle = bundle.empty_dir(&number.to_string(), path)?;
    }
    assert_eq!(
        paths,
        BTreeSet::from(["/run".to_owned(), "/var".to_owned()])
    );
    let again = folder.path().join("again.recording").display().to_string();
    record(&again, vec![bundle], &[])?;
    let report = report(folder.path(), &again, &policy)?;
    assert_eq!(broken(&report), [], "{report}");
    let uses = &report["workloads"][0]["needs"]["observed"]["main"];
    assert_eq!(
        uses["users"],
        serde_json::json!([0, 101]),
        "it did not come as far as before"
    );
    Ok(())
}
