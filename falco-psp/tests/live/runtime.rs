//! Containers that start well and break a policy later: seen, with the process named.

use anyhow::Result;

use super::{
    agent::{Agent, Alert, Ended, RESTRICTED, controls},
    bundle::Bundle,
    container::Container,
    needs,
    workload::{WORKLOAD, workload},
};

/// Starts the agent, then does something in a container that was judged already, until an alert
/// satisfies the condition.
fn watch(
    bundle: Bundle,
    args: &[&str],
    condition: impl Fn(&Container, &Alert) -> bool,
) -> Result<(Container, Ended, bool)> {
    let bundle = bundle.program(workload()?, WORKLOAD, 0o755)?;
    let bundle = bundle.setuid_root(workload()?, "/bin/suid-root")?;
    let container = Container::start(bundle.args(&[WORKLOAD, "sleep"]))?;
    let agent = Agent::start(RESTRICTED, &[])?;
    let output = container.exec(args)?;
    assert!(output.status.success(), "{args:?}: {output:?}");
    let seen = agent.wait_for(|alerts| alerts.iter().any(|alert| condition(&container, alert)));
    let ended = agent.stop()?;
    Ok((container, ended, seen))
}

#[test]
fn root_gained_through_a_setuid_program_is_seen() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let bundle = Bundle::benign()?.no_new_privs(false);
    let args = [WORKLOAD, "exec", "/bin/suid-root", "print-ids"];
    let (_container, ended, seen) = watch(bundle, &args, |container, alert| {
        alert.is_about(container.id())
            && alert.control() == Some("runAsUser")
            && alert.field("evt.type") == Some("execve")
            && alert.field("proc.cmdline") == Some("/bin/suid-root print-ids")
    })?;
    assert!(seen, "{:#?}\n{}", ended.alerts, ended.messages);
    Ok(())
}

#[test]
fn a_setuid_program_gains_nothing_under_no_new_privs() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let args = [WORKLOAD, "exec", "/bin/suid-root", "print-ids"];
    let bundle = Bundle::benign()?.program(workload()?, WORKLOAD, 0o755)?;
    let bundle = bundle.setuid_root(workload()?, "/bin/suid-root")?;
    let container = Container::start(bundle.args(&[WORKLOAD, "sleep"]))?;
    let agent = Agent::start(RESTRICTED, &[])?;
    let output = container.exec(&args)?;
    assert!(output.status.success(), "{output:?}");
    let ended = agent.stop()?;
    let found = controls(&ended.alerts, container.id());
    assert!(found.is_empty(), "{:#?}", ended.alerts);
    Ok(())
}

#[test]
fn a_call_of_setuid_is_seen() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let bundle = Bundle::benign()?.ambient_capabilities(&["CAP_SETUID"]);
    let (_container, ended, seen) =
        watch(bundle, &[WORKLOAD, "setuid", "0"], |container, alert| {
            alert.is_about(container.id())
                && alert.control() == Some("runAsUser")
                && alert.field("evt.type") == Some("setuid")
                && alert.field("proc.cmdline") == Some("/bin/workload setuid 0")
        })?;
    assert!(seen, "{:#?}\n{}", ended.alerts, ended.messages);
    Ok(())
}

#[test]
fn a_bind_mount_at_run_time_is_seen() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let bundle = Bundle::benign()?.ambient_capabilities(&["CAP_SYS_ADMIN"]);
    let args = [WORKLOAD, "bind", "/etc", "/mnt"];
    let (_container, ended, seen) = watch(bundle, &args, |container, alert| {
        alert.is_about(container.id())
            && alert.control() == Some("capabilities")
            && alert.field("evt.type") == Some("mount")
            && alert.field("evt.arg.dir") == Some("/mnt")
            && alert.field("proc.cmdline") == Some("/bin/workload bind /etc /mnt")
    })?;
    assert!(seen, "{:#?}\n{}", ended.alerts, ended.messages);
    Ok(())
}

/// Whether an alert tells of a setuid when `args` are executed in a benign container that may do
/// so.
fn setuid_alerts(args: &[&str]) -> Result<bool> {
    let bundle = Bundle::benign()?.ambient_capabilities(&["CAP_SETUID"]);
    let (_container, ended, seen) = watch(bundle, args, |container, alert| {
        alert.is_about(container.id())
            && alert.control() == Some("runAsUser")
            && alert.field("evt.type") == Some("setuid")
    })?;
    if !seen {
        eprintln!("{:#?}\n{}", ended.alerts, ended.messages);
    }
    Ok(seen)
}

#[test]
fn a_workload_cannot_pass_for_the_runtime() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    // By its name, by forking, or by running a program that no mount holds, as runc does.
    for prefix in [
        &["fork"][..],
        &["named", "runc:[2:INIT]", "fork"],
        &["from-memory"],
        &["from-memory", "named", "runc:[2:INIT]", "fork"],
    ] {
        let args = [&[WORKLOAD], prefix, &["setuid", "0"]].concat();
        assert!(setuid_alerts(&args)?, "{args:?}");
    }
    Ok(())
}

#[test]
fn capabilities_in_a_user_namespace_of_its_own_are_no_violation() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let bundle = Bundle::benign()?.program(workload()?, WORKLOAD, 0o755)?;
    let container = Container::start(bundle.args(&[WORKLOAD, "sleep"]))?;
    let agent = Agent::start(RESTRICTED, &[])?;
    for act in [
        &["bind", "/etc", "/mnt"][..],
        &["exec", WORKLOAD, "print-ids"],
    ] {
        let args = [&[WORKLOAD, "in-user-namespace"], act].concat();
        let output = container.exec(&args)?;
        assert!(output.status.success(), "{args:?}: {output:?}");
    }
    let ended = agent.stop()?;
    let found = controls(&ended.alerts, container.id());
    assert!(found.is_empty(), "{:#?}\n{}", ended.alerts, ended.messages);
    Ok(())
}

#[test]
fn a_program_that_is_in_no_file_and_ran_before_is_told_as_unknown() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let bundle = Bundle::benign()?.program(workload()?, WORKLOAD, 0o755)?;
    let container = Container::start(bundle.args(&[WORKLOAD, "from-memory", "sleep"]))?;
    let agent = Agent::start(RESTRICTED, &["--duration", "1s"])?;
    let ended = agent.wait()?;
    assert!(
        ended.messages.contains("unknown: 1 processes"),
        "{}",
        ended.messages
    );
    drop(container);
    Ok(())
}

#[test]
fn rules_of_the_users_own_judge_beside_the_policy() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let rules = folder.path().join("own.yaml");
    let text = "
- rule: Identity looked at
  desc: a program that the policy has nothing against, and a call that no policy is about
  condition: evt.type in (execve, openat) and proc.args = print-ids and container.id != host
  output: ids of %user.uid in %container.id
  priority: NOTICE
";
    std::fs::write(&rules, text)?;
    let bundle = Bundle::benign()?.program(workload()?, WORKLOAD, 0o755)?;
    let container = Container::start(bundle.args(&[WORKLOAD, "sleep"]))?;
    let agent = Agent::start(RESTRICTED, &["--rules", &rules.to_string_lossy()])?;
    let output = container.exec(&[WORKLOAD, "print-ids"])?;
    assert!(output.status.success(), "{output:?}");
    let fired =
        |alert: &Alert| alert.is_about(container.id()) && alert.field("proc.cmdline").is_none();
    let seen = agent.wait_for(|alerts| alerts.iter().any(fired));
    let ended = agent.stop()?;
    let messages = &ended.messages;
    assert!(seen, "{:#?}\n{messages}", ended.alerts);
    let blind = "rule \"Identity looked at\": judged only in part: no event is of type openat";
    assert!(messages.contains(blind), "{messages}");
    assert!(messages.contains("    Identity looked at"), "{messages}");
    Ok(())
}
