//! A run: the sources that were asked for are started, and what they give is judged until they
//! end or the run is told to stop.

mod audit;
mod ending;
mod live;
mod pages;
mod replay;

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Watch;
use crate::context::cluster::ConfigError;
use crate::listen::policy::document;
use crate::listen::{ListenError, Question, Step};
use crate::memory;
use crate::outputs::alert::Format;
use crate::outputs::{OutputCounts, OutputError, Outputs, lost as lost_alerts};
use crate::own_rules::OwnRules;
use crate::policies::Policies;
use crate::recording::{End, ReadError, RecordError, Recording, Start};
use crate::reload::{Next, Reloaded, Reloader};
use crate::report::answer::{Answer, RequestError, Requests, answer};
use crate::rules::Source;
use crate::sources::k8s_audit::file::LogError;
use crate::sources::k8s_audit::webhook::WebhookError;
use crate::sources::syscall::load::LoadError;
use audit::Audit;
use ending::Ending;
use live::Live;
use pages::Pages;
pub use replay::answer_of;

/// After this time without any audit event, that is told.
const SILENCE: Duration = Duration::from_secs(60);

/// Why a run failed.
#[derive(Debug, Error)]
pub enum WatchError {
    /// System calls cannot be observed.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The audit log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// There is no webhook.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// The API server cannot be asked.
    #[error(transparent)]
    Cluster(#[from] ConfigError),
    /// An output cannot be used.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The status pages cannot be served.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A report cannot be written.
    #[error(transparent)]
    Report(#[from] RequestError),
    /// What happens cannot be recorded.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A recording cannot be read.
    #[error(transparent)]
    Replay(#[from] ReadError),
    /// The system refuses something that it gives every process.
    #[error("cannot {what}: {why}")]
    System {
        /// What.
        what: &'static str,
        /// Why not.
        why: io::Error,
    },
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> WatchError {
    move |why| WatchError::System { what, why }
}

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether anything violates the policies, or a rule of the user's own has fired.
    pub violated: bool,
    /// Whether the run ended by itself: at the end of `--duration` or of the audit log.
    pub finite: bool,
}

/// Watches until the end of `--duration` or of the audit log, Ctrl-C or SIGTERM, and records it if
/// that is wanted; or judges a recording.
///
/// # Errors
/// See [`WatchError`].
pub async fn watch(
    options: &Watch,
    policies: Policies,
    own: OwnRules,
    recording: Option<Recording>,
) -> Result<Outcome, WatchError> {
    if let Some(path) = &options.replay {
        return replay::replay(path, options, policies, &own);
    }
    let reports = Requests::new(&options.report)?;
    let began = Instant::now();
    let recorder = recording.as_ref().map(Recording::recorder);
    let mut policies = Arc::new(policies);
    let mut own = own;
    say_text!("{}", own.blind(&options.sources()));
    let mut pages = Pages::start(options, &policies, &own).await?;
    let mut hangup = signal(SignalKind::hangup()).map_err(system("wait for SIGHUP"))?;
    let mut ordered = signal(SignalKind::user_defined1()).map_err(system("wait for SIGUSR1"))?;
    let mut ending = Ending::new()?;
    let settings = options.outputs.settings(alert_format(options));
    let (outputs, workers) = Outputs::start(&settings)?;
    let mut audit =
        Audit::start(options, &policies, &own, outputs.clone(), &pages.readiness).await?;
    pages.readiness.done(Step::Webhook);
    pages.readiness.done(Step::AuditLog);
    if let Some(recorder) = recorder {
        audit.auditor.record_to(recorder.clone());
    }
    let mut live = match options.sources().contains(&Source::Syscall) {
        true => {
            let readiness = &pages.readiness;
            let outputs = outputs.clone();
            Some(Live::start(options, &policies, &own, outputs, readiness, recorder).await?)
        }
        false => {
            if let Some(recorder) = recorder {
                recorder.start(Start::now(&options.sources(), None));
            }
            None
        }
    };
    memory::give_back_all();
    let host = live.as_ref().map(|live| live.host);
    let mut reloader = Reloader::new(options, host, recorder.is_some(), &policies, &own);
    let mut violated = false;

    let end = options.duration.map(tokio::time::sleep);
    tokio::pin!(end);
    let mut finite = false;
    let silence = tokio::time::sleep(SILENCE);
    tokio::pin!(silence);
    let mut may_be_silent = audit.wanted;
    let is_live = live.is_some();
    loop {
        let ended = async {
            match end.as_mut().as_pin_mut() {
                Some(end) => end.await,
                None => pending().await,
            }
        };
        let ready = async {
            match &mut live {
                Some(live) => live.wait().await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = ended => {
                finite = true;
                break;
            }
            () = ending.ordered() => break,
            _ = hangup.recv() => {
                outputs.reopen();
                reloader.order();
            }
            _ = ordered.recv() => {
                let answer = current(&policies, live.as_ref(), &audit);
                let reports = reports.clone();
                // A reader that takes nothing does not hold up the judging.
                tokio::task::spawn_blocking(move || match reports.is_empty() {
                    true => say_text!("{}", answer.text(false)),
                    // It is tried again at the end.
                    false => if let Err(why) = reports.write(&answer) {
                        say!("{why}");
                    },
                });
            }
            ready = ready => {
                ready.map_err(system("wait for the ring"))?;
                if let Some(live) = &mut live {
                    live.drain();
                }
            }
            question = pages.next() => {
                // Whoever asked may have gone.
                match question {
                    Question::Metrics(reply) => {
                        let metrics =
                            pages.metrics(live.as_ref(), &audit, &outputs, &policies, &own);
                        let _ = reply.send(metrics.text());
                    }
                    Question::Policy(reply) => {
                        let text = document(&policies, &own, &pages.since, &pages.reloads);
                        let _ = reply.send(text);
                    }
                    Question::Report(reply) => {
                        let report = current(&policies, live.as_ref(), &audit);
                        let _ = reply.send(Box::new(report));
                    }
                }
            }
            reloaded = reloader.next() => match reloaded {
                Reloaded::Unchanged => pages.reloads.error = None,
                Reloaded::Failed(message) => {
                    say!("{message}");
                    say!("reload failed: what was in force stays in force");
                    pages.reloads.note_failure(message);
                }
                Reloaded::Next(next) => {
                    let Next { policies: new, own: new_own, kernel } = *next;
                    for warning in &new.warnings {
                        say!("{warning}");
                    }
                    say_text!("{}{}", new_own.warnings, new_own.blind(&options.sources()));
                    let new = Arc::new(new);
                    let mut found = String::new();
                    violated |= audit.auditor.found_any();
                    if let (Some(live), Some(kernel)) = (&mut live, kernel) {
                        found += &live.judge_by(kernel, &new, &new_own, &policies)?;
                        violated |= live.violated_before;
                    }
                    if audit.wanted {
                        found += &audit.auditor.judge_by(Arc::clone(&new), &new_own);
                    }
                    say!("reloaded: {}; found until now, by what was in force:\n{}",
                        judged_by(&new, &new_own), found.trim_end());
                    (policies, own) = (new, new_own);
                    reloader.note_in_force(&policies, &own);
                    pages.since.note(&policies, &own);
                    pages.reloads.note_success();
                }
            },
            batch = audit.next(&outputs) => match batch {
                Some(batch) => audit.auditor.take(&batch),
                // All that was to be read is read.
                None if !is_live => {
                    finite = true;
                    break;
                }
                None => audit.batches = None,
            },
            () = &mut silence, if may_be_silent => {
                may_be_silent = false;
                if audit.auditor.counts.events() == 0 {
                    say!("no audit event received yet: does the API server send them here?");
                }
            }
        }
    }

    pages.readiness.missing(Step::Running);
    if let Some(live) = &mut live {
        live.stop();
    }
    let failed = audit.stop(&outputs, &mut ending).await;
    let answer = (!reports.is_empty()).then(|| current(&policies, live.as_ref(), &audit));
    let Audit {
        auditor,
        stats,
        wanted,
        ..
    } = audit;
    match (recorder, &live) {
        (Some(recorder), Some(live)) => live.record_end(recorder),
        (Some(recorder), None) => recorder.end(std::iter::empty(), End::after(began.elapsed())),
        (None, _) => {}
    }
    let of_pods = wanted.then(|| auditor.summary(stats.as_deref()));
    violated |= auditor.found_any();
    let mut text = String::new();
    if let Some(live) = &live {
        violated |= live.agent.judge.found_any(&policies);
        text += &live.summary(&policies).text();
    }
    text += &of_pods.unwrap_or_default();
    tell_end(workers.finish_unless(ending.hurried()).await, &text)?;
    pages.stop().await;
    let reported = match answer {
        Some(answer) => write(reports, answer, &mut ending).await,
        None => Ok(()),
    };
    if let Some(recording) = recording {
        say!("{}", recording.finish()?);
    }
    failed?;
    reported?;
    Ok(Outcome { violated, finite })
}

/// Writes the reports, unless whoever reads them takes so long that the run is told to end again.
async fn write(reports: Requests, answer: Answer, ending: &mut Ending) -> Result<(), WatchError> {
    let writing = tokio::task::spawn_blocking(move || reports.write(&answer));
    tokio::select! {
        written = writing => Ok(written.map_err(io::Error::other).map_err(system("write"))??),
        () = ending.hurried() => Ok(()),
    }
}

/// What was found until now.
fn current(policies: &Policies, live: Option<&Live>, audit: &Audit) -> Answer {
    let observed = live.map(|live| live.summary(policies));
    let declared = audit.wanted.then(|| audit.auditor.declared());
    answer(policies, observed.as_ref(), declared.as_ref(), "")
}

/// Tells the summary, and what became of the alerts: whatever did, the summary has the result.
fn tell_end(
    (counts, written): (Vec<OutputCounts>, io::Result<()>),
    summary: &str,
) -> Result<(), WatchError> {
    say_text!("{summary}{}", lost_alerts(&counts));
    match written {
        // Such as `head`, when it has enough.
        Err(why) if why.kind() == io::ErrorKind::BrokenPipe => {
            say!("the reader of standard output went away: alerts were left out");
            Ok(())
        }
        written => written.map_err(system("write to standard output")),
    }
}

fn alert_format(options: &Watch) -> Format {
    match options.json {
        true => Format::Json,
        false => Format::Text,
    }
}

/// By what a run judges, in the words of a header.
fn judged_by(policies: &Policies, own: &OwnRules) -> String {
    let names = (!policies.each.is_empty()).then(|| format!("policy {}", policies.names()));
    let parts: Vec<String> = names.into_iter().chain(own.describe()).collect();
    match parts.is_empty() {
        true => "no policy".to_owned(),
        false => parts.join(", "),
    }
}
