//! How long an alert takes from the exec to the reader of standard output.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::container::Container;
use crate::figures::at;
use crate::watcher::{agent, end, started};
use crate::{LOAD, load};

/// Execs one after the other: how many, the milliseconds between, and what that is.
const PACES: [(&str, &str, &str); 3] = [
    ("40", "150", "from idle, an exec every 150 ms"),
    ("400", "5", "an exec every 5 ms"),
    ("4000", "0", "execs without a pause"),
];

/// Measures it at some paces.
pub(crate) fn latency(container: &Container) -> Result<()> {
    println!("\n| Alert latency, ms | alerts | p50 | p99 | most |\n|---|---:|---:|---:|---:|");
    for (count, pause, what) in PACES {
        let mut command = agent(&["--all", "--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = started(&mut command, b"watching")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let reader = thread::spawn(move || {
            let mut delays = Vec::new();
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) else {
                    continue;
                };
                delays.extend(delay_ms(&line, now.as_nanos()));
            }
            delays
        });
        let output = container.exec(&[LOAD, "paced", count, pause])?;
        anyhow::ensure!(output.status.success(), "{output:?}");
        end(&child);
        child
            .wait_with_output()
            .context("cannot wait for falco-psp")?;
        let mut delays = reader.join().unwrap_or_default();
        delays.sort_by(f64::total_cmp);
        let [p50, p99, most] = [0.5, 0.99, 1.0].map(|part| at(&delays, part));
        println!(
            "| {what} | {} | {p50:.2} | {p99:.2} | {most:.2} |",
            delays.len()
        );
    }
    // The container is still as it should be.
    load(container, &["getppid", "10"]).map(drop)
}

/// Milliseconds between an alert's event and `now`, nanoseconds since the epoch; `None` for what is
/// no alert about an exec of the load.
fn delay_ms(line: &str, now: u128) -> Option<f64> {
    let alert: Value = serde_json::from_str(line).ok()?;
    let fields = alert.get("output_fields")?;
    if !alert.get("output")?.as_str()?.contains("/bin/nothing") {
        return None;
    }
    let time = fields.get("evt.time")?.as_u64()?;
    Some(now.saturating_sub(u128::from(time)) as f64 / 1e6)
}
