//! `cargo xtask build-ebpf`: the kernel side, as one object that the agent embeds.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use object::{
    build::elf::{Builder, SectionData},
    elf::SHT_STRTAB,
};

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
    let whole = fs::read(&object);
    let whole = whole.with_context(|| format!("cannot read {}", object.display()))?;
    let stripped = without_debug_sections(&whole).context("the object is not as it should be")?;
    put_if_changed(&stripped, &workspace::ebpf_object())?;
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

/// The object without what only debuggers read, which is most of it. The kernel's own types and line
/// numbers are in other sections.
fn without_debug_sections(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object)?;
    let is_debug = |name: &[u8]| name.starts_with(b".debug_") || name.starts_with(b".rel.debug_");
    for section in &mut builder.sections {
        section.delete = is_debug(&section.name);
    }
    builder.delete_orphans();
    // The linker keeps the sections' names among the symbols'; here they are apart.
    let names = builder.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = SHT_STRTAB;
    names.data = SectionData::SectionString;
    builder.set_section_sizes();
    let mut stripped = Vec::new();
    builder.write(&mut stripped)?;
    Ok(stripped)
}

/// Writes the file where its bytes differ, so that cargo sees no change where there is none.
fn put_if_changed(new: &[u8], to: &Path) -> Result<()> {
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
        let to = folder.path().join("to.o");
        put_if_changed(b"1", &to).unwrap();
        let modified = || fs::metadata(&to).unwrap().modified().unwrap();
        let before = modified();
        put_if_changed(b"1", &to).unwrap();
        assert_eq!(modified(), before);
        put_if_changed(b"2", &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"2");
    }
}
