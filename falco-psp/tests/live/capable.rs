//! Which capabilities a workload uses, as the kernel is asked for them.

use std::{collections::BTreeSet, thread, time::Duration};

use anyhow::Result;

use super::{
    agent::{Agent, Alert, Ended, RESTRICTED, controls},
    bundle::Bundle,
    container::Container,
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
    let agent = Agent::start(RESTRICTED, &["--cri", "none"])?;
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
