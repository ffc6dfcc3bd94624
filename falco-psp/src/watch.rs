//! A run: the policy becomes rules, the kernel side is started, and the agent judges until it is
//! told to stop.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};

use crate::agent::{Agent, Telling};
use crate::cli::Watch;
use crate::context::host::HostNamespaces;
use crate::control::Control;
use crate::convert::{self, ConvertError};
use crate::diagnostic::Diagnostic;
use crate::outputs::alert::Format;
use crate::psp;
use crate::report::summary::{Scope, Summary};
use crate::rules::{self, RuleSet, Source};
use crate::sources::syscall::ledger;
use crate::sources::syscall::load::{KernelSide, LoadError, Options};
use crate::sources::syscall::reader::Reader;

/// Records that are taken in a row before signals are looked at again.
const BATCH: usize = 4_096;
/// How often the ledger is looked at for losses.
const LEDGER_TICK: Duration = Duration::from_secs(1);

/// Why a run failed.
#[derive(Debug, Error)]
pub enum WatchError {
    /// The policy cannot be used.
    #[error("{}", lines(.0))]
    Policy(Vec<Diagnostic>),
    /// The policy cannot be turned into rules.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// The rules that the policy became do not load: a defect of falco-psp.
    #[error("falco-psp made rules that it cannot load; please report this:\n{}", lines(.0))]
    Rules(Vec<Diagnostic>),
    /// The rules cannot be saved.
    #[error("cannot write {}: {why}; name a file in a directory that exists", .path.display())]
    Save {
        /// Where.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// System calls cannot be observed.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The system refuses something that it gives every process.
    #[error("cannot {what}: {why}")]
    System {
        /// What.
        what: &'static str,
        /// Why not.
        why: io::Error,
    },
}

fn lines(diagnostics: &[Diagnostic]) -> String {
    let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// A policy made ready to judge.
pub struct Prepared {
    /// The policy's name.
    pub name: String,
    /// The text of its rules.
    pub text: String,
    /// The rules.
    pub rules: RuleSet,
    /// Controls that the policy restricts and no rule observes.
    pub unobserved: Vec<Control>,
    /// What the policy's scope rests on.
    pub scope: Scope,
    /// What its author should know.
    pub warnings: Vec<Diagnostic>,
}

/// Reads a policy and turns it into rules.
///
/// # Errors
/// The policy is none, or cannot be converted.
pub fn prepare(path: &Path) -> Result<Prepared, WatchError> {
    let (policy, mut warnings) = psp::load(path).map_err(WatchError::Policy)?;
    let converted = convert::rules_text(&policy)?;
    let file = Arc::from(format!("{} (as rules)", path.display()));
    let (rules, found) = rules::load(&file, &converted.text).map_err(WatchError::Rules)?;
    warnings.extend(found);
    Ok(Prepared {
        name: policy.name.clone(),
        scope: Scope {
            images: !policy.scope.images.is_empty(),
            namespaces: !policy.scope.namespaces.is_empty(),
        },
        text: converted.text,
        rules,
        unobserved: converted.unobserved,
        warnings,
    })
}

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether anything violates the policy.
    pub violated: bool,
    /// Whether the run ended by itself, at the end of `--duration`.
    pub finite: bool,
}

/// Watches until the end of `--duration`, Ctrl-C or SIGTERM.
///
/// # Errors
/// See [`WatchError`]. Whatever is wrong with the files shows before anything starts.
pub async fn watch(options: &Watch, policy: &Path) -> Result<Outcome, WatchError> {
    let prepared = prepare(policy)?;
    for warning in &prepared.warnings {
        eprintln!("{warning}");
    }
    if let Some(path) = &options.psp_save {
        fs::write(path, &prepared.text).map_err(|why| WatchError::Save {
            path: path.clone(),
            why,
        })?;
    }
    let Prepared {
        name,
        rules,
        unobserved,
        scope,
        ..
    } = prepared;
    let system = |what| move |why| WatchError::System { what, why };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("wait for Ctrl-C"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(system("wait for SIGTERM"))?;

    let host = HostNamespaces::find().map_err(LoadError::HostNamespaces)?;
    let event_types = rules.event_types();
    let kernel_options = Options {
        btf: &options.btf,
        ring_bytes: options.ring_size << 10,
        // A repeat that is to be printed has to be sent.
        deduplicate: !options.all,
    };
    let telling = Telling {
        format: if options.json {
            Format::Json
        } else {
            Format::Text
        },
        all: options.all,
    };
    let counts = rules.count_by_source();
    let count = |source| counts.get(&source).copied().unwrap_or(0);
    let (of_calls, of_pods) = (count(Source::Syscall), count(Source::K8sAudit));
    let mut agent = Agent::new(rules, telling, host).map_err(system("start a thread"))?;
    // First the hooks, then the scan: a container that starts between the two is seen by both.
    let mut kernel = KernelSide::start(&host, kernel_options, |name| event_types.contains(name))?;
    for missing in &kernel.missing {
        let fact = missing.fact.describe();
        eprintln!(
            "this kernel has no {}: without it no {fact}",
            missing.member
        );
    }
    let started = Instant::now();
    tracing::info!(ring_bytes = kernel_options.ring_bytes, "hooks attached");
    let found = agent.scan();
    let running: HashSet<&str> = found.iter().map(|(container, _)| &*container.id).collect();
    let hooks: Vec<&str> = kernel.hooks.iter().map(|hook| hook.tracepoint).collect();
    // In one piece: alerts may come at the same time.
    let header = format!(
        "falco-psp {}: policy {name}, {of_calls} rules (syscall; {of_pods} about manifests: see \
         falco-psp check), kernel {}, hooks {}, {} \
         containers found; watching{}",
        env!("CARGO_PKG_VERSION"),
        rustix::system::uname().release().to_string_lossy(),
        hooks.join(" "),
        running.len(),
        match options.duration {
            Some(span) => format!(" for {} s", span.as_secs_f64()),
            None => ", Ctrl-C ends".to_owned(),
        }
    );
    eprintln!("{header}");

    agent.judge_found(found);
    let mut reader = Reader::new(kernel.take_ring()?).map_err(system("wait for the ring"))?;
    let end = options.duration.map(|span| tokio::time::sleep(span));
    tokio::pin!(end);
    let mut finite = false;
    let mut last_look = Instant::now();
    let mut lost_before = 0;
    loop {
        let ended = async {
            match end.as_mut().as_pin_mut() {
                Some(end) => end.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = ended => {
                finite = true;
                break;
            }
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            ready = reader.wait() => ready.map_err(system("wait for the ring"))?,
        }
        reader.drain(BATCH, |record| agent.take(record));
        #[cfg(feature = "debug-log")]
        kernel.flush_log();
        if last_look.elapsed() >= LEDGER_TICK {
            last_look = Instant::now();
            let lost = lost(&kernel);
            if lost > lost_before {
                agent.tell_loss(lost - lost_before);
                lost_before = lost;
            }
        }
    }

    kernel.disarm();
    while reader.drain(BATCH, |record| agent.take(record)) > 0 {}
    let lost = lost(&kernel);
    if lost > lost_before {
        agent.tell_loss(lost - lost_before);
    }
    for (posture, times) in kernel.repeats() {
        agent.repeated(posture, times);
    }
    let unwritten = agent.finish().map_err(system("write to standard output"))?;
    let summary = Summary {
        elapsed: started.elapsed(),
        rules: agent.rules(),
        tally: &agent.tally,
        containers: agent.containers().collect(),
        ledger: ledger::read(&kernel.ledger).unwrap_or_default(),
        fates: agent.fates,
        unwritten,
        unobserved: &unobserved,
        scope,
    };
    eprint!("{}", summary.text());
    Ok(Outcome {
        violated: !agent.tally.is_empty(),
        finite,
    })
}

/// Events lost so far.
fn lost(kernel: &KernelSide) -> u64 {
    match ledger::read(&kernel.ledger) {
        Ok(ledger) => ledger.iter().map(|(_, counts)| counts.lost()).sum(),
        Err(error) => {
            tracing::warn!(%error, "the ledger cannot be read");
            0
        }
    }
}
