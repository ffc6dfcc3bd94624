//! Under load, every event is accounted for: none is missing without being counted as lost.

use anyhow::Result;

use super::{
    agent::{Agent, RESTRICTED},
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
