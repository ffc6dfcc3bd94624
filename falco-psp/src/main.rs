//! Parses the command line, runs, and gives the exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use clap::error::ErrorKind;
use falco_psp::cli::{Cli, Command};
use falco_psp::outputs::alert::Format;
use falco_psp::watch::WatchError;
use falco_psp::{check, doctor, watch};
use tracing::level_filters::LevelFilter;

/// Violations were found.
const VIOLATIONS: u8 = 2;
/// Something is wrong with the order, a file or the machine.
const ERROR: u8 = 1;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(help) => {
            let _ = help.print();
            // clap's own code for wrong usage, 2, means violations here.
            return match help.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(ERROR),
            };
        }
    };
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            // What is wrong with a file begins with the file's name.
            match error.downcast_ref() {
                Some(WatchError::Policy(_)) => eprintln!("{error}"),
                _ => eprintln!("falco-psp: {error:#}"),
            }
            ExitCode::from(ERROR)
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Some(Command::Convert { policy }) => {
            let prepared = watch::prepare(&policy)?;
            for warning in &prepared.warnings {
                eprintln!("{warning}");
            }
            print(&prepared.text)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Check {
            psp,
            json,
            namespace,
            files,
        }) => {
            let prepared = watch::prepare(&psp)?;
            for warning in &prepared.warnings {
                eprintln!("{warning}");
            }
            let format = if json { Format::Json } else { Format::Text };
            let checked = check::check(&prepared.rules, &files, &namespace, format);
            print(&checked.alerts)?;
            eprint!("{}", checked.summary);
            Ok(ExitCode::from(match (checked.failed, checked.denied) {
                (true, _) => ERROR,
                (false, true) => VIOLATIONS,
                (false, false) => 0,
            }))
        }
        Some(Command::Doctor) => {
            let checkup = doctor::examine();
            print(&checkup.report)?;
            Ok(ExitCode::from(if checkup.healthy { 0 } else { ERROR }))
        }
        None => {
            let policy = cli.watch.psp.clone().context("--psp FILE is missing")?;
            log(cli.watch.verbose);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("cannot start")?;
            let outcome = runtime.block_on(watch::watch(&cli.watch, &policy))?;
            let failed = outcome.finite && outcome.violated;
            Ok(ExitCode::from(if failed { VIOLATIONS } else { 0 }))
        }
    }
}

/// Writes to standard output. A reader that has gone away (`| head`) is no error.
fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

fn log(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .init();
}
