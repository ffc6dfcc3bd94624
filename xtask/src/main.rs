//! Sets up, builds, runs and tests falco-psp.

mod bench;
mod btf;
mod build;
mod build_ebpf;
mod check_arm64;
mod command;
mod debian;
mod demo;
mod elf;
mod fuzz;
mod image;
mod interrupts;
mod readme;
mod run;
mod setup;
mod test;
mod toolchain;
mod vm;
mod workspace;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Sets up, builds, runs and tests falco-psp"
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing to build and test; silent when nothing is
    Setup,
    /// Build the kernel side into target/falco-psp-ebpf.o
    BuildEbpf {
        /// Let the programs log what they do (slow; for debugging)
        #[arg(long)]
        debug_log: bool,
    },
    /// Reduce a kernel's types to what the agent looks for, for its tests
    Btf(btf::Request),
    /// Build the kernel side and the agent
    Build {
        /// Build the agent with optimisations
        #[arg(long)]
        release: bool,
    },
    /// Build everything and run the agent as root: cargo xtask run -- ARGS
    Run {
        /// Arguments of falco-psp
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Show real alerts: start a container that breaks an example policy, and watch it
    Demo {
        /// Take this agent, without set-up and build
        #[arg(long, hide = true)]
        agent: Option<PathBuf>,
    },
    /// Build an image for container runtimes: an OCI archive, without registry and Docker daemon
    Image(image::Request),
    /// Measure, and print figures beside a baseline of the same run
    Bench {
        /// What
        what: bench::Bench,
    },
    /// Fuzz what reads input from outside; needs a nightly toolchain
    Fuzz {
        /// Only this
        target: Option<fuzz::Target>,
        /// For how long, each
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Set up, build and run every check and test
    Test {
        /// Leave out the tests that start containers as root
        #[arg(long)]
        no_live: bool,
        /// Then also check-arm64 and vm all
        #[arg(long, conflicts_with = "no_live")]
        all: bool,
    },
    /// Check that the agent and its tests compile for arm64, without warnings
    CheckArm64,
    /// Run the live tests on other kernels, in an emulated machine; needs apt
    Vm {
        /// Which
        #[arg(default_value = "all")]
        kernel: vm::Which,
    },
}

fn main() -> ExitCode {
    match run_task(Cli::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_task(task: Task) -> Result<ExitCode> {
    match task {
        Task::Setup => setup::setup(setup::For::Tests)?,
        Task::BuildEbpf { debug_log } => {
            build_ebpf::build_ebpf(debug_log)?;
        }
        Task::Build { release } => {
            build::build(match release {
                true => build::Profile::Release,
                false => build::Profile::Debug,
            })?;
        }
        Task::Btf(request) => btf::btf(&request)?,
        Task::Run { arguments } => return run::run(&arguments),
        Task::Demo { agent } => return demo::demo(agent),
        Task::Image(request) => image::image(request)?,
        Task::Bench { what } => bench::bench(what)?,
        Task::Fuzz { target, seconds } => fuzz::fuzz(target, seconds)?,
        Task::Vm { kernel } => vm::vm(kernel)?,
        Task::Test { no_live, all } => test::test(!no_live, all)?,
        Task::CheckArm64 => check_arm64::check_arm64()?,
    }
    Ok(ExitCode::SUCCESS)
}
