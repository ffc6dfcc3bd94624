//! `cargo xtask build-ebpf`: the kernel side, as one object that the agent embeds.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    command,
    toolchain::{self, Compiler, TARGET},
    workspace,
};

const PACKAGE: &str = "falco-psp-ebpf";

/// What a build gave.
pub(crate) struct Built {
    /// Whether the compiler warned about the project's own code.
    pub(crate) warnings: bool,
}

/// Builds the kernel side into `target/falco-psp-ebpf.o`.
pub(crate) fn build_ebpf(debug_log: bool) -> Result<Built> {
    let compiler =
        Compiler::find().context("no compiler for eBPF here; `cargo xtask setup` installs one")?;
    let linker = toolchain::linker()
        .context("bpf-linker is not installed; `cargo xtask setup` installs it")?;
    // A folder of its own: neither the lock nor the artefacts of other builds are shared.
    let target_dir = workspace::root().join("target/bpf");

    let mut cargo = compiler.cargo();
    cargo.current_dir(workspace::root());
    cargo.args(["build", "--release", "--package", PACKAGE, "--bin", PACKAGE]);
    cargo
        .args(["--target", TARGET])
        .args(compiler.build_arguments());
    if debug_log {
        cargo.args(["--features", "debug-log"]);
    }
    cargo.env("CARGO_TARGET_DIR", &target_dir);
    let flags = [
        // aya-ebpf and programs choose registers by the machine's architecture.
        format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
        "-Cdebuginfo=2".to_owned(),
        format!("-Clinker={}", linker.display()),
        // Types for the kernel: maps, line numbers in the verifier's log.
        "-Clink-arg=--btf".to_owned(),
    ];
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));

    let warnings = run_watching_warnings(&mut cargo)?;
    let object = target_dir.join(TARGET).join("release").join(PACKAGE);
    put_if_changed(&object, &workspace::ebpf_object())?;
    Ok(Built { warnings })
}

/// Runs cargo, shows what it says, and tells whether it counted warnings of workspace members:
/// dependencies' warnings are not shown at all, and those of earlier builds are told again.
fn run_watching_warnings(cargo: &mut Command) -> Result<bool> {
    let mut child = cargo
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{}`", command::shown(cargo)))?;
    let mut warnings = false;
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines() {
            let line = line.context("cannot read what cargo says")?;
            warnings |= counts_warnings(&line);
            eprintln!("{line}");
        }
    }
    let status = child.wait().context("cannot wait for cargo")?;
    if !status.success() {
        bail!(
            "the kernel side does not build: {status}\n{}",
            command::shown(cargo)
        );
    }
    Ok(warnings)
}

/// Whether the line is cargo's count: ``warning: `falco-psp-ebpf` (bin "…") generated 1 warning``.
fn counts_warnings(line: &str) -> bool {
    line.starts_with("warning: `") && line.contains(" generated ")
}

/// Copies the file where its bytes differ, so that cargo sees no change where there is none.
fn put_if_changed(from: &PathBuf, to: &PathBuf) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    // By renaming: a build of the agent at the same time never reads half an object.
    let part = to.with_extension("o.part");
    fs::write(&part, new).with_context(|| format!("cannot write {}", part.display()))?;
    fs::rename(&part, to).with_context(|| format!("cannot write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_count_of_warnings_is_seen() {
        let count = "warning: `falco-psp-ebpf` (bin \"falco-psp-ebpf\") generated 1 warning";
        assert!(counts_warnings(count));
        assert!(!counts_warnings("warning: function `x` is never used"));
        assert!(!counts_warnings(
            "    Finished `release` profile [optimized] target(s) in 1s"
        ));
    }

    #[test]
    fn an_equal_object_stays_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to.o"));
        fs::write(&from, "1").unwrap();
        put_if_changed(&from, &to).unwrap();
        let modified = || fs::metadata(&to).unwrap().modified().unwrap();
        let before = modified();
        put_if_changed(&from, &to).unwrap();
        assert_eq!(modified(), before);
        fs::write(&from, "2").unwrap();
        put_if_changed(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"2");
    }
}
