//! Under load, every event is accounted for: none is missing without being counted as lost.

use std::{fs, thread};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    agent::{Agent, Alert, RESTRICTED, within_patience},
    bundle::Bundle,
    container::Container,
    ledger::Line,
    needs,
    workload::{WORKLOAD, workload},
};

#[test]
fn twenty_thousand_execs_are_accounted_for_exactly() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    const EXECS: u64 = 20_000;
    let bundle = Bundle::benign()?.program(workload()?, WORKLOAD, 0o755)?;
    let container = Container::start(bundle)?;
    let agent = Agent::start(RESTRICTED, &[])?;
    let output = container.exec(&[WORKLOAD, "exec-loop", &EXECS.to_string(), WORKLOAD])?;
    assert!(output.status.success(), "{output:?}");
    let ended = agent.stop()?;
    let exec = Line::find(&ended.messages, "exec")?;
    assert!(exec.seen >= EXECS, "{exec:?}");
    assert_eq!(exec.accounted(), exec.seen, "{exec:?}");
    assert_eq!(ended.code, Some(0), "{}", ended.messages);
    Ok(())
}

#[test]
fn reloads_under_load_lose_nothing() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    const EXECS: u64 = 20_000;
    const RELOADS: usize = 5;
    let folder = tempfile::tempdir()?;
    let policy = folder.path().join("policy.yaml");
    fs::copy(RESTRICTED, &policy)?;
    let text = fs::read_to_string(RESTRICTED)?;
    let bundle = Bundle::benign()?.program(workload()?, WORKLOAD, 0o755)?;
    let container = Container::start(bundle)?;
    let agent = Agent::start(policy.to_str().context("no text")?, &[])?;
    let count = EXECS.to_string();
    thread::scope(|scope| -> Result<()> {
        let run = scope.spawn(|| container.exec(&[WORKLOAD, "exec-loop", &count, WORKLOAD]));
        for number in 1..=RELOADS {
            fs::write(&policy, format!("{text}# {number}\n"))?;
            agent.reload()?;
            let reloaded = || agent.said().matches("\nreloaded: ").count() == number;
            ensure!(within_patience(reloaded), "{}", agent.said());
        }
        match run.join() {
            Ok(output) => ensure!(output?.status.success()),
            Err(_) => bail!("the load panicked"),
        }
        Ok(())
    })?;
    let ended = agent.stop()?;
    let exec = Line::find(&ended.messages, "exec")?;
    // While one kernel side takes over from another, both see.
    assert!(exec.seen >= EXECS, "{exec:?}");
    assert_eq!((exec.accounted(), exec.lost), (exec.seen, 0), "{exec:?}");
    assert_eq!(ended.code, Some(0), "{}", ended.messages);
    Ok(())
}

#[test]
fn what_the_ring_cannot_take_is_told() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let bundle = Bundle::benign()?.program(workload()?, WORKLOAD, 0o755)?;
    let container = Container::start(bundle)?;
    // The smallest ring, every event, and an agent that does not get to read.
    let agent = Agent::start(RESTRICTED, &["--all", "--ring-size", "64"])?;
    agent.pause()?;
    let output = container.exec(&[WORKLOAD, "exec-loop", "1000", WORKLOAD])?;
    agent.resume()?;
    assert!(output.status.success(), "{output:?}");
    let ended = agent.stop()?;
    let exec = Line::find(&ended.messages, "exec")?;
    assert!(exec.lost > 0 && exec.sent > 0, "{exec:?}");
    assert_eq!(exec.accounted(), exec.seen, "{exec:?}");
    assert!(
        ended.messages.contains("EVENTS WERE LOST"),
        "{}",
        ended.messages
    );
    let told: u64 = ended.alerts.iter().filter_map(Alert::lost).sum();
    assert_eq!(told, exec.lost, "{:#?}", ended.alerts);
    Ok(())
}
