//! `cargo xtask bench audit`: the parts on one thread, then the program on a long log.

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use procfs::{process::Process, ticks_per_second};

use crate::{build, command, workspace};

/// Bytes of the log that the program reads.
const LOG_SIZE: u64 = 400 << 20;
/// How often the program runs.
const RUNS: usize = 5;

/// Measures and prints.
pub(crate) fn audit() -> Result<()> {
    super::part("audit", "bench")?;
    let agent = build::build(build::Profile::Release)?;
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let log = folder.path().join("audit.log");
    let events = write_log(&log)?;
    println!(
        "\nthe program, {} MiB of the same log, {events} events, {RUNS} runs; policy restricted",
        LOG_SIZE >> 20
    );
    println!(
        "{:>10}{:>10}{:>12}{:>16}{:>12}",
        "wall s", "CPU s", "events/s", "events/s a core", "memory MiB"
    );
    for _ in 0..RUNS {
        run(&agent, &log, events)?;
    }
    Ok(())
}

/// Writes the real pod events of the test data over and over; how many there are.
fn write_log(path: &Path) -> Result<u64> {
    let source = workspace::root().join("falco-psp/tests/audit/audit_nopsp.log");
    let text =
        fs::read_to_string(&source).with_context(|| format!("cannot read {}", source.display()))?;
    let is_pod = |line: &&str| line.contains("\"requestObject\":{\"kind\":\"Pod\"");
    let mut events = 0;
    let mut size = 0;
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut log = BufWriter::new(file);
    while size < LOG_SIZE {
        for line in text.lines().filter(is_pod) {
            writeln!(log, "{line}").context("cannot write the log")?;
            size += line.len() as u64 + 1;
            events += 1;
        }
    }
    log.flush().context("cannot write the log")?;
    Ok(events)
}

/// Runs the program over the log and prints what it took.
fn run(agent: &Path, log: &Path, events: u64) -> Result<()> {
    let mut program = Command::new(agent);
    program.current_dir(workspace::root());
    program
        .args(["--psp", "examples/restricted.yaml", "--audit-log"])
        .arg(log);
    program.stdout(Stdio::null()).stderr(Stdio::null());
    let before = children_seconds()?;
    let start = Instant::now();
    let mut child = program
        .spawn()
        .with_context(|| format!("cannot run `{}`", command::shown(&program)))?;
    let pid = i32::try_from(child.id()).context("no process id")?;
    let mut memory_kib = 0;
    let status = loop {
        // The highest that it ever was; a process that has ended tells it no longer.
        let status = Process::new(pid).and_then(|process| process.status());
        if let Some(high) = status.ok().and_then(|status| status.vmhwm) {
            memory_kib = high;
        }
        match child.try_wait().context("cannot wait for the program")? {
            Some(status) => break status,
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    let wall = start.elapsed().as_secs_f64();
    // 2: some pods of the log would be denied.
    if status.code() != Some(2) {
        bail!("`{}` ended with {status}", command::shown(&program));
    }
    let cpu = children_seconds()? - before;
    let events = events as f64;
    println!(
        "{wall:>10.2}{cpu:>10.2}{:>12.0}{:>16.0}{:>12.1}",
        events / wall,
        events / cpu,
        memory_kib as f64 / 1024.0
    );
    Ok(())
}

/// CPU time of all children that have ended.
fn children_seconds() -> Result<f64> {
    let stat = Process::myself().and_then(|me| me.stat());
    let stat = stat.context("cannot read /proc/self/stat")?;
    let ticks = (stat.cutime + stat.cstime) as f64;
    Ok(ticks / ticks_per_second() as f64)
}
