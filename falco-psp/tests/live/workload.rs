//! The program that runs inside containers, compiled when the first test wants it.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context as _, Result, anyhow, ensure};

/// Where the tests put the program inside a container.
pub(crate) const WORKLOAD: &str = "/bin/workload";

/// Names the program where there is no compiler, as in a virtual machine.
const READY: &str = "FALCO_PSP_WORKLOAD";

/// The compiled program: static, so that it runs in any root file system.
pub(crate) fn workload() -> Result<&'static Path> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| match env::var_os(READY) {
        Some(program) => Ok(program.into()),
        None => compile().map_err(|error| format!("{error:#}")),
    });
    program
        .as_deref()
        .map_err(|error| anyhow!("cannot compile the workload: {error}"))
}

fn compile() -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/workload/main.rs");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let part = folder.join(format!("workload.{}", std::process::id()));
    let program = folder.join("workload");
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--edition", "2024", "--crate-name", "workload", "-O"])
        .args([
            "-C",
            "target-feature=+crt-static",
            "-C",
            "strip=symbols",
            "-o",
        ])
        .arg(&part)
        .arg(source)
        .output()
        .context("cannot run rustc")?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    std::fs::rename(&part, &program).context("cannot put it in its place")?;
    Ok(program)
}
