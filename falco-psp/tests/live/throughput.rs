//! Under load, every event is accounted for: none is missing without being counted as lost.

use anyhow::Result;

use super::{
    agent::{Agent, Alert, RESTRICTED},
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
