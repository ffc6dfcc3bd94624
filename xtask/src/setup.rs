//! `cargo xtask setup`: installs what is missing, and is silent when nothing is.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    command,
    debian::{self, Others},
    elf,
    toolchain::{self, Compiler, OLDEST_RUST},
    workspace,
};

const DEBIAN_COMPILER: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];
const LINKER_VERSION: &str = "0.13.0";
/// The nightly to fetch: one with LLVM 22, which distributions have; bpf-linker needs the same.
const NIGHTLY: &str = "nightly-2026-05-15";

/// What the set-up is for; each includes those before it.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub(crate) enum For {
    /// Building the kernel side and the agent.
    Build,
    /// The checks and tests that need no root.
    Checks,
    /// Starting real containers, too.
    Tests,
}

/// Installs what is missing.
pub(crate) fn setup(purpose: For) -> Result<()> {
    c_compiler()?;
    let compiler = match Compiler::find() {
        Some(compiler) => compiler,
        None => install_compiler()?,
    };
    if toolchain::linker().is_none() {
        install_linker(&compiler).context("the linker for eBPF is missing")?;
    }
    if purpose >= For::Checks {
        rust_components()?;
    }
    if purpose >= For::Tests {
        container_tools()?;
    }
    Ok(())
}

fn c_compiler() -> Result<()> {
    if workspace::program("cc").is_some() {
        return Ok(());
    }
    if !debian::has_apt() {
        bail!(
            "`cc` is missing, which links Rust programs: install gcc and the C library's headers"
        );
    }
    let packages = ["gcc", "libc6-dev"];
    debian::install(
        &packages,
        Others::Stay,
        "`cc` is missing, which links Rust programs",
    )
}

fn install_compiler() -> Result<Compiler> {
    let (major, minor) = OLDEST_RUST;
    let why = "no compiler for eBPF: neither a rustup nightly with rust-src nor Debian's rustc-web";
    if debian_has_compiler()? {
        debian::install(&DEBIAN_COMPILER, Others::Stay, why)?;
    } else if let Some(rustup) = workspace::program("rustup") {
        let mut install = Command::new(rustup);
        install.args(["toolchain", "install", NIGHTLY, "--profile", "minimal"]);
        install.args(["--component", "rust-src"]);
        command::run_shown(&mut install, why)
            .context("cannot fetch a nightly with rust-src; is there a network?")?;
    } else {
        bail!(
            "{why}\nOn Debian 12 the packages are: {}\nElsewhere install rustup, then: \
             rustup toolchain install {NIGHTLY} --component rust-src",
            DEBIAN_COMPILER.join(" ")
        );
    }
    Compiler::find().with_context(|| {
        format!(
            "what was installed does not build for eBPF; Rust {major}.{minor} or newer is needed"
        )
    })
}

/// Whether Debian's compiler is to be had in a fitting version, without removing another.
fn debian_has_compiler() -> Result<bool> {
    if !debian::has_apt() {
        return Ok(false);
    }
    for other in ["rustc", "rustup"] {
        if debian::is_installed(other) {
            eprintln!("# Debian's rustc-web is no choice here: it would replace package {other}");
            return Ok(false);
        }
    }
    let fits = || -> Result<bool> {
        for package in DEBIAN_COMPILER {
            let found = debian::candidate(package)?;
            let version = found.as_deref().and_then(toolchain::parse_release);
            if version.is_none_or(|version| version < OLDEST_RUST) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    if fits()? {
        return Ok(true);
    }
    if !workspace::is_root() && workspace::program("rustup").is_some() {
        return Ok(false);
    }
    debian::update()?;
    fits()
}

fn install_linker(compiler: &Compiler) -> Result<()> {
    // The linker reads the compiler's bitcode, so both need the same LLVM.
    let llvm = compiler.llvm()?;
    let prefix = format!("/usr/lib/llvm-{llvm}");
    let library = format!("llvm-{llvm}-dev");
    let polly = format!("libpolly-{llvm}-dev");
    let packages = [library.as_str(), &polly, "zlib1g-dev", "libzstd-dev"];
    let has_library = Path::new(&prefix).join("bin/llvm-config").is_file()
        && Path::new(&prefix).join("include/llvm-c").is_dir();
    if debian::has_apt() {
        let installed = has_library && packages.iter().all(|name| debian::is_installed(name));
        if !installed {
            debian::install(&packages, Others::Stay, "bpf-linker is built with LLVM")
                .with_context(|| {
                    format!(
                        "no LLVM {llvm} from apt; https://apt.llvm.org has it for more releases"
                    )
                })?;
        }
    } else if !has_library {
        bail!(
            "bpf-linker is built with LLVM {llvm}, which is not in {prefix}. Install it with its \
             headers (Debian's packages: {}), then: cargo install bpf-linker --version \
             {LINKER_VERSION} --locked --no-default-features --features llvm-{llvm}",
            packages.join(" ")
        );
    }
    let mut install = Command::new("cargo");
    install.args(["install", "bpf-linker", "--locked", "--no-default-features"]);
    install.args([
        "--version",
        LINKER_VERSION,
        "--features",
        &format!("llvm-{llvm}"),
    ]);
    install.env("LLVM_PREFIX", &prefix);
    install.env(format!("LLVM_SYS_{llvm}1_PREFIX"), &prefix);
    // Nobody debugs it here; without this most of the build is debugging information.
    install.env("CARGO_PROFILE_RELEASE_DEBUG", "0");
    // The workspace's settings are not meant for other people's programs.
    install.current_dir("/");
    command::run_shown(
        &mut install,
        "bpf-linker is missing, which links eBPF programs",
    )
}

/// The folder of the compiler that builds the agent.
fn sysroot() -> Result<PathBuf> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "sysroot"]);
    let output = command::output(rustc.current_dir(workspace::root()))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("rustc does not run: {}", errors.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().into())
}

fn rust_components() -> Result<()> {
    let sysroot = sysroot()?;
    let missing: Vec<&str> = [("rustfmt", "cargo-fmt"), ("clippy", "cargo-clippy")]
        .into_iter()
        .filter(|(_, program)| !sysroot.join("bin").join(program).is_file())
        .map(|(component, _)| component)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let Some(rustup) = workspace::program("rustup") else {
        bail!(
            "{} missing beside rustc in {}/bin",
            missing.join(" and "),
            sysroot.display()
        );
    };
    let mut add = Command::new(rustup);
    add.args(["component", "add"]).args(&missing);
    add.current_dir(workspace::root());
    command::run_shown(&mut add, "the checks need them")
}

/// Installs what is missing to check the agent for another architecture: Rust's library, and a C
/// compiler for the parts of dependencies that are in C.
pub(crate) fn cross(target: &str, prefix: &str, packages: &[&str]) -> Result<()> {
    let compiler = format!("{prefix}-gcc");
    if workspace::program(&compiler).is_none() {
        let why = format!("`{compiler}` is missing, for what dependencies have in C");
        if !debian::has_apt() {
            bail!("{why}: install it, with the C library's headers");
        }
        debian::install(packages, Others::Stay, &why)?;
    }
    let sysroot = sysroot()?;
    if toolchain::has_core(&sysroot.join("lib/rustlib").join(target).join("lib")) {
        return Ok(());
    }
    let why = format!("Rust's library for {target} is missing");
    let Some(rustup) = workspace::program("rustup") else {
        bail!(
            "{why} beside rustc in {}: it comes with rustup",
            sysroot.display()
        );
    };
    let mut add = Command::new(rustup);
    add.args(["target", "add", target]);
    command::run_shown(add.current_dir(workspace::root()), &why)
        .context("cannot fetch it; is there a network?")
}

fn container_tools() -> Result<()> {
    let missing = missing_container_tools();
    if missing.is_empty() {
        return Ok(());
    }
    let needs = "real containers need runc, containerd, and a statically linked busybox at \
                 /bin/busybox";
    if !debian::has_apt() {
        bail!("{needs}: install {}", missing.join(" and "));
    }
    debian::install(&missing, Others::MayBeReplaced, needs)?;
    let missing = missing_container_tools();
    if !missing.is_empty() {
        bail!(
            "{needs}: still missing after installing {}",
            missing.join(" and ")
        );
    }
    Ok(())
}

/// Installs what reports are tried with, where that is easy: a browser, and what checks XML.
pub(crate) fn report_checkers() -> Result<()> {
    if !debian::has_apt() {
        return Ok(());
    }
    let packages = [("chromium", "chromium"), ("xmllint", "libxml2-utils")];
    let missing: Vec<&str> = packages
        .into_iter()
        .filter(|(program, _)| workspace::program(program).is_none())
        .map(|(_, package)| package)
        .collect();
    let why = "the page of a report is tried in a browser, JUnit's XML against its schema";
    debian::install(&missing, Others::Stay, why)
}

/// The packages of what is missing.
fn missing_container_tools() -> Vec<&'static str> {
    let mut packages = Vec::new();
    if workspace::program("runc").is_none() {
        packages.push("runc");
    }
    if workspace::program("containerd").is_none() || workspace::program("ctr").is_none() {
        packages.push("containerd");
    }
    if !has_static_busybox() {
        packages.push("busybox-static");
    }
    packages
}

/// Whether there is a busybox that runs in an otherwise empty container.
fn has_static_busybox() -> bool {
    elf::is_static(Path::new("/bin/busybox"))
}
