//! `cargo xtask bench`: figures, each beside a baseline of the same run.

mod audit;

use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;

use crate::{build_ebpf::build_ebpf, command, workspace};

/// What to measure.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Bench {
    /// Judging audit events: time part by part, and the whole program
    Audit,
    /// What watching costs the pods and the node, beside other tools; needs root
    Overhead,
    /// Evaluating rules: time an event, and what is allocated
    Rules,
    /// Memory over a day of short containers and ever new pods
    Soak,
}

/// Measures.
pub(crate) fn bench(what: Bench) -> Result<()> {
    match what {
        Bench::Audit => audit::audit(),
        Bench::Overhead => {
            build_ebpf(false)?;
            // What is measured is what is shipped.
            part("overhead", "dist")
        }
        Bench::Rules => part("rules", "bench"),
        Bench::Soak => part("soak", "bench"),
    }
}

/// Runs a bench of the agent's package.
fn part(name: &str, profile: &str) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(workspace::root());
    cargo.args([
        "bench",
        "--quiet",
        "--package",
        "falco-psp",
        "--bench",
        name,
        "--profile",
        profile,
    ]);
    command::run(&mut cargo)
}
