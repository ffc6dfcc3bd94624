//! `kubectl falco-psp`: the program under the name by which kubectl finds its plugins.

use std::ffi::OsStr;
use std::path::Path;

use clap::{Parser, Subcommand};

use super::Options;

/// What kubectl looks for in `PATH`; it writes an underscore for what is a dash in its own command.
pub const FILE_NAME: &str = "kubectl-falco_psp";

/// Which workloads of the cluster a candidate PodSecurityPolicy would break, and why.
///
/// Asks each falco-psp agent of the cluster for its report, through the API server, and makes one of
/// them. A pod that gives no report is named as what was not seen. Needs list of pods and get of
/// pods/proxy in the agents' namespace.
///
/// Exit code: 0 no workload breaks, 2 some do, 1 an error.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-falco_psp",
    bin_name = "kubectl falco-psp",
    display_name = "kubectl falco-psp",
    version
)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Plugin {
    /// What to do other than collecting.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Which agents are asked, and how.
    #[command(flatten)]
    pub options: Options,
}

/// What can be done besides collecting.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Prints what lets a shell complete the command line of kubectl-falco_psp
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Prints the manual page, for man(1)
    Man,
}

/// Whether the program was started under the plugin's name.
pub fn is_plugin(program: Option<&OsStr>) -> bool {
    let name = program.map(Path::new).and_then(Path::file_name);
    name == Some(OsStr::new(FILE_NAME))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Plugin::command().debug_assert();
    }

    #[test]
    fn only_the_name_counts() {
        for (program, expected) in [
            (Some("kubectl-falco_psp"), true),
            (Some("/usr/local/bin/kubectl-falco_psp"), true),
            (Some("/kubectl-falco_psp/falco-psp"), false),
            (Some("falco-psp"), false),
            (Some("kubectl-falco-psp"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(is_plugin(program.map(OsStr::new)), expected, "{program:?}");
        }
    }
}
