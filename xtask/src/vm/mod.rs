//! `cargo xtask vm`: the live tests on other kernels, in a virtual machine.
//!
//! The machine is emulated, so that nothing of the host's kernel is needed. In its memory are the
//! live tests, the agent, runc and busybox, at the same paths as here, and nothing else.

mod guest;
mod packages;

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;

use crate::{
    build_ebpf::build_ebpf,
    command,
    setup::{self, For},
    workspace,
};
use packages::Kernel;

/// Which kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Which {
    /// Linux 6.1, of Debian 12
    #[value(name = "6.1")]
    V6_1,
    /// Linux 6.12, of Debian 13 and of Debian 12's backports
    #[value(name = "6.12")]
    V6_12,
    /// All of these
    All,
}

/// What the guest prints before the exit code of the tests.
const RESULT: &str = "falco-psp live tests ended: ";
/// A machine that does not end by itself is killed after this time.
const LONGEST: &str = "600";

/// Runs the live tests on the kernels.
pub(crate) fn vm(which: Which) -> Result<()> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the virtual machines are for x86_64"
    );
    setup::setup(For::Tests)?;
    build_ebpf(false)?;
    let kernels = match which {
        Which::V6_1 => vec![Which::V6_1],
        Which::V6_12 => vec![Which::V6_12],
        Which::All => vec![Which::V6_1, Which::V6_12],
    };
    let qemu = packages::qemu()?;
    let memory = guest::memory()?;
    for kernel in kernels {
        let kernel = packages::kernel(match kernel {
            Which::V6_1 => r"^linux-image-6\.1\.[0-9.-]*-cloud-amd64$",
            Which::V6_12 | Which::All => r"^linux-image-6\.12\.[0-9.]*\+deb1[23]-cloud-amd64$",
        })?;
        run(&qemu, &kernel, &memory)?;
    }
    Ok(())
}

fn run(qemu: &packages::Qemu, kernel: &Kernel, memory: &std::path::Path) -> Result<()> {
    eprintln!("==> live tests on {}", kernel.name);
    let start = Instant::now();
    let mut machine = Command::new("timeout");
    machine.arg(LONGEST).arg(&qemu.program);
    machine.env("LD_LIBRARY_PATH", &qemu.libraries);
    for folder in &qemu.firmware {
        machine.arg("-L").arg(folder);
    }
    machine.args([
        "-M",
        "q35,hpet=off",
        "-cpu",
        "max",
        "-smp",
        "1",
        "-m",
        "2048",
    ]);
    machine.args(["-accel", "tcg,thread=multi,tb-size=256"]);
    machine.args(["-nodefaults", "-no-user-config", "-display", "none"]);
    machine.args(["-serial", "stdio", "-no-reboot"]);
    machine.arg("-kernel").arg(&kernel.image);
    machine.arg("-initrd").arg(memory);
    machine.args([
        "-append",
        "console=ttyS0 quiet panic=-1 tsc=reliable nokaslr mitigations=off",
    ]);
    let output = machine
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run `{}`", command::shown(&machine)))?;
    let said = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    eprint!("{said}");
    let code = said
        .lines()
        .find_map(|line| line.strip_prefix(RESULT))
        .map(str::trim);
    match code {
        Some("0") => {}
        Some(code) => bail!("the live tests fail on {}: exit code {code}", kernel.name),
        None => bail!("the machine with {} did not come to its end", kernel.name),
    }
    eprintln!(
        "==> live tests on {}: passed in {:.0} s",
        kernel.name,
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Where all of it is kept.
fn folder() -> std::path::PathBuf {
    workspace::target_dir().join("vm")
}
