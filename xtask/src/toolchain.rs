//! The compiler and the linker for the kernel side.
//!
//! The `core` library for `bpfel-unknown-none` is either built from source by a rustup nightly
//! that has `rust-src`, or comes prebuilt with Debian's `rustc-web`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{command, workspace};

/// The compilation target of the kernel side.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// The oldest Rust that builds the kernel side, as in the workspace's `rust-version`.
pub(crate) const OLDEST_RUST: (u32, u32) = (1, 95);

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_LIBRARIES: &str = "/usr/lib/rustlib/bpfel-unknown-none/lib";

/// A compiler that can build for the kernel.
#[derive(Debug)]
pub(crate) enum Compiler {
    /// Debian's rustc-web, with the prebuilt `core` of libstd-rust-web-dev-bpf.
    Debian,
    /// A nightly of rustup with `rust-src`: its folder.
    Nightly(PathBuf),
}

impl Compiler {
    /// Finds the compiler to use: Debian's, or the newest fitting nightly.
    pub(crate) fn find() -> Option<Self> {
        let debian = has_core(Path::new(DEBIAN_LIBRARIES))
            && version(Path::new(DEBIAN_RUSTC)).is_ok_and(|found| found.rust >= OLDEST_RUST);
        if debian {
            return Some(Self::Debian);
        }
        nightlies()
            .into_iter()
            .filter_map(|folder| {
                let found = version(&folder.join("bin/rustc")).ok()?;
                (found.rust >= OLDEST_RUST).then_some((found.rust, folder))
            })
            .max()
            .map(|(_, folder)| Self::Nightly(folder))
    }

    /// A `cargo` that builds with this compiler.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = match self {
            Self::Debian => {
                let mut cargo = Command::new("cargo");
                cargo.env("RUSTC", DEBIAN_RUSTC);
                // aya-ebpf needs unstable features; nobody else gets them.
                cargo.env("RUSTC_BOOTSTRAP", "aya_ebpf");
                cargo
            }
            Self::Nightly(folder) => {
                let mut cargo = Command::new(folder.join("bin/cargo"));
                cargo.env("RUSTC", folder.join("bin/rustc"));
                cargo
            }
        };
        // Cargo and rustup put their own toolchain's libraries here, which are not this one's.
        cargo.env_remove("LD_LIBRARY_PATH");
        cargo.env_remove("RUSTC_WORKSPACE_WRAPPER");
        cargo
    }

    /// What this compiler needs on the command line of `cargo build`.
    pub(crate) fn build_arguments(&self) -> &'static [&'static str] {
        match self {
            Self::Debian => &[],
            Self::Nightly(_) => &["-Z", "build-std=core"],
        }
    }

    /// The major version of the LLVM that this compiler writes bitcode with.
    pub(crate) fn llvm(&self) -> Result<u32> {
        let rustc = match self {
            Self::Debian => PathBuf::from(DEBIAN_RUSTC),
            Self::Nightly(folder) => folder.join("bin/rustc"),
        };
        Ok(version(&rustc)?.llvm)
    }
}

/// Finds `bpf-linker`.
pub(crate) fn linker() -> Option<PathBuf> {
    workspace::program("bpf-linker")
}

/// The folders of rustup's nightlies that have the source of `core`.
fn nightlies() -> Vec<PathBuf> {
    let Some(home) = workspace::rustup_home() else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir(home.join("toolchains")) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("nightly"))
        .map(|entry| entry.path())
        .filter(|folder| {
            folder
                .join("lib/rustlib/src/rust/library/core/Cargo.toml")
                .is_file()
        })
        .collect()
}

/// Whether the folder holds a compiled `core`.
pub(crate) fn has_core(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| {
        entries.any(|entry| {
            entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
        })
    })
}

#[derive(Debug, PartialEq)]
struct Version {
    rust: (u32, u32),
    llvm: u32,
}

fn version(rustc: &Path) -> Result<Version> {
    let output = command::output(Command::new(rustc).arg("-vV").env_remove("LD_LIBRARY_PATH"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse_version(&text)
        .with_context(|| format!("cannot read the version of {}: {text:?}", rustc.display()))
}

fn parse_version(text: &str) -> Result<Version> {
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .with_context(|| format!("no `{name}`"))
    };
    let release = field("release: ")?;
    let Some(rust) = parse_release(release) else {
        bail!("release `{release}`");
    };
    let llvm = field("LLVM version: ")?;
    let major = llvm.split('.').next().unwrap_or(llvm);
    Ok(Version {
        rust,
        llvm: major.parse().with_context(|| format!("LLVM `{llvm}`"))?,
    })
}

/// The first two numbers of a Rust version such as `1.96.0+dfsg1-1` or `1.97.0-nightly`.
pub(crate) fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_rustc() {
        let text = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\n\
                    binary: rustc\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        let expected = Version {
            rust: (1, 96),
            llvm: 22,
        };
        assert_eq!(parse_version(text).unwrap(), expected);
        assert!(parse_version("rustc 1.96.0").is_err());
    }

    #[test]
    fn releases_of_debian_and_of_nightlies_are_read() {
        assert_eq!(parse_release("1.96.0+dfsg1-1~deb12u2"), Some((1, 96)));
        assert_eq!(parse_release("1.97.0-nightly"), Some((1, 97)));
        assert_eq!(parse_release("(none)"), None);
    }
}
