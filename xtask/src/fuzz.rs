//! `cargo xtask fuzz`: what comes from outside, thrown at the agent's parsers.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::{command, workspace};

/// What is fuzzed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// Audit events and bodies of the webhook
    AuditEvent,
    /// Manifests
    Manifest,
    /// Policies, and the rules that they become
    Policy,
    /// Rules files
    RulesFile,
    /// Conditions of rules
    Condition,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::AuditEvent => "audit_event",
            Self::Manifest => "manifest",
            Self::Policy => "policy",
            Self::RulesFile => "rules_file",
            Self::Condition => "condition",
        }
    }

    /// What the inputs grow from: files of the tests and examples, and whether each of their
    /// lines is one.
    fn seeds(self) -> (&'static [&'static str], bool) {
        match self {
            Self::AuditEvent => (
                &[
                    "falco-psp/tests/audit/audit_nopsp.log",
                    "falco-psp/tests/audit/audit_allstages.log",
                ],
                true,
            ),
            Self::Manifest => (&["examples/workloads.yaml"], false),
            Self::Policy => (
                &[
                    "examples/restricted.yaml",
                    "examples/permissive.yaml",
                    "falco-psp/tests/golden/all-fields.psp.yaml",
                    "falco-psp/tests/golden/odd-name.psp.yaml",
                ],
                false,
            ),
            Self::RulesFile => (
                &[
                    "falco-psp/tests/golden/all-fields.rules.yaml",
                    "falco-psp/tests/golden/odd-name.rules.yaml",
                ],
                false,
            ),
            Self::Condition => (&["falco-psp/tests/golden/all-fields.rules.yaml"], true),
        }
    }
}

/// Fuzzes one target, or all, for as many seconds each.
pub(crate) fn fuzz(target: Option<Target>, seconds: u32) -> Result<()> {
    let has_cargo_fuzz = Command::new("cargo").args(["fuzz", "--version"]).output();
    if !has_cargo_fuzz.is_ok_and(|output| output.status.success()) {
        command::run_shown(
            Command::new("cargo").args(["install", "--locked", "cargo-fuzz"]),
            "cargo-fuzz runs the fuzz targets",
        )?;
    }
    let all = Target::value_variants().iter().copied();
    for target in all.filter(|one| target.is_none_or(|wanted| wanted == *one)) {
        let work = workspace::target_dir().join("fuzz").join(target.name());
        let (seeds, corpus) = (work.join("seeds"), work.join("corpus"));
        fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
        write_seeds(target, &seeds)?;
        let mut cargo = Command::new("cargo");
        cargo.current_dir(workspace::root().join("falco-psp"));
        cargo.args(["+nightly", "fuzz", "run", "--target-dir"]);
        cargo.arg(workspace::target_dir().join("fuzz"));
        cargo.arg(target.name()).arg(&corpus).arg(&seeds);
        cargo.args([
            "--",
            &format!("-artifact_prefix={}/", work.display()),
            &format!("-max_total_time={seconds}"),
            "-timeout=10",
            "-rss_limit_mb=2048",
            "-max_len=65536",
            "-print_final_stats=1",
        ]);
        command::run_shown(&mut cargo, "an input that fails is kept, and named below")
            .with_context(|| format!("the fuzz target {} found something", target.name()))?;
    }
    Ok(())
}

fn write_seeds(target: Target, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (files, by_line) = target.seeds();
    let mut count = 0;
    for file in files {
        let path: PathBuf = workspace::root().join(file);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let seeds: Vec<&str> = if by_line {
            text.lines().collect()
        } else {
            vec![&text]
        };
        for seed in seeds {
            let path = folder.join(count.to_string());
            fs::write(&path, seed).with_context(|| format!("cannot write {}", path.display()))?;
            count += 1;
        }
    }
    if count == 0 {
        bail!("{} has no seeds", target.name());
    }
    Ok(())
}
