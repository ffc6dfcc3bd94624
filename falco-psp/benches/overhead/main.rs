//! What watching costs: `cargo xtask bench overhead` runs this, as root.
//!
//! A container with a static program makes system calls in a loop; the time of one is measured from
//! within, without anything that watches, with falco-psp, and with what else is installed. All take
//! turns in each round, and what one adds is the difference to nothing in the same round.

#![expect(clippy::cast_precision_loss, reason = "figures for people")]

#[path = "../../tests/live/bundle.rs"]
#[expect(dead_code, reason = "the live tests need more of it")]
mod bundle;
#[path = "../../tests/live/container.rs"]
#[expect(dead_code, reason = "the live tests need more of it")]
mod container;
mod figures;
mod latency;
#[path = "../../tests/live/ledger.rs"]
#[expect(dead_code, reason = "the live tests need more of it")]
mod ledger;
mod watcher;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use bundle::Bundle;
use container::Container;
use figures::Spread;
use ledger::Line;
use watcher::{Watcher, agent, started};

/// Where the load is in the container.
pub(crate) const LOAD: &str = "/bin/load";
const ROUNDS: usize = 5;
/// What is measured: the load's word, turns a round, the events in one turn, and what it is.
const CALLS: [(&str, u32, f64, &str); 7] = [
    ("exec", 3_000, 1.0, "exec of a program"),
    ("setuid", 200_000, 1.0, "setuid"),
    ("capset", 200_000, 1.0, "capset"),
    ("mount", 2_000, 2.0, "mount and umount"),
    ("write", 200_000, 1.0, "open for writing, and close"),
    ("open", 200_000, 0.0, "open and close (not watched)"),
    ("getppid", 1_000_000, 0.0, "getppid (not watched)"),
];
/// Seconds of each flood.
const FLOOD: &str = "3";
const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

fn main() -> Result<()> {
    // `cargo test` runs benches, too.
    if !env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    ensure!(
        rustix::process::geteuid().is_root(),
        "the kernel side and containers need root"
    );
    let load = compile("load", &["-C", "target-feature=+crt-static"])?;
    let nothing = compile(
        "nothing",
        &[
            "-C",
            "panic=abort",
            "-C",
            "link-arg=-nostdlib",
            "-C",
            "link-arg=-static",
        ],
    )?;
    let bundle = Bundle::new()?
        .privileged()?
        .program(&load, LOAD, 0o755)?
        .program(&nothing, "/bin/nothing", 0o755)?
        .args(&[LOAD, "sleep"]);
    let container = Container::start(bundle)?;
    calls(&container)?;
    kernel_time(&container)?;
    flood(&container)?;
    latency::latency(&container)
}

/// Compiles one of the two programs that run in the container.
fn compile(name: &str, options: &[&str]) -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("benches/overhead")
        .join(name)
        .with_extension("rs");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut rustc = Command::new(rustc);
    rustc.args(["--edition", "2024", "-O", "-C", "strip=symbols"]);
    let output = rustc
        .args(options)
        .arg("-o")
        .arg(&program)
        .arg(source)
        .output();
    let output = output.context("cannot run rustc")?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(program)
}

/// What the load prints.
fn load(container: &Container, words: &[&str]) -> Result<f64> {
    let mut command = vec![LOAD];
    command.extend(words);
    let output = container.exec(&command)?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.trim().parse() {
        Ok(number) => Ok(number),
        Err(_) => bail!(
            "{words:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

/// The cost of a call for the workload, and for the agent.
fn calls(container: &Container) -> Result<()> {
    let watchers = Watcher::installed();
    let mut added: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
    let mut agent_ns: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
    let mut resident = vec![Vec::new(); watchers.len()];
    let mut alone: Vec<Vec<f64>> = vec![Vec::new(); CALLS.len()];
    for round in 0..ROUNDS {
        let mut of_round = vec![vec![0.0; watchers.len()]; CALLS.len()];
        for turn in 0..watchers.len() {
            // Each comes first in some round.
            let number = (turn + round) % watchers.len();
            let Some(watcher) = watchers.get(number) else {
                continue;
            };
            let running = watcher.start()?;
            for (call, (word, turns, _, _)) in CALLS.iter().enumerate() {
                let before = running.cpu_ns();
                let ns = load(container, &[word, &turns.to_string()])?;
                of_round[call][number] = ns;
                // What is read and judged a little later belongs to it.
                thread::sleep(Duration::from_millis(50));
                if let (Some(before), Some(after)) = (before, running.cpu_ns()) {
                    let ns = after.saturating_sub(before) as f64 / f64::from(*turns);
                    agent_ns.entry((call, number)).or_default().push(ns);
                }
            }
            resident[number].extend(running.resident_mib());
        }
        for (call, times) in of_round.iter().enumerate() {
            let Some(nothing) = times.first() else {
                continue;
            };
            alone[call].push(*nothing);
            for (number, ns) in times.iter().enumerate().skip(1) {
                added.entry((call, number)).or_default().push(ns - nothing);
            }
        }
        eprintln!("round {} of {ROUNDS}", round + 1);
    }
    println!("Median (least to most) of {ROUNDS} rounds. Added: what the call takes longer, ns.");
    println!("Agent: processor time of the watching process for one call, ns.\n");
    println!("| Call | ns alone | watched by | added | agent |\n|---|---:|---|---:|---:|");
    for (call, (_, _, _, what)) in CALLS.iter().enumerate() {
        let nothing = Spread::of(&alone[call]);
        for (number, watcher) in watchers.iter().enumerate().skip(1) {
            let added = added
                .get(&(call, number))
                .map(|ns| Spread::of(ns).to_string());
            let agent = agent_ns.get(&(call, number));
            let agent = agent.map(|ns| format!("{:.0}", Spread::of(ns).median));
            println!(
                "| {what} | {:.0} | {} | {} | {} |",
                nothing.median,
                watcher.name(),
                added.unwrap_or_default(),
                agent.unwrap_or_else(|| "in the kernel".to_owned())
            );
        }
    }
    println!("\n| Watched by | MiB resident |\n|---|---:|");
    for (watcher, mib) in watchers.iter().zip(&resident).skip(1) {
        if !mib.is_empty() {
            println!("| {} | {:.1} |", watcher.name(), Spread::of(mib).median);
        }
    }
    Ok(())
}

/// The kernel's own figures for our programs. Counting them costs time itself, so it is done apart.
fn kernel_time(container: &Container) -> Result<()> {
    let before = fs::read_to_string(STATS).with_context(|| format!("cannot read {STATS}"))?;
    fs::write(STATS, "1").with_context(|| format!("cannot write {STATS}"))?;
    let measured = kernel_time_of_calls(container);
    fs::write(STATS, before).with_context(|| format!("cannot write {STATS}"))?;
    measured
}

fn kernel_time_of_calls(container: &Container) -> Result<()> {
    println!("\n| Load | program in the kernel | turns | ns a turn |\n|---|---|---:|---:|");
    for (word, turns, _, what) in CALLS {
        let running = Watcher::FalcoPsp.start()?;
        load(container, &[word, &turns.to_string()])?;
        for (name, ns, turns) in running.programs() {
            let each = ns as f64 / turns as f64;
            println!("| {what} | {name} | {turns} | {each:.0} |");
        }
    }
    Ok(())
}

/// All processors do nothing but make events.
fn flood(container: &Container) -> Result<()> {
    println!("\n| Flood, {FLOOD} s on all processors | events/s | seen | sent | lost |");
    println!("|---|---:|---:|---:|---:|");
    for (word, kind) in [("exec", "exec"), ("setuid", "credentials")] {
        let mut command = agent(&["--output", "file:/dev/null"]);
        let child = started(command.stderr(Stdio::piped()), b"watching")?;
        let turns = load(container, &["flood", word, FLOOD])?;
        watcher::end(&child);
        let output = child
            .wait_with_output()
            .context("cannot wait for falco-psp")?;
        let said = String::from_utf8_lossy(&output.stderr);
        let Line {
            seen, sent, lost, ..
        } = Line::find(&said, kind)?;
        let rate = turns / FLOOD.parse::<f64>()?;
        println!("| {word} | {rate:.0} | {seen} | {sent} | {lost} |");
    }
    Ok(())
}
