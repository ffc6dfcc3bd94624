//! `cargo xtask build`: the kernel side, then the agent that embeds it.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::{
    build_ebpf::build_ebpf,
    command,
    setup::{self, For},
    workspace,
};

/// Builds everything and returns the agent's path.
pub(crate) fn build(release: bool) -> Result<PathBuf> {
    setup::setup(For::Build)?;
    build_ebpf(false)?;
    let mut cargo = Command::new("cargo");
    cargo.current_dir(workspace::root());
    cargo.args(["build", "--package", "falco-psp", "--bin", "falco-psp"]);
    if release {
        cargo.arg("--release");
    }
    command::run(&mut cargo)?;
    let profile = if release { "release" } else { "debug" };
    Ok(workspace::target_dir().join(profile).join("falco-psp"))
}
