//! `cargo xtask check-arm64`: whether the agent and its tests compile for arm64.

use std::process::Command;

use anyhow::Result;

use crate::{
    build_ebpf::build_ebpf,
    command,
    setup::{self, For},
    workspace,
};

const TARGET: &str = "aarch64-unknown-linux-gnu";
/// How the programs of the C compiler are named.
const PREFIX: &str = "aarch64-linux-gnu";
const C_COMPILER: [&str; 2] = ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"];

/// Compiles as far as warnings and errors go, of which there must be none.
pub(crate) fn check_arm64() -> Result<()> {
    setup::setup(For::Checks)?;
    if !cfg!(target_arch = "aarch64") {
        setup::cross(TARGET, PREFIX, &C_COMPILER)?;
    }
    // The agent embeds it: the same for all machines of this byte order.
    build_ebpf(false)?;
    let mut cargo = Command::new("cargo");
    cargo.current_dir(workspace::root());
    cargo.args(["clippy", "--quiet", "--target", TARGET, "--all-targets"]);
    cargo.args(["--package", "falco-psp", "--package", "falco-psp-common"]);
    command::run(cargo.args(["--", "-D", "warnings"]))
}
