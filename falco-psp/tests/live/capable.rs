//! Which capabilities a workload uses and which it is refused, as the kernel is asked for them.

use std::{collections::BTreeSet, fs, path::Path, process::Command, thread, time::Duration};

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    agent::{Agent, Alert, Ended, RESTRICTED, controls},
    bundle::{Bundle, Id},
    container::Container,
    ledger::Line,
    needs,
    workload::{WORKLOAD, workload},
};

/// Whatever else a container uses has come after this time.
const CALM: Duration = Duration::from_millis(500);

/// The capabilities that the kernel was asked for, with the calls that did.
fn used(alerts: &[Alert], container: &Container) -> BTreeSet<(String, String)> {
    let of_calls = alerts.iter().filter(|alert| {
        alert.is_about(container.id()) && alert.rule().ends_with("System Activity Call")
    });
    of_calls
        .map(|alert| {
            let call = alert.field("evt.arg.call").unwrap_or_default();
            pair(&alert.list("evt.caps").join(","), call)
        })
        .collect()
}

fn names(used: &BTreeSet<(String, String)>) -> BTreeSet<&str> {
    used.iter().map(|(capability, _)| &**capability).collect()
}

fn pair(capability: &str, call: &str) -> (String, String) {
    (capability.to_owned(), call.to_owned())
}

/// Runs a container until it has used a capability, if one is named.
fn run(bundle: Bundle, until: Option<&str>) -> Result<(Container, Ended)> {
    run_without(&[], bundle, until)
}

/// The same without these hooks.
fn run_without(hooks: &[&str], bundle: Bundle, until: Option<&str>) -> Result<(Container, Ended)> {
    let mut options = vec!["--cri", "none"];
    options.extend(hooks.iter().flat_map(|hook| ["--without-hook", hook]));
    let agent = Agent::start(RESTRICTED, &options)?;
    let container = Container::start(bundle)?;
    if let Some(name) = until {
        let told = |alerts: &[Alert]| names(&used(alerts, &container)).contains(name);
        assert!(
            agent.wait_for(told),
            "{}{}",
            container.output(),
            agent.said()
        );
    }
    thread::sleep(CALM);
    Ok((container, agent.stop()?))
}

#[test]
fn a_server_that_drops_its_rights_uses_four_capabilities() -> Result<()> {
    if !needs::containers() || !needs::capability_use() {
        return Ok(());
    }
    let bundle = Bundle::new()?
        .program(workload()?, WORKLOAD, 0o755)?
        .args(&[WORKLOAD, "serve"]);
    let (container, ended) = run(bundle, Some("SETUID"))?;
    let used = used(&ended.alerts, &container);
    let expected = ["CHOWN", "NET_BIND_SERVICE", "SETGID", "SETUID"];
    assert_eq!(names(&used), BTreeSet::from(expected), "{used:?}");
    for (capability, call) in [("NET_BIND_SERVICE", "bind"), ("SETGID", "setgroups")] {
        assert!(used.contains(&pair(capability, call)), "{used:?}");
    }
    let controls = controls(&ended.alerts, container.id());
    for control in ["runAsUser", "readOnlyRootFilesystem", "capabilities"] {
        assert!(controls.contains(control), "{controls:?}");
    }
    let about = ended
        .alerts
        .iter()
        .filter(|alert| alert.is_about(container.id()));
    let written: BTreeSet<&str> = about
        .filter_map(|alert| alert.field("evt.arg.path"))
        .collect();
    let cache = [
        "/var",
        "/var/cache",
        "/var/cache/nginx",
        "/var/cache/nginx/client_temp",
    ];
    let expected = cache.into_iter().chain(["/run", "/run/nginx.pid"]);
    assert_eq!(written, expected.collect());
    Ok(())
}

#[test]
fn each_hook_that_the_kernel_has_tells_the_same() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let hooks = needs::capability_hooks();
    let mut left_out = Vec::new();
    for hook in &hooks {
        let bundle = Bundle::new()?
            .program(workload()?, WORKLOAD, 0o755)?
            .args(&[WORKLOAD, "serve"]);
        let (container, ended) = run_without(&left_out, bundle, Some("SETUID"))?;
        let header = ended.messages.lines().next().unwrap_or_default();
        let hooks = header
            .split(", ")
            .find_map(|part| part.strip_prefix("hooks "));
        let mut hooks = hooks.into_iter().flat_map(|hooks| hooks.split(' '));
        assert!(hooks.any(|name| name == hook), "{hook}: {header}");
        let used = used(&ended.alerts, &container);
        let expected = ["CHOWN", "NET_BIND_SERVICE", "SETGID", "SETUID"];
        assert_eq!(names(&used), BTreeSet::from(expected), "{hook}: {used:?}");
        let line = Line::find(&ended.messages, "capability")?;
        assert_eq!(line.accounted(), line.seen, "{hook}: {line:?}");
        left_out.push(hook.as_str());
    }
    // Without any it is told that nothing tells.
    for hook in ["cap_capable", "fexit/cap_capable", "kprobe/cap_capable"] {
        if !left_out.contains(&hook) {
            left_out.push(hook);
        }
    }
    let bundle = Bundle::new()?.program(workload()?, WORKLOAD, 0o755)?;
    let (container, ended) = run_without(&left_out, bundle.args(&[WORKLOAD, "serve"]), None)?;
    assert_eq!(used(&ended.alerts, &container), BTreeSet::new());
    let told = "kprobe cap_capable (left out by --without-hook)";
    assert!(ended.messages.contains(told), "{}", ended.messages);
    Ok(())
}

#[test]
fn what_the_kernel_asks_for_by_itself_is_no_use() -> Result<()> {
    if !needs::containers() || !needs::capability_use() {
        return Ok(());
    }
    // With all capabilities: memory, programs, files and processes need none of them.
    let command = "i=0; while [ $i -lt 20 ]; do /bin/busybox true; i=$((i+1)); done; \
                   echo x > /x; mkdir /d; mv /x /d/; ls -l /proc/self /; \
                   dd if=/dev/zero of=/z bs=1M count=2; rm -r /d /z; sleep 3600";
    let bundle = Bundle::new()?
        .privileged()?
        .args(&["/bin/sh", "-c", command]);
    let (container, ended) = run(bundle, None)?;
    assert_eq!(used(&ended.alerts, &container), BTreeSet::new());
    Ok(())
}

#[test]
fn the_runtimes_use_does_not_hide_the_workloads() -> Result<()> {
    if !needs::containers() || !needs::capability_use() {
        return Ok(());
    }
    // runc has called setuid in the container before.
    let bundle = Bundle::new()?.program(workload()?, WORKLOAD, 0o755)?;
    let agent = Agent::start(RESTRICTED, &["--cri", "none"])?;
    let container = Container::start(bundle)?;
    let output = container.exec(&[WORKLOAD, "setuid", "1000"])?;
    assert!(output.status.success(), "{output:?}");
    thread::sleep(CALM);
    let ended = agent.stop()?;
    let expected = BTreeSet::from([pair("SETUID", "setuid")]);
    assert_eq!(used(&ended.alerts, &container), expected);
    Ok(())
}

/// What a report says of the checks of a capability by a pod.
fn checks<'a>(report: &'a Value, pod: &str, capability: &str) -> &'a Value {
    let mut workloads = report["workloads"].as_array().into_iter().flatten();
    let workload = workloads.find(|workload| workload["name"] == pod);
    let needs = &workload.unwrap_or(&Value::Null)["needs"];
    &needs["observed"]["main"]["capability_checks"][capability]
}

fn read(path: &Path) -> Result<Value> {
    Ok(serde_json::from_str(&fs::read_to_string(path)?)?)
}

#[test]
fn what_a_container_is_refused_is_told_and_is_no_violation() -> Result<()> {
    if !needs::containers() || !needs::capability_use() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let request = format!("json:{}", path("live.json"));
    let agent = Agent::record(
        &path("recording"),
        RESTRICTED,
        &["--cri", "none", "--report", &request],
    )?;
    let start = |pod: &str, capabilities: &[&str]| {
        let bundle = Bundle::new()?.program(workload()?, WORKLOAD, 0o755)?;
        Container::start(bundle.capabilities(capabilities).pod("default", pod))
    };
    let refused = start("refused", &["CAP_NET_BIND_SERVICE"])?;
    let granted = start("granted", &["CAP_NET_BIND_SERVICE", "CAP_NET_RAW"])?;
    for container in [&refused, &granted] {
        for times in ["2", "1"] {
            let output = container.exec(&[WORKLOAD, "raw-socket", times])?;
            assert!(output.status.success(), "{output:?}");
        }
    }
    thread::sleep(CALM);
    let ended = agent.stop()?;
    assert_eq!(used(&ended.alerts, &refused), BTreeSet::new());
    let of_socket = pair("NET_RAW", "socket");
    assert_eq!(used(&ended.alerts, &granted), BTreeSet::from([of_socket]));

    let live = read(&folder.path().join("live.json"))?;
    for (pod, denied) in [("refused", true), ("granted", false)] {
        let checks = checks(&live, pod, "NET_RAW");
        let outcomes = match denied {
            true => json!({ "granted": 0, "denied": 3 }),
            false => json!({ "granted": 3, "denied": 0 }),
        };
        assert_eq!(checks["calls"], json!({ "socket": outcomes }), "{live:#}");
        for key in ["granted", "denied"] {
            assert_eq!(checks[key], outcomes[key], "{checks:#}");
        }
        let (first, last) = (&checks["first"], &checks["last"]);
        assert_eq!(first["process"], "workload", "{checks:#}");
        let command = format!("{WORKLOAD} raw-socket 2");
        assert_eq!(first["command"], *command, "{checks:#}");
        // The second run of the program came last.
        assert_ne!(first["pid"], last["pid"], "{checks:#}");
        assert!(first["time"].as_str() < last["time"].as_str(), "{checks:#}");
        for check in [first, last] {
            assert_eq!(check["call"], "socket", "{checks:#}");
            assert_eq!(check["denied"], denied, "{checks:#}");
        }
    }
    // The recording tells the same.
    let request = format!("json:{}", path("later.json"));
    let recording = path("recording");
    let arguments = ["--replay", &recording, "--psp", RESTRICTED, "--report"];
    let mut replay = Command::new(env!("CARGO_BIN_EXE_falco-psp"));
    let output = replay.args(arguments).arg(request).output()?;
    let later = read(&folder.path().join("later.json"))?;
    assert_eq!(later["workloads"], live["workloads"], "{output:?}");
    Ok(())
}

/// The numbers of namespaces are given again, mostly at once.
#[test]
fn a_container_is_not_taken_for_the_one_before() -> Result<()> {
    if !needs::containers() || !needs::capability_use() {
        return Ok(());
    }
    let agent = Agent::start(RESTRICTED, &["--cri", "none"])?;
    let mut ids = Vec::new();
    for _ in 0..4 {
        let bundle = Bundle::new()?.program(workload()?, WORKLOAD, 0o755)?;
        let container = Container::start(bundle)?;
        let output = container.exec(&[WORKLOAD, "setuid", "1000"])?;
        assert!(output.status.success(), "{output:?}");
        ids.push(container.id().clone());
    }
    thread::sleep(CALM);
    let ended = agent.stop()?;
    let uses = ended.alerts.iter().filter(|alert| {
        alert.field("evt.arg.call") == Some("setuid") && alert.list("evt.caps") == ["SETUID"]
    });
    let users: BTreeSet<&str> = uses
        .filter_map(|alert| alert.field("container.id"))
        .collect();
    assert_eq!(users, ids.iter().map(Id::short).collect());
    Ok(())
}
