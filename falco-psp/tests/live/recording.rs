//! What was recorded is judged later as it was judged at once, without root and by other policies.

use std::{
    path::Path,
    process::{Command, Output},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{
    agent::{Agent, Alert, RESTRICTED, controls},
    bundle::Bundle,
    container::Container,
    needs,
    workload::{WORKLOAD, workload},
};

fn replay(file: &str, policy: &str) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_falco-psp"));
    command.args(["--replay", file, "--psp", policy, "--json"]);
    command.output().context("cannot start falco-psp")
}

fn alerts(output: &Output) -> Result<Vec<Alert>> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(Alert::parse).collect()
}

/// What a run says after its header, less what it says of the recording.
fn summary(messages: &str) -> Vec<&str> {
    let lines = messages.lines();
    let after = lines.skip_while(|line| !line.contains(" rules (syscall; "));
    after
        .skip(1)
        .filter(|line| !line.starts_with("recorded to "))
        .collect()
}

/// A report in JSON, without when and how long was watched.
fn read_report(path: &Path) -> Result<serde_json::Value> {
    let mut report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    report["seen"]["began"] = serde_json::Value::Null;
    report["seen"]["window_seconds"] = serde_json::Value::Null;
    Ok(report)
}

fn path(folder: &Path) -> String {
    folder.join("run.recording").display().to_string()
}

#[test]
fn a_replay_tells_what_the_run_told() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let file = path(folder.path());
    let _before = Container::start(Bundle::new()?)?;
    let benign = Container::start(Bundle::benign()?)?;
    // What is read of it later is recorded, too.
    let listener = Bundle::benign()?.program(workload()?, WORKLOAD, 0o755)?;
    let listener = listener.args(&[WORKLOAD, "listen", "tcp", "0"]);
    let listener = Container::start(listener.host_namespace("network").unmasked_proc())?;
    let report = folder.path().join("report.json");
    let json = format!("json:{}", report.display());
    let agent = Agent::record(&file, RESTRICTED, &["--report", &json])?;
    let bundle = Bundle::new()?.program(workload()?, WORKLOAD, 0o755)?;
    let after = Container::start(bundle)?;
    let output = after.exec(&[WORKLOAD, "exec-loop", "50", WORKLOAD])?;
    assert!(output.status.success(), "{output:?}");
    assert!(agent.wait_for(|alerts| controls(alerts, after.id()).contains("runAsUser")));
    let gone = after.id().clone();
    drop(after);
    // Until the agent has noticed that it is gone.
    thread::sleep(Duration::from_secs(7));
    let ended = agent.stop()?;
    let of_run = read_report(&report)?;
    assert_eq!(of_run["verdict"], "breaks");
    // The evidence names the containers.
    let evidence = of_run["workloads"].to_string();
    assert!(evidence.contains(listener.id().short()), "{evidence}");
    assert!(!evidence.contains(benign.id().short()), "{evidence}");

    // The replay's own alerts go to standard output as well.
    let again = Command::new(env!("CARGO_BIN_EXE_falco-psp"))
        .args(["--replay", &file, "--psp", RESTRICTED, "--report", &json])
        .output()?;
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    assert_eq!(read_report(&report)?, of_run);

    let output = replay(&file, RESTRICTED)?;
    assert!(controls(&ended.alerts, &gone).contains("runAsUser"));
    assert_eq!(alerts(&output)?, ended.alerts);
    let messages = String::from_utf8_lossy(&output.stderr);
    assert_eq!(summary(&messages), summary(&ended.messages));
    assert_eq!(output.status.code(), Some(2));
    assert!(controls(&alerts(&output)?, benign.id()).is_empty());
    let found = controls(&alerts(&output)?, listener.id());
    let expected = ["allowedProcMountTypes", "hostNetwork", "hostPorts"];
    assert!(found.iter().eq(expected), "{found:?}");

    // A policy that nobody thought of then.
    let policy = folder.path().join("other.yaml");
    std::fs::write(
        &policy,
        "{apiVersion: policy/v1beta1, kind: PodSecurityPolicy, metadata: {name: other}, \
          spec: {privileged: true, volumes: ['*'], allowPrivilegeEscalation: true, \
          allowedCapabilities: ['*'], hostPID: true, hostIPC: true, hostNetwork: true, \
          runAsUser: {rule: MustRunAs, ranges: [{min: 0, max: 0}]}, seLinux: {rule: RunAsAny}, \
          fsGroup: {rule: RunAsAny}, supplementalGroups: {rule: RunAsAny}}}",
    )?;
    let policy = policy.display().to_string();
    let output = replay(&file, &policy)?;
    let told = alerts(&output)?;
    assert!(
        controls(&told, benign.id()).contains("runAsUser"),
        "{output:?}"
    );
    assert!(controls(&told, &gone).is_empty(), "{output:?}");
    Ok(())
}

#[test]
fn a_killed_agent_leaves_what_it_recorded() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let file = path(folder.path());
    let container = Container::start(Bundle::new()?)?;
    let agent = Agent::record(&file, RESTRICTED, &[])?;
    assert!(agent.wait_for(|alerts| controls(alerts, container.id()).contains("runAsUser")));
    // At most the last second is lost.
    thread::sleep(Duration::from_millis(2_500));
    let told = agent.kill()?;
    let output = replay(&file, RESTRICTED)?;
    assert_eq!(alerts(&output)?, told);
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(
        messages.contains("THE RECORDING IS NOT WHOLE: it has no end"),
        "{messages}"
    );
    Ok(())
}
