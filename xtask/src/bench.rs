//! `cargo xtask bench`: figures, each beside a baseline of the same run.

mod audit;

use anyhow::Result;
use clap::ValueEnum;

/// What to measure.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Bench {
    /// Judging audit events: time part by part, and the whole program
    Audit,
}

/// Measures.
pub(crate) fn bench(what: Bench) -> Result<()> {
    match what {
        Bench::Audit => audit::audit(),
    }
}
