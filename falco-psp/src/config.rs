//! `--config`: the options of a run in a YAML file, under the names of their flags; and
//! `--print-config`, which writes such a file.
//!
//! What the file says is put in front of the command line as flags, so each option is read by the
//! one parser that it has. An option that is on the command line is not taken from the file.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory as _, FromArgMatches as _};
use serde_yaml::{Mapping, Value as Yaml};
use thiserror::Error;

use crate::cli::Cli;
use crate::diagnostic::{Diagnostic, nearest};
use crate::input;
use crate::yaml::{self, Node};

/// The options that are about the file itself.
const NOT_IN_FILE: [&str; 4] = ["config", "print-config", "help", "version"];

/// Why a command line or its configuration file cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The command line: to be printed as clap does. Help and version are of this kind as well.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// The file cannot be read.
    #[error("cannot read {}: {why}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// What is wrong in the file.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    File(Vec<Diagnostic>),
}

/// A command line that was read, with the configuration file that it names.
#[derive(Debug)]
pub struct CommandLine {
    /// What it says.
    pub cli: Cli,
    matches: ArgMatches,
}

impl CommandLine {
    /// Reads a command line, the program's name first.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, ConfigError> {
        let mut arguments: Vec<OsString> = arguments.into_iter().collect();
        // Only to find the file and what is given beside it: errors are told below.
        let first = Cli::command()
            .ignore_errors(true)
            .try_get_matches_from(&arguments);
        if let Ok(first) = first
            && let Ok(Some(path)) = first.try_get_one::<PathBuf>("config")
        {
            let text = input::read_text(path).map_err(|why| ConfigError::Read {
                path: path.clone(),
                why,
            })?;
            let file = Arc::from(path.display().to_string());
            let flags = flags(&file, &text, &first)?;
            let place = arguments.len().min(1);
            arguments.splice(place..place, flags);
        }
        let matches = Cli::command().try_get_matches_from(arguments)?;
        let cli = Cli::from_arg_matches(&matches)?;
        Ok(Self { cli, matches })
    }

    /// The options in force as a configuration file.
    pub fn config(&self) -> String {
        let command = Cli::command();
        let mut config = Mapping::new();
        for (name, argument) in options(&command) {
            let id = argument.get_id().as_str();
            let texts = || -> Vec<Yaml> {
                let raw = self.matches.get_raw(id).into_iter().flatten();
                raw.map(|text| text.to_string_lossy().into_owned().into())
                    .collect()
            };
            let value = match argument.get_action() {
                ArgAction::SetTrue => self.matches.get_flag(id).into(),
                ArgAction::Count => self.matches.get_count(id).into(),
                ArgAction::Append => texts().into(),
                _ => match texts().pop() {
                    Some(text) => text,
                    None => continue,
                },
            };
            config.insert(name.into(), value);
        }
        // Texts, numbers and lists of texts: cannot fail.
        serde_yaml::to_string(&config).unwrap_or_default()
    }
}

/// The options that a file can have, by name.
fn options(command: &Command) -> impl Iterator<Item = (&str, &Arg)> {
    let named = command
        .get_arguments()
        .filter_map(|argument| Some((argument.get_long()?, argument)));
    named.filter(|(name, _)| !NOT_IN_FILE.contains(name))
}

/// What a file says, as flags; without those that are on the command line.
fn flags(file: &Arc<str>, text: &str, given: &ArgMatches) -> Result<Vec<OsString>, ConfigError> {
    let documents = yaml::parse(file, text).map_err(|error| ConfigError::File(vec![error]))?;
    let document = match documents.as_slice() {
        [] => return Ok(Vec::new()),
        [one] if one.is_null() => return Ok(Vec::new()),
        [one] => one,
        [_, second, ..] => {
            let message = "a second document; write one";
            let error = Diagnostic::error(file, second.position, message);
            return Err(ConfigError::File(vec![error]));
        }
    };
    let Some(entries) = document.as_mapping() else {
        let message = format!(
            "options with their values are expected, not {}",
            document.kind()
        );
        let error = Diagnostic::error(file, document.position, message);
        return Err(ConfigError::File(vec![error]));
    };
    let command = Cli::command();
    let mut all = Vec::new();
    let mut errors = Vec::new();
    for (key, value) in entries {
        let name = key.as_text().unwrap_or_default();
        let Some((name, argument)) = options(&command).find(|(known, _)| *known == name) else {
            let message = format!("unknown option \"{name}\"");
            let meant = nearest(&name, options(&command).map(|(known, _)| known));
            let mut error = Diagnostic::error(file, key.position, message);
            if let Some(meant) = meant {
                error = error.with_help(format!("did you mean {meant}?"));
            }
            errors.push(error);
            continue;
        };
        match flags_of(name, argument.get_action(), value) {
            Ok(flags) => {
                for (flag, node) in &flags {
                    if let Some(message) = wrong_value(flag) {
                        errors.push(Diagnostic::error(file, node.position, message));
                    }
                }
                let source = given.value_source(argument.get_id().as_str());
                let is_given = source == Some(ValueSource::CommandLine);
                // To say the default is to say nothing: it needs no other option.
                if !is_given && !is_default(name, argument, &flags) {
                    all.extend(flags.into_iter().map(|(flag, _)| flag.into()));
                }
            }
            Err((node, expected)) => {
                let message = format!("{name} takes {expected}, not {}", node.kind());
                errors.push(Diagnostic::error(file, node.position, message));
            }
        }
    }
    match errors.is_empty() {
        true => Ok(all),
        false => Err(ConfigError::File(errors)),
    }
}

fn is_default(name: &str, argument: &Arg, flags: &Flags<'_>) -> bool {
    let defaults = argument.get_default_values().iter();
    let defaults = defaults.map(|value| format!("--{name}={}", value.to_string_lossy()));
    defaults.eq(flags.iter().map(|(flag, _)| flag.clone()))
}

type Flags<'a> = Vec<(String, &'a Node)>;

/// The flags that say the same as an option of a file, or what is wrong with its value.
fn flags_of<'a>(
    name: &str,
    action: &ArgAction,
    value: &'a Node,
) -> Result<Flags<'a>, (&'a Node, &'static str)> {
    let with_value = |node: &'a Node| {
        let text = node.as_text().ok_or((node, "a text or a number"))?;
        Ok((format!("--{name}={text}"), node))
    };
    let repeated = |times| vec![(format!("--{name}"), value); times];
    match action {
        ArgAction::SetTrue => {
            let is_set = value.as_bool().ok_or((value, "true or false"))?;
            Ok(repeated(usize::from(is_set)))
        }
        ArgAction::Count => {
            let times = value.as_int().and_then(|times| u8::try_from(times).ok());
            Ok(repeated(times.ok_or((value, "a small number"))?.into()))
        }
        ArgAction::Append => match value.as_sequence() {
            Some(items) => items.iter().map(with_value).collect(),
            None => Ok(vec![with_value(value)?]),
        },
        _ => Ok(vec![with_value(value)?]),
    }
}

/// What is wrong with the value of a flag, in the words of the command line's parser.
fn wrong_value(flag: &str) -> Option<String> {
    let error = Cli::command()
        .try_get_matches_from(["falco-psp", flag])
        .err()?;
    // Others are about options that are missing: the whole command line tells.
    let is_value = matches!(
        error.kind(),
        ErrorKind::ValueValidation | ErrorKind::InvalidValue
    );
    let text = error.to_string();
    let first = text.lines().next()?.trim_start_matches("error: ");
    is_value.then(|| first.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(config: &str, flags: &[&str]) -> Result<CommandLine, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.yaml");
        std::fs::write(&path, config).unwrap();
        let mut line: Vec<OsString> = vec!["falco-psp".into(), "--config".into(), path.into()];
        line.extend(flags.iter().map(OsString::from));
        CommandLine::read(line)
    }

    fn error(config: &str) -> String {
        let error = read(config, &["--psp", "p.yaml"]).unwrap_err().to_string();
        // Without the folder.
        error.rsplit_once("c.yaml").unwrap().1.to_owned()
    }

    #[test]
    fn the_file_says_what_flags_say_and_flags_win() {
        let config = "psp: p.yaml\nrules: [a.yaml, b.yaml]\nduration: 10s\njson: true\n\
                      all: false\nverbose: 2\nring-size: 64\noutput: [stdout, syslog]\n";
        let watch = read(config, &[]).unwrap().cli.watch;
        assert_eq!(watch.psp, [PathBuf::from("p.yaml")]);
        assert_eq!(watch.rules.len(), 2);
        assert!(watch.json && !watch.all);
        assert_eq!((watch.verbose, watch.ring_size), (2, 64));
        assert_eq!(watch.outputs.output.len(), 2);
        let watch = read(config, &["--psp", "q.yaml", "--ring-size=128"]);
        let watch = watch.unwrap().cli.watch;
        assert_eq!(watch.psp, [PathBuf::from("q.yaml")]);
        assert_eq!(watch.ring_size, 128);
        assert!(read("", &["--psp", "q.yaml"]).is_ok());
    }

    #[test]
    fn what_is_printed_says_the_same() {
        let line = read(
            "psp: [p.yaml]\naudit-listen: 127.0.0.1:9765\nnamespace: [a, b]\nnode-name: n1\n\
             kubeconfig: k.yaml\nreport: [text, 'html:a.html']\n",
            &["-vv", "--duration", "5s"],
        );
        let printed = line.unwrap().config();
        let again = read(&printed, &[]).unwrap();
        assert_eq!(again.config(), printed);
        for part in [
            "psp:\n- p.yaml\n",
            "audit-listen: 127.0.0.1:9765\n",
            "verbose: 2\n",
            "duration: 5s\n",
            "node-name: n1\n",
            "kubeconfig: k.yaml\n",
            "report:\n- text\n- html:a.html\n",
        ] {
            assert!(printed.contains(part), "{printed}");
        }
    }

    #[test]
    fn every_option_can_be_said() {
        let command = Cli::command();
        let all = command.get_arguments().filter_map(Arg::get_long);
        for name in all.filter(|name| !NOT_IN_FILE.contains(name)) {
            let (_, argument) = options(&command).find(|(n, _)| *n == name).unwrap();
            let known = matches!(
                argument.get_action(),
                ArgAction::SetTrue | ArgAction::Count | ArgAction::Append | ArgAction::Set
            );
            assert!(known, "{name}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (config, expected) in [
            ("a: [", ":1:"),
            ("- psp\n", ":1:1: error: options with their values"),
            ("psp: p\n---\npsp: q\n", ":3:1: error: a second document"),
            (
                "json: true\nring_size: 64\n",
                ":2:1: error: unknown option \"ring_size\"",
            ),
            ("config: x\n", ":1:1: error: unknown option \"config\""),
            ("json: maybe\n", ":1:7: error: json takes true or false"),
            ("duration: [1]\n", ":1:11: error: duration takes a text"),
            (
                "all: true\nduration: 10x\n",
                ":2:11: error: invalid value '10x' for '--duration <TIME>'",
            ),
        ] {
            let error = error(config);
            assert!(error.contains(expected), "{config}: {error}");
        }
        let missing = CommandLine::read(["x", "--config", "/nowhere/c.yaml"].map(OsString::from));
        let missing = missing.unwrap_err().to_string();
        assert!(
            missing.starts_with("cannot read /nowhere/c.yaml"),
            "{missing}"
        );
    }
}
