//! `cargo xtask test`: every check and test, stopping at the first that fails.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build_ebpf::build_ebpf,
    check_arm64::check_arm64,
    command, readme,
    setup::{self, For},
    vm::{Which, vm},
    workspace,
};

/// Set to `skip`, it tells the live tests that they run in a step of their own.
const LIVE: &str = "FALCO_PSP_LIVE";

/// Sets up, then runs everything; `live` includes the tests that start containers as root, `all`
/// other architectures and kernels.
pub(crate) fn test(live: bool, all: bool) -> Result<()> {
    let start = Instant::now();
    let can_live = live && workspace::is_root();
    if live && !can_live && workspace::is_ci() {
        bail!("the live tests need root, and in CI nothing may be skipped");
    }
    step("set-up", || {
        if can_live {
            setup::setup(For::Tests)?;
            setup::report_checkers()
        } else {
            setup::setup(For::Checks)
        }
    })?;
    step("format", format)?;
    step("kernel side builds without warnings", || {
        if build_ebpf(false)?.warnings {
            bail!("the kernel side builds with warnings; see above");
        }
        Ok(())
    })?;
    step("clippy", clippy)?;
    step("unit and golden tests", || {
        command::run(
            cargo(&["test", "--quiet", "--workspace"])
                .args(NOT_EBPF)
                .env(LIVE, "skip"),
        )
    })?;
    if can_live {
        step("live tests", || {
            // One at a time: they judge by what a node does within a time.
            let arguments = ["test", "--package", "falco-psp", "--test", "live"];
            let mut tests = cargo(&arguments);
            command::run(tests.args(["--", "--test-threads=1"]))
        })?;
        step("the README's commands", readme::run_commands)?;
    } else if live {
        eprintln!(
            "==> live tests: skipped, they need root (sudo -E env PATH=\"$PATH\" cargo xtask test)"
        );
    } else {
        eprintln!("==> live tests: skipped, by --no-live");
    }
    if all {
        step("arm64", check_arm64)?;
        step("other kernels", || vm(Which::All))?;
    }
    eprintln!("==> all passed in {}", seconds(start.elapsed()));
    Ok(())
}

/// The kernel side builds only for its own target.
const NOT_EBPF: [&str; 2] = ["--exclude", "falco-psp-ebpf"];

fn format() -> Result<()> {
    command::run(&mut cargo(&["fmt", "--all", "--check"]))?;
    // Belong to no package: live tests and benches compile them for their containers.
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.current_dir(workspace::root());
    rustfmt.args([
        "--check",
        "--edition",
        "2024",
        "falco-psp/tests/live/workload/main.rs",
        "falco-psp/benches/overhead/load.rs",
        "falco-psp/benches/overhead/nothing.rs",
    ]);
    command::run(&mut rustfmt)
}

fn clippy() -> Result<()> {
    let mut clippy = cargo(&["clippy", "--workspace"]);
    clippy.args(NOT_EBPF);
    command::run(clippy.args(["--all-targets", "--all-features", "--", "-D", "warnings"]))
}

fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args(arguments).current_dir(workspace::root());
    cargo
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    eprintln!("==> {name}");
    let start = Instant::now();
    work().with_context(|| format!("{name}: failed"))?;
    eprintln!("==> {name}: passed in {}", seconds(start.elapsed()));
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
