//! `cargo xtask run -- ARGS`: builds everything and runs the agent as root.

use std::{
    ffi::OsString,
    path::Path,
    process::{Command, ExitCode, ExitStatus},
};

use anyhow::{Context as _, Result};

use crate::{build, command, interrupts::Interrupts, workspace};

/// Runs the agent with these arguments; its exit code becomes ours.
pub(crate) fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let agent = build::build(build::Profile::Release)?;
    let mut command = as_root(&agent);
    command.args(arguments);
    // Ctrl-C is for the agent: it ends, and then we do.
    let _caught = Interrupts::catch()?;
    let status = command
        .status()
        .with_context(|| format!("cannot run `{}`", command::shown(&command)))?;
    Ok(exit_code(status))
}

/// A command that runs the program with root's rights.
pub(crate) fn as_root(program: &Path) -> Command {
    if workspace::is_root() {
        return Command::new(program);
    }
    let mut sudo = Command::new("sudo");
    sudo.arg(program);
    sudo
}

/// The exit code to pass on: the program's, or 1 where a signal ended it.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(1))
}
