//! `cargo xtask build`: the kernel side, then the agent that embeds it.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::{
    build_ebpf::build_ebpf,
    command,
    setup::{self, For},
    workspace,
};

/// How the agent is built.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Profile {
    /// Fast to build.
    Debug,
    /// Fast to run.
    Release,
    /// As it is shipped: small, too.
    Dist,
}

/// Builds everything and returns the agent's path.
pub(crate) fn build(profile: Profile) -> Result<PathBuf> {
    setup::setup(For::Build)?;
    build_ebpf(false)?;
    let (name, folder) = match profile {
        Profile::Debug => ("dev", "debug"),
        Profile::Release => ("release", "release"),
        Profile::Dist => ("dist", "dist"),
    };
    let mut cargo = Command::new("cargo");
    cargo.current_dir(workspace::root());
    cargo.args(["build", "--package", "falco-psp", "--bin", "falco-psp"]);
    cargo.args(["--profile", name]);
    command::run(&mut cargo)?;
    Ok(workspace::target_dir().join(folder).join("falco-psp"))
}
