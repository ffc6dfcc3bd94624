//! The agent holds what it needs and no more, and that is enough for all that it does.

use std::{fs, thread, time::Duration};

use anyhow::{Context as _, Result};

use super::{
    agent::{Agent, RESTRICTED, controls},
    bundle::Bundle,
    container::Container,
    needs,
};

/// CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, CAP_PERFMON and CAP_BPF (include/uapi/linux/capability.h).
const KEPT: u64 = 1 << 2 | 1 << 19 | 1 << 38 | 1 << 39;

/// What each thread of a process may do, by the names of `/proc/PID/status`.
fn rights(pid: u32) -> Result<Vec<Vec<(String, u64)>>> {
    let mut all = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let lines = status.lines().filter_map(|line| {
            let (name, value) = line.split_once(":\t")?;
            let wanted = name.starts_with("Cap") || name == "NoNewPrivs";
            wanted.then(|| Some((name.to_owned(), u64::from_str_radix(value, 16).ok()?)))?
        });
        all.push(lines.collect());
    }
    Ok(all)
}

#[test]
fn every_thread_holds_four_capabilities_and_that_is_enough() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let policy = folder.path().join("policy.yaml");
    let text = fs::read_to_string(RESTRICTED)?;
    fs::write(&policy, &text)?;
    let agent = Agent::start(policy.to_str().context("no UTF-8")?, &[])?;
    let threads = rights(agent.pid())?;
    assert!(threads.len() > 1, "{threads:?}");
    for thread in threads {
        let expected = [
            ("CapInh", 0),
            ("CapPrm", KEPT),
            ("CapEff", KEPT),
            ("CapBnd", KEPT),
            ("CapAmb", 0),
            ("NoNewPrivs", 1),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(thread, expected);
    }
    // A new policy is loaded, with hooks of its own, and judges.
    fs::write(&policy, text.replace("name: ", "name: new-"))?;
    let is_loaded = || agent.said().contains("reloaded: policy new-");
    for _ in 0..100 {
        if is_loaded() {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    assert!(is_loaded(), "{}", agent.said());
    let container = Container::start(Bundle::new()?)?;
    assert!(agent.wait_for(|alerts| controls(alerts, container.id()).contains("runAsUser")));
    agent.stop()?;
    Ok(())
}
