//! Writes to a container's root file system, told from those to everything else.

use std::{collections::BTreeSet, thread, time::Duration};

use anyhow::Result;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    agent::{Agent, Alert, Ended, RESTRICTED},
    bundle::{Bundle, Id},
    container::Container,
    ledger::Line,
    needs,
    workload::{WORKLOAD, workload},
};

/// Whatever else a container writes has come after this time.
const CALM: Duration = Duration::from_millis(500);

/// The calls and paths that were told of a container.
fn written(alerts: &[Alert], container: &Container) -> BTreeSet<(String, String)> {
    let of_root = alerts.iter().filter(|alert| {
        alert.is_about(container.id()) && alert.control() == Some("readOnlyRootFilesystem")
    });
    let field = |alert: &Alert, name| alert.field(name).unwrap_or_default().to_owned();
    of_root
        .map(|alert| (field(alert, "evt.arg.call"), field(alert, "evt.arg.path")))
        .collect()
}

fn paths(written: &BTreeSet<(String, String)>) -> BTreeSet<&str> {
    written.iter().map(|(_, path)| &**path).collect()
}

/// Runs a command in a container that is there already, with a volume at `/data`.
fn run(command: &str) -> Result<(Container, Ended)> {
    let (container, ended, _) = run_and_hear(command)?;
    Ok((container, ended))
}

/// The same, with what the command says.
fn run_and_hear(command: &str) -> Result<(Container, Ended, String)> {
    let volume = TempDir::new()?;
    let folder = volume.path().to_string_lossy();
    let bundle = Bundle::new()?
        .capabilities(&["CAP_CHOWN", "CAP_FOWNER", "CAP_MKNOD"])
        .program(workload()?, WORKLOAD, 0o755)?
        .host_path(&folder, "/data", false);
    let container = Container::start(bundle.args(&["/bin/sleep", "3600"]))?;
    let agent = Agent::start(RESTRICTED, &["--cri", "none", "--all"])?;
    let output = container.exec(&["/bin/sh", "-ec", command])?;
    assert!(output.status.success(), "{output:?}");
    thread::sleep(CALM);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok((container, agent.stop()?, said))
}

#[test]
fn each_way_to_change_the_root_is_told_with_its_path() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let command = "
        echo x > /new; echo y >> /new; touch -d 2001-01-01 /new; : > /dev/null
        mkdir -p /var/lib/app /run; ln -s /run /var/run; echo 1 > /var/run/app.pid
        cd /var/lib/app; echo x > relative; mv relative renamed; chmod 600 renamed
        chown 1:1 renamed; ln renamed linked; ln -s renamed symbolic; rm linked
        mkfifo /pipe; echo x > ../app/dotted; cd /; rmdir /data/../var/lib/app/none 2> /dev/null || :
        truncate -s 3 /new; rm -r /var/lib/app";
    let (container, ended) = run(command)?;
    let written = written(&ended.alerts, &container);
    let expected = [
        "/new",
        "/var",
        "/var/lib",
        "/var/lib/app",
        "/var/run",
        // Through the link.
        "/run/app.pid",
        "/var/lib/app/relative",
        "/var/lib/app/renamed",
        "/var/lib/app/linked",
        "/var/lib/app/symbolic",
        "/var/lib/app/dotted",
        "/pipe",
    ];
    let paths = paths(&written);
    for path in expected {
        assert!(paths.contains(path), "{path}: {written:?}");
    }
    let known: BTreeSet<&str> = expected.into_iter().chain(["/run"]).collect();
    assert_eq!(&paths - &known, BTreeSet::new(), "{written:?}");
    let calls: BTreeSet<&str> = written.iter().map(|(call, _)| &**call).collect();
    for family in [
        "open", "mkdir", "rename", "chmod", "chown", "link", "unlink",
    ] {
        let is_told = calls.iter().any(|call| call.contains(family));
        assert!(is_told, "{family}: {calls:?}");
    }
    Ok(())
}

#[test]
fn what_is_written_elsewhere_is_no_write_to_the_root() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    // The two links are made in the volume: the root is only read.
    let command = "
        echo x > /data/new; cd /data; echo x > relative; mkdir -p deep/er; mv relative deep/er/moved
        chmod 600 /data/deep/er/moved; ln -s /data/deep link; echo x > /data/link/through
        rm -r /data/deep; cat /etc/passwd > /dev/null 2>&1 || :; echo x > /dev/shm/x; rm /dev/shm/x
        echo x > /dev/null; ls -lR /bin > /dev/null; echo 0 > /proc/self/oom_score_adj
        cd /dev/shm; mkdir d; rmdir d; test -w /bin; mkdir /bin 2> /dev/null || :
        rm /no/such/file 2> /dev/null || :; cat < /bin/busybox > /dev/null";
    let (container, ended) = run(command)?;
    assert_eq!(written(&ended.alerts, &container), BTreeSet::new());
    let line = Line::find(&ended.messages, "file")?;
    assert!(line.seen > 0, "{}", ended.messages);
    assert_eq!(line.accounted(), line.seen, "{line:?}");
    Ok(())
}

#[test]
fn a_socket_in_the_root_is_a_write() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let (container, ended) = run(&format!(
        "{WORKLOAD} socket /socket; {WORKLOAD} socket /data/s"
    ))?;
    let written = written(&ended.alerts, &container);
    assert_eq!(written, BTreeSet::from([("bind".into(), "/socket".into())]));
    Ok(())
}

#[test]
fn the_newest_calls_are_writes() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    // fchmodat2 since Linux 6.6, removexattrat since 6.13, by their numbers, which are the same
    // everywhere; an attribute to remove is made by setxattr of x86_64, or of arm64. In memory, as in
    // the virtual machines, files have attributes since 6.6.
    let setxattr = if cfg!(target_arch = "x86_64") { 188 } else { 5 };
    let calls = |file: &str| {
        format!(
            "{WORKLOAD} call {setxattr} {file} user.x 1 0 0 || echo no setxattr
            {WORKLOAD} call 452 -100 {file} 493 0 || echo no fchmodat2
            {WORKLOAD} call 466 -100 {file} 0 user.x || echo no removexattrat"
        )
    };
    let (container, ended, said) = run_and_hear(&format!(
        "echo x > /data/other\n{}\n{}",
        calls("/bin/busybox"),
        calls("/data/other")
    ))?;
    let written = written(&ended.alerts, &container);
    let missing = |call: &&str| !said.contains(&format!("no {call}"));
    let expected = ["setxattr", "fchmodat2", "removexattrat"];
    let expected = expected.iter().filter(|call| missing(call));
    let expected = expected.map(|call| ((*call).to_owned(), "/bin/busybox".to_owned()));
    assert_eq!(written, expected.collect(), "{said}");
    Ok(())
}

#[test]
fn what_may_be_written_by_io_uring_is_unknown() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    // io_uring_setup with one entry, and parameters of zeros in a page of its own.
    let uses = Container::start(
        Bundle::new()?
            .pod("test", "ring")
            .program(workload()?, WORKLOAD, 0o755)?
            .args(&["/bin/sleep", "3600"]),
    )?;
    let innocent = Bundle::new()?.pod("test", "innocent");
    let _innocent = Container::start(innocent.args(&["/bin/sleep", "3600"]))?;
    let folder = TempDir::new()?;
    let report = folder.path().join("report.json");
    let output = format!("json:{}", report.display());
    let agent = Agent::start(RESTRICTED, &["--cri", "none", "--report", &output])?;
    let made = uses.exec(&[WORKLOAD, "io-uring"])?;
    if !made.status.success() {
        println!("skipped: this kernel makes no io_uring ({made:?})");
        return Ok(());
    }
    thread::sleep(CALM);
    let ended = agent.stop()?;
    let line = "unknown: readOnlyRootFilesystem of 1 containers (it uses io_uring";
    assert!(ended.messages.contains(line), "{}", ended.messages);
    let answer: Value = serde_json::from_slice(&std::fs::read(report)?)?;
    let state = |name: &str| {
        let mut workloads = answer["workloads"].as_array()?.iter();
        let workload = workloads.find(|workload| workload["name"] == name)?;
        let mut cells = workload["cells"].as_array()?.iter();
        let cell = cells.find(|cell| cell["control"] == "readOnlyRootFilesystem")?;
        cell["state"].as_str()
    };
    assert_eq!(state("ring"), Some("unknown"), "{answer:#}");
    assert_eq!(state("innocent"), Some("fine"), "{answer:#}");
    Ok(())
}

#[test]
fn many_files_of_one_folder_do_not_hide_another_folder() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let bundle = Bundle::new()?;
    let container = Container::start(bundle.args(&["/bin/sleep", "3600"]))?;
    let agent = Agent::start(RESTRICTED, &["--cri", "none"])?;
    let command = "mkdir /many /other; i=0; \
                   while [ $i -lt 5000 ]; do : > /many/$i; i=$((i+1)); done; : > /other/last";
    let output = container.exec(&["/bin/sh", "-ec", command])?;
    assert!(output.status.success(), "{output:?}");
    thread::sleep(CALM);
    let ended = agent.stop()?;
    let line = Line::find(&ended.messages, "file")?;
    assert_eq!(line.accounted(), line.seen, "{line:?}");
    assert_eq!(line.lost, 0, "{line:?}");
    assert!(line.seen >= 5_000, "{line:?}");
    assert!(line.sent < 100, "{line:?}");
    Ok(())
}

#[test]
fn the_first_program_of_a_new_container_is_told_and_the_runtime_is_not() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let agent = Agent::start(RESTRICTED, &["--cri", "none"])?;
    let command = "echo x > /first; sleep 3600";
    let writes = Container::start(Bundle::new()?.args(&["/bin/sh", "-c", command]))?;
    let reads = Container::start(Bundle::new()?.args(&["/bin/sleep", "3600"]))?;
    let told = |alerts: &[Alert]| paths(&written(alerts, &writes)).contains("/first");
    assert!(agent.wait_for(told), "{}", agent.said());
    thread::sleep(CALM);
    let ended = agent.stop()?;
    assert_eq!(
        paths(&written(&ended.alerts, &writes)),
        BTreeSet::from(["/first"])
    );
    assert_eq!(written(&ended.alerts, &reads), BTreeSet::new());
    Ok(())
}

/// The numbers of namespaces are given again, mostly at once.
#[test]
fn what_the_container_before_wrote_hides_nothing() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let agent = Agent::start(RESTRICTED, &["--cri", "none"])?;
    let mut containers = Vec::new();
    for _ in 0..4 {
        let container = Container::start(Bundle::new()?)?;
        let output = container.exec(&["/bin/mkdir", "/made"])?;
        assert!(output.status.success(), "{output:?}");
        containers.push(container.id().clone());
    }
    thread::sleep(CALM);
    let ended = agent.stop()?;
    let writers = ended.alerts.iter().filter(|alert| {
        alert.field("evt.arg.call") == Some("mkdir") && alert.field("evt.arg.path") == Some("/made")
    });
    let writers: BTreeSet<&str> = writers
        .filter_map(|alert| alert.field("container.id"))
        .collect();
    assert_eq!(writers, containers.iter().map(Id::short).collect());
    Ok(())
}
