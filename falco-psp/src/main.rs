//! Parses the command line, runs, and gives the exit code.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use falco_psp::cli::{CheckFormat, Cli, Command, ReportCommand, RulesFormat, Watch};
use falco_psp::collect::plugin::{self, Plugin};
use falco_psp::collect::{self, Options};
use falco_psp::config::{CommandLine, ConfigError};
use falco_psp::fields::{Source, list};
use falco_psp::outputs::alert::Format;
use falco_psp::own_rules::{OwnRules, OwnRulesError};
use falco_psp::policies::{self, Limits, Policies, PolicyError};
use falco_psp::recording::Recording;
use falco_psp::recording::redact::Redactor;
use falco_psp::report::answer::{
    Answer, Format as ReportFormat, Request, RequestError, Requests, merge,
};
use falco_psp::{
    check, compare, doctor, explain, memory, mend, privileges, say, say_text, validate, watch,
};
use tracing::level_filters::LevelFilter;

/// Violations were found.
const VIOLATIONS: u8 = 2;
/// Something is wrong with the order, a file or the machine.
const ERROR: u8 = 1;

fn main() -> ExitCode {
    if plugin::is_plugin(std::env::args_os().next().as_deref()) {
        return match Plugin::try_parse() {
            Ok(plugin) => end(run_plugin(plugin)),
            Err(help) => usage(&help),
        };
    }
    let line = match CommandLine::read(std::env::args_os()) {
        Ok(line) => line,
        Err(ConfigError::Usage(help)) => return usage(&help),
        Err(error @ ConfigError::Read { .. }) => {
            say!("falco-psp: {error}");
            return ExitCode::from(ERROR);
        }
        // Begins with the file's name.
        Err(error @ ConfigError::File(_)) => {
            say!("{error}");
            return ExitCode::from(ERROR);
        }
    };
    end(match line.cli.watch.print_config {
        true => print(&line.config()).map(|()| ExitCode::SUCCESS),
        false => run(line.cli),
    })
}

/// Prints what clap has to say.
fn usage(help: &clap::Error) -> ExitCode {
    let _ = help.print();
    // clap's own code for wrong usage, 2, means violations here.
    match help.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(ERROR),
    }
}

/// The exit code; tells an error.
fn end(ended: anyhow::Result<ExitCode>) -> ExitCode {
    match ended {
        Ok(code) => code,
        Err(error) => {
            // What is wrong with a file begins with the file's name.
            let of_file = matches!(error.downcast_ref(), Some(PolicyError::Policy(_)))
                || matches!(error.downcast_ref(), Some(OwnRulesError::Rules(_)));
            match of_file {
                true => say!("{error}"),
                false => say!("falco-psp: {error:#}"),
            }
            ExitCode::from(ERROR)
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Some(Command::Convert { policy, format }) => {
            let policies = load(&[policy], &Limits::default())?;
            print(&rules_text(&policies, format)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Check {
            psp,
            rules,
            json,
            format,
            report,
            namespace,
            exempt_namespace,
            files,
        }) => {
            let limits = Limits {
                exempt_namespaces: exempt_namespace,
                ..Limits::default()
            };
            let policies = load(&psp, &limits)?;
            let own = load_rules(&rules)?;
            say_text!("{}", own.blind(&[Source::K8sAudit]));
            let reports = Requests::new(&report)?;
            let alerts = if json { Format::Json } else { Format::Text };
            let checked = match check::check(&policies, &own, &files, &namespace, alerts) {
                Ok(checked) => checked,
                Err(nothing) => {
                    say!("{nothing}");
                    return Ok(ExitCode::from(ERROR));
                }
            };
            match format {
                CheckFormat::Text => {
                    print(&checked.alerts)?;
                    say_text!("{}", checked.summary);
                }
                CheckFormat::Json => {
                    let document = serde_json::to_string_pretty(&checked.document);
                    print(&(document.context("cannot write the result")? + "\n"))?;
                }
            }
            reports.write(&checked.answer)?;
            Ok(ExitCode::from(
                match (!checked.errors.is_empty(), checked.found_any) {
                    (true, _) => ERROR,
                    (false, true) => VIOLATIONS,
                    (false, false) => 0,
                },
            ))
        }
        Some(Command::Compare {
            psp,
            replay,
            audit_log,
            exempt_namespace,
            namespace,
            json,
            files,
        }) => {
            let limits = Limits {
                exempt_namespaces: exempt_namespace,
                ..Limits::default()
            };
            let load = |path: &PathBuf| load(std::slice::from_ref(path), &limits);
            let policies: Vec<Policies> = psp.iter().map(load).collect::<Result<_, _>>()?;
            let names = compare::names(&psp, &policies);
            let by = match (replay, audit_log) {
                (Some(path), _) => compare::By::Recording(path),
                (None, Some(path)) => compare::By::AuditLog(path),
                (None, None) => compare::By::Manifests { files, namespace },
            };
            let compared = compare::compare(names, policies, &by)?;
            print(&match json {
                true => compared.json().context("cannot write the result")?,
                false => compared.text(),
            })?;
            Ok(ExitCode::from(match compared.breaks_any() {
                true => VIOLATIONS,
                false => 0,
            }))
        }
        Some(Command::Mend {
            psp,
            policy,
            write,
            replay,
            exempt_namespace,
            namespace,
            files,
        }) => {
            let limits = Limits {
                exempt_namespaces: exempt_namespace,
                ..Limits::default()
            };
            let of = match policy {
                true => mend::Of::Policy,
                false => mend::Of::Manifests,
            };
            let by = mend::By {
                replay,
                files,
                namespace,
            };
            let mended = mend::mend(&psp, &limits, of, &by)?;
            print(&mended.diff)?;
            if write {
                mended.write()?;
            }
            say_text!("{}", mended.said());
            Ok(ExitCode::from(match mended.left.is_empty() {
                true => 0,
                false => VIOLATIONS,
            }))
        }
        Some(Command::Report {
            command: ReportCommand::Merge { report, files },
        }) => {
            let reports = requests(&report)?;
            let merged = merge(&files)?;
            reports.write(&merged)?;
            Ok(of_answer(&merged))
        }
        Some(Command::Report {
            command: ReportCommand::Collect(options),
        }) => collect(&options),
        Some(Command::Validate { files, json }) => {
            let validated = validate::validate(&files)?;
            if json {
                let document = serde_json::to_string_pretty(&validated.document);
                print(&(document.context("cannot write the result")? + "\n"))?;
            } else {
                print(&validated.text)?;
            }
            Ok(ExitCode::from(match validated.document.successful {
                true => 0,
                false => ERROR,
            }))
        }
        Some(Command::Explain {
            psp,
            rules,
            event,
            rule,
        }) => {
            let policies = load(&psp, &Limits::default())?;
            let own = load_rules(&rules)?;
            let given = explain::read(&event)?;
            let rules = own.after(&policies.rules);
            print(&explain::explain(&rules, &given, rule.as_deref())?)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Fields {
            source,
            markdown,
            names,
        }) => {
            let fields = list::select(source, &names).map_err(anyhow::Error::msg)?;
            print(&match markdown {
                true => list::markdown(&fields),
                false => list::text(&fields),
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Doctor) => {
            let checkup = doctor::examine();
            print(&checkup.report)?;
            Ok(ExitCode::from(if checkup.healthy { 0 } else { ERROR }))
        }
        Some(Command::Completions { shell }) => {
            print(&completions(shell, Cli::command(), "falco-psp"))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Man { command }) => {
            let mut all = Cli::command();
            // Gives each command its whole name.
            all.build();
            let page = match &command {
                None => all,
                Some(name) => all
                    .find_subcommand(name)
                    .with_context(|| format!("there is no command {name}"))?
                    .clone(),
            };
            print(&manual(page)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Record(record)) => {
            let redactor = Redactor::new(&record.redact).context("cannot leave out secrets")?;
            watch(&record.watch, Some((&record.file, redactor)))
        }
        None => watch(&cli.watch, None),
    }
}

/// What `kubectl falco-psp` does.
fn run_plugin(plugin: Plugin) -> anyhow::Result<ExitCode> {
    match plugin.command {
        None => return collect(&plugin.options),
        // A shell completes the file's own name; kubectl's two words are kubectl's to complete.
        Some(plugin::Command::Completions { shell }) => {
            print(&completions(shell, Plugin::command(), plugin::FILE_NAME))?;
        }
        Some(plugin::Command::Man) => print(&manual(Plugin::command())?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes one report of those of a cluster's agents.
fn collect(options: &Options) -> anyhow::Result<ExitCode> {
    let reports = requests(&options.report)?;
    let collected = collect::collect(options)?;
    reports.write(&collected)?;
    Ok(of_answer(&collected))
}

/// The reports that are wanted; as text if nobody says.
fn requests(wanted: &[Request]) -> Result<Requests, RequestError> {
    let text = Request {
        format: ReportFormat::Text,
        path: None,
    };
    match wanted {
        [] => Requests::new(&[text]),
        wanted => Requests::new(wanted),
    }
}

/// Whether some workload breaks.
fn of_answer(answer: &Answer) -> ExitCode {
    ExitCode::from(match answer.breaking {
        0 => 0,
        _ => VIOLATIONS,
    })
}

fn completions(shell: clap_complete::Shell, mut command: clap::Command, name: &str) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn manual(command: clap::Command) -> anyhow::Result<String> {
    let mut text = Vec::new();
    let page = clap_mangen::Man::new(command);
    page.render(&mut text).context("cannot write the page")?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Watches, and records into a file, without what the redactor finds, if there is to be one.
fn watch(options: &Watch, recording: Option<(&Path, Redactor)>) -> anyhow::Result<ExitCode> {
    let policies = load(&options.psp, &Limits::of(options))?;
    let own = load_rules(&options.rules)?;
    if let Some(path) = &options.psp_save {
        policies::save(path, &rules_text(&policies, options.psp_save_format)?)?;
    }
    log(options.verbose);
    let needed = privileges::needed(options, recording.is_some());
    privileges::keep_only(&needed).context("cannot give up privileges")?;
    memory::give_back();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    let recording = recording.map(|(path, redactor)| Recording::start(path, redactor));
    let recording = recording.transpose()?;
    let outcome = runtime.block_on(watch::watch(options, policies, own, recording));
    // A thread may be in the middle of a write that nobody reads.
    runtime.shutdown_background();
    let outcome = outcome?;
    let failed = outcome.finite && outcome.violated;
    Ok(ExitCode::from(if failed { VIOLATIONS } else { 0 }))
}

/// Reads the policies and tells what their author should know.
fn load(paths: &[PathBuf], limits: &Limits) -> anyhow::Result<Policies> {
    let policies = Policies::load(paths, limits)?;
    for warning in &policies.warnings {
        say!("{warning}");
    }
    Ok(policies)
}

/// Reads the user's own rules and tells what their author should know.
fn load_rules(paths: &[PathBuf]) -> anyhow::Result<OwnRules> {
    let own = OwnRules::load(paths)?;
    say_text!("{}", own.warnings);
    Ok(own)
}

/// The rules of the policies; tells what is left out.
fn rules_text(policies: &Policies, format: RulesFormat) -> anyhow::Result<String> {
    match format {
        RulesFormat::FalcoPsp => Ok(policies.text.clone()),
        RulesFormat::Falco => {
            let rules = policies.falco_rules()?;
            for reason in rules.reasons() {
                say!("{reason}");
            }
            Ok(rules.text)
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
        // It would be told where it could not be written.
        .log_internal_errors(false)
        .init();
}
