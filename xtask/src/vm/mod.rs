//! `cargo xtask vm`: the live tests on other kernels, in a virtual machine.
//!
//! The machine is emulated, so that nothing of the host's kernel is needed. In its memory are the
//! live tests, the agent, runc and busybox, at the same paths as here, and nothing else.

mod guest;
mod packages;

use std::{
    path::Path,
    process::{Command, Stdio},
    thread::{self, ScopedJoinHandle},
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;

use crate::{
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
/// What Debian's kernels and runc need, and no more: all that programs are kept from by SMAP and
/// the fifth level of page tables would be emulated, too.
const CPU: &str = "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16";
/// Without defences against attackers, of which there are none in the machine.
const KERNEL_OPTIONS: &str = "console=ttyS0 quiet panic=-1 tsc=reliable nokaslr mitigations=off \
                              init_on_alloc=0 randomize_kstack_offset=off";
/// Each share costs a start of the machine.
const MOST_SHARES: usize = 4;
/// A machine that does not end by itself is killed after this time.
const LONGEST: &str = "600";

/// Runs the live tests on the kernels.
pub(crate) fn vm(which: Which) -> Result<()> {
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the virtual machines are for x86_64"
    );
    setup::setup(For::Tests)?;
    let (v6_1, v6_12) = (
        r"^linux-image-6\.1\.[0-9.-]*-cloud-amd64$",
        r"^linux-image-6\.12\.[0-9.]*\+deb1[23]-cloud-amd64$",
    );
    let patterns = match which {
        Which::V6_1 => vec![v6_1],
        Which::V6_12 => vec![v6_12],
        Which::All => vec![v6_1, v6_12],
    };
    let kernels = patterns.into_iter().map(packages::kernel);
    let kernels: Vec<Kernel> = kernels.collect::<Result<_>>()?;
    let qemu = packages::qemu()?;
    let memory = guest::memory()?;
    // An emulated processor needs a real one.
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let of = (processors / kernels.len()).clamp(1, MOST_SHARES);
    let machines = kernels
        .iter()
        .flat_map(|kernel| (0..of).map(move |number| Machine { kernel, number, of }));
    let machines: Vec<Machine<'_>> = machines.collect();
    for at_once in machines.chunks(processors) {
        thread::scope(|scope| {
            let runs = at_once
                .iter()
                .map(|machine| scope.spawn(|| machine.run(&qemu, &memory)));
            let runs: Vec<_> = runs.collect();
            let mut ended = runs.into_iter().map(ScopedJoinHandle::join);
            ended.try_for_each(|ended| ended.unwrap_or_else(|_| bail!("a machine is not watched")))
        })?;
    }
    Ok(())
}

/// One that runs a share of the tests.
struct Machine<'k> {
    kernel: &'k Kernel,
    number: usize,
    /// How many there are of this kernel.
    of: usize,
}

impl Machine<'_> {
    fn run(&self, qemu: &packages::Qemu, memory: &Path) -> Result<()> {
        let Self { kernel, number, of } = self;
        let name = format!("{} ({} of {of})", kernel.name, number + 1);
        eprintln!("==> live tests on {name}");
        let start = Instant::now();
        let mut machine = Command::new("timeout");
        machine.arg(LONGEST).arg(&qemu.program);
        machine.env("LD_LIBRARY_PATH", &qemu.libraries);
        for folder in &qemu.firmware {
            machine.arg("-L").arg(folder);
        }
        machine.args(["-M", "q35,hpet=off", "-cpu", CPU, "-smp", "1", "-m", "2048"]);
        machine.args(["-accel", "tcg,thread=multi,tb-size=256"]);
        machine.args(["-nodefaults", "-no-user-config", "-display", "none"]);
        machine.args(["-serial", "stdio", "-no-reboot"]);
        machine.arg("-kernel").arg(&kernel.image);
        machine.arg("-initrd").arg(memory);
        // What the kernel does not know becomes a variable of the first program.
        let share = format!("{KERNEL_OPTIONS} machine={number} machines={of}");
        machine.arg("-append").arg(share);
        let output = machine
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot run `{}`", command::shown(&machine)))?;
        let said = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        // In one piece: others may write at the same time.
        eprint!("==> live tests on {name} said:\n{said}");
        let code = said
            .lines()
            .find_map(|line| line.strip_prefix(RESULT))
            .map(str::trim);
        match code {
            Some("0") => {}
            Some(code) => bail!("the live tests fail on {name}: exit code {code}"),
            None => bail!("the machine with {name} did not come to its end"),
        }
        eprintln!(
            "==> live tests on {name}: passed in {:.0} s",
            start.elapsed().as_secs_f64()
        );
        Ok(())
    }
}

/// Where all of it is kept.
fn folder() -> std::path::PathBuf {
    workspace::target_dir().join("vm")
}
