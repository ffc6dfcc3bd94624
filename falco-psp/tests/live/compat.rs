//! Calls of 32-bit programs, which have other numbers than those of 64-bit ones.

use std::{collections::BTreeSet, thread, time::Duration};

use anyhow::Result;

use super::{
    agent::{Agent, Alert, Ended, RESTRICTED},
    bundle::Bundle,
    container::Container,
    needs,
    workload::{WORKLOAD, workload},
};

/// Whatever else a container does has come after this time.
const CALM: Duration = Duration::from_millis(500);

// Numbers of i386 (`arch/x86/entry/syscalls/syscall_32.tbl`), each beside the call that has the number
// on x86_64.
const SETUID32: &str = "213"; // epoll_create
const SETGID16: &str = "46"; // sendmsg
const MKDIR: &str = "39"; // getpid
const OPEN: &str = "5"; // fstat
const MOUNT: &str = "21"; // access
const GETPGID: &str = "132"; // utime
const GETITIMER: &str = "105"; // setuid
const READLINK: &str = "85"; // creat

/// `O_WRONLY | O_CREAT`.
const CREATE: &str = "65";
/// `MS_BIND`.
const BIND: &str = "4096";

/// Runs a container that makes these calls one after the other.
fn run(calls: &[&[&str]]) -> Result<(Container, Ended)> {
    let bundle = Bundle::new()?
        .capabilities(&["CAP_SETUID", "CAP_SETGID", "CAP_SYS_ADMIN"])
        .program(workload()?, WORKLOAD, 0o755)?;
    let container = Container::start(bundle.args(&["/bin/sleep", "3600"]))?;
    let agent = Agent::start(RESTRICTED, &["--cri", "none", "--all"])?;
    for call in calls {
        let command: Vec<&str> = [WORKLOAD, "compat"].iter().chain(*call).copied().collect();
        let output = container.exec(&command)?;
        assert!(output.status.success(), "{output:?}");
    }
    thread::sleep(CALM);
    Ok((container, agent.stop()?))
}

/// Of all that was told of a container, what calls were told of, with the values of this field.
fn told(alerts: &[Alert], container: &Container, field: &str) -> BTreeSet<(String, String)> {
    let about = alerts.iter().filter(|alert| alert.is_about(container.id()));
    let of_calls = about.filter_map(|alert| {
        let call = alert.field("evt.arg.call").or(alert.field("evt.type"))?;
        Some((call.to_owned(), alert.field(field)?.to_owned()))
    });
    of_calls.collect()
}

fn has(told: &BTreeSet<(String, String)>, call: &str, value: &str) -> bool {
    told.contains(&(call.to_owned(), value.to_owned()))
}

#[test]
fn calls_of_32_bit_programs_are_told_by_their_own_names() -> Result<()> {
    if !needs::containers() || !needs::compat_calls() {
        return Ok(());
    }
    let (container, ended) = run(&[
        &[SETUID32, "0"],
        &[SETGID16, "77"],
        &[MKDIR, "/made", "448"],
        &[OPEN, "/opened", CREATE, "384"],
        &[MOUNT, "/proc", "/dev/shm", "none", BIND],
    ])?;
    let written = told(&ended.alerts, &container, "evt.arg.path");
    assert!(has(&written, "mkdir", "/made"), "{written:?}");
    assert!(has(&written, "open", "/opened"), "{written:?}");
    let types = told(&ended.alerts, &container, "evt.type");
    assert!(has(&types, "setuid", "setuid"), "{types:?}");
    let mounts = told(&ended.alerts, &container, "evt.arg.dir");
    assert!(has(&mounts, "mount", "/dev/shm"), "{mounts:?}");
    if needs::capability_use() {
        let calls = ended
            .alerts
            .iter()
            .filter(|alert| alert.is_about(container.id()));
        let used: BTreeSet<(String, &str)> = calls
            .filter_map(|alert| {
                Some((
                    alert.list("evt.caps").join(","),
                    alert.field("evt.arg.call")?,
                ))
            })
            .collect();
        assert!(used.contains(&("SETUID".to_owned(), "setuid")), "{used:?}");
        assert!(used.contains(&("SETGID".to_owned(), "setgid")), "{used:?}");
    }
    Ok(())
}

#[test]
fn other_calls_of_32_bit_programs_are_not_taken_for_64_bit_ones() -> Result<()> {
    if !needs::containers() || !needs::compat_calls() {
        return Ok(());
    }
    let (container, ended) = run(&[
        &[GETPGID, "0", "/fake"],
        &[GETITIMER, "0", "/dev/shm"],
        &[READLINK, "/proc/self/exe", "/fake", "5"],
    ])?;
    let written = told(&ended.alerts, &container, "evt.arg.path");
    assert_eq!(written, BTreeSet::new());
    let types = told(&ended.alerts, &container, "evt.type");
    let types: BTreeSet<&str> = types.iter().map(|(_, event_type)| &**event_type).collect();
    assert_eq!(types, BTreeSet::from(["execve"]));
    Ok(())
}
