//! A run: the sources that were asked for are started, and what they give is judged until they
//! end or the run is told to stop.

use std::collections::HashSet;
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use falco_psp_common::record::Kind;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch as watch_channel};
use tokio::task::JoinHandle;

use crate::agent::Agent;
use crate::audit::Auditor;
use crate::cli::Watch;
use crate::context::cri::lookups::Lookups;
use crate::context::host::HostNamespaces;
use crate::listen::alerts::AlertCounts;
use crate::listen::metrics::{AuditMetrics, Metrics, SyscallMetrics};
use crate::listen::policy::{Since, document};
use crate::listen::{ListenError, Listener, Question, Readiness, Step, Topic};
use crate::outputs::alert::Format;
use crate::outputs::{OutputError, Outputs, lost as lost_alerts};
use crate::own_rules::OwnRules;
use crate::policies::Policies;
use crate::reload::{Next, Reloaded, Reloader, Reloads};
use crate::report::summary::Summary;
use crate::rules::{RuleSet, Source};
use crate::sources::k8s_audit::Batch;
use crate::sources::k8s_audit::file::{AuditLog, LogError, LogOptions};
use crate::sources::k8s_audit::webhook::{Config, PATH, Stats, TlsFiles, Webhook, WebhookError};
use crate::sources::syscall::ledger::{self, Counts};
use crate::sources::syscall::load::{KernelSide, LoadError, Options};
use crate::sources::syscall::reader::Reader;

/// Records that are taken in a row before signals are looked at again.
const BATCH: usize = 4_096;
/// How often the ledger is looked at for losses.
const LEDGER_TICK: Duration = Duration::from_secs(1);
/// How often containers that are gone are looked for.
const FORGET_TICK: Duration = Duration::from_secs(5);
/// Batches of audit events that may wait.
const QUEUE: usize = 16;
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
    /// An output cannot be used.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The status pages cannot be served.
    #[error(transparent)]
    Listen(#[from] ListenError),
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

/// Watches until the end of `--duration` or of the audit log, Ctrl-C or SIGTERM.
///
/// # Errors
/// See [`WatchError`].
pub async fn watch(
    options: &Watch,
    policies: Policies,
    own: OwnRules,
) -> Result<Outcome, WatchError> {
    let mut policies = Arc::new(policies);
    let mut own = own;
    eprint!("{}", own.blind(&sources(options)));
    let mut pages = Pages::start(options, &policies, &own).await?;
    let mut hangup = signal(SignalKind::hangup()).map_err(system("wait for SIGHUP"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("wait for Ctrl-C"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(system("wait for SIGTERM"))?;
    let format = match options.json {
        true => Format::Json,
        false => Format::Text,
    };
    let (outputs, workers) = Outputs::start(&options.outputs.settings(format))?;
    let mut audit = Audit::start(options, &policies, &own, outputs.clone()).await?;
    pages.readiness.done(Step::Webhook);
    pages.readiness.done(Step::AuditLog);
    let mut live = match sources(options).contains(&Source::Syscall) {
        true => {
            let readiness = &pages.readiness;
            Some(Live::start(options, &policies, &own, outputs.clone(), readiness).await?)
        }
        false => None,
    };
    let host = live.as_ref().map(|live| live.host);
    let mut reloader = Reloader::new(options, host, &policies, &own);
    let mut violated = false;

    let end = options.duration.map(tokio::time::sleep);
    tokio::pin!(end);
    let mut finite = false;
    let silence = tokio::time::sleep(SILENCE);
    tokio::pin!(silence);
    let mut may_be_silent = audit.wanted;
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
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = hangup.recv() => {
                outputs.reopen();
                reloader.order();
            }
            ready = ready => {
                ready.map_err(system("wait for the ring"))?;
                if let Some(live) = &mut live {
                    live.drain();
                }
            }
            question = pages.next() => {
                let text = match question.topic {
                    Topic::Metrics => pages
                        .metrics(live.as_ref(), &audit, &outputs, &policies, &own)
                        .text(),
                    Topic::Policy => document(&policies, &own, &pages.since, &pages.reloads),
                };
                // Whoever asked may have gone.
                let _ = question.reply.send(text);
            }
            reloaded = reloader.next() => match reloaded {
                Reloaded::Unchanged => pages.reloads.error = None,
                Reloaded::Failed(message) => {
                    eprintln!("{message}");
                    eprintln!("reload failed: what was in force stays in force");
                    pages.reloads.note_failure(message);
                }
                Reloaded::Next(next) => {
                    let Next { policies: new, own: new_own, kernel } = *next;
                    for warning in &new.warnings {
                        eprintln!("{warning}");
                    }
                    eprint!("{}{}", new_own.warnings, new_own.blind(&sources(options)));
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
                    eprintln!("reloaded: {}; found until now, by what was in force:\n{}",
                        judged_by(&new, &new_own), found.trim_end());
                    (policies, own) = (new, new_own);
                    reloader.note_in_force(&policies, &own);
                    pages.since.note(&policies, &own);
                    pages.reloads.note_success();
                }
            },
            batch = audit.next() => match batch {
                Some(batch) => audit.auditor.take(&batch),
                // All that was to be read is read.
                None if live.is_none() => {
                    finite = true;
                    break;
                }
                None => audit.batches = None,
            },
            () = &mut silence, if may_be_silent => {
                may_be_silent = false;
                if audit.auditor.counts.events() == 0 {
                    eprintln!("no audit event received yet: does the API server send them here?");
                }
            }
        }
    }

    pages.readiness.missing(Step::Running);
    if let Some(live) = &mut live {
        live.stop();
    }
    let failed = audit.stop().await;
    let Audit {
        auditor,
        stats,
        wanted,
        ..
    } = audit;
    let of_pods = wanted.then(|| auditor.summary(stats.as_deref()));
    violated |= auditor.found_any();
    // Whatever became of the alerts, the summary has the result.
    let (counts, written) = workers.finish();
    if let Some(live) = &live {
        violated |= live.any_violates_all(&policies) || live.own_fired(&policies);
        eprint!("{}", live.summary(&policies).text());
    }
    if let Some(text) = of_pods {
        eprint!("{text}");
    }
    eprint!("{}", lost_alerts(&counts));
    match written {
        // Such as `head`, when it has enough.
        Err(why) if why.kind() == io::ErrorKind::BrokenPipe => {
            eprintln!("the reader of standard output went away: alerts were left out");
        }
        written => written.map_err(system("write to standard output"))?,
    }
    pages.stop().await;
    failed?;
    Ok(Outcome { violated, finite })
}

/// The sources that a run takes events from.
fn sources(options: &Watch) -> Vec<Source> {
    let audit = options.audit_log.is_some() || options.audit_listen.is_some();
    let wanted = [
        (Source::Syscall, options.syscalls || !audit),
        (Source::K8sAudit, audit),
    ];
    let wanted = wanted.into_iter().filter(|(_, wanted)| *wanted);
    wanted.map(|(source, _)| source).collect()
}

/// By what a run judges, in the words of a header.
fn judged_by(policies: &Policies, own: &OwnRules) -> String {
    let names = (!policies.each.is_empty()).then(|| format!("policy {}", policies.names()));
    let parts: Vec<String> = names.into_iter().chain(own.describe()).collect();
    parts.join(", ")
}

/// The live source: the kernel side and what judges its records.
struct Live {
    kernel: KernelSide,
    agent: Agent,
    /// The policies', then the user's own.
    rules: Arc<RuleSet>,
    reader: Reader,
    started: Instant,
    last_look: Instant,
    last_forgetting: Instant,
    lost_before: u64,
    host: HostNamespaces,
    ring_bytes: u64,
    /// The ledgers of kernel sides that were replaced.
    ledgers_before: Vec<(Kind, Counts)>,
    /// Whether what was in force before was violated.
    violated_before: bool,
}

impl Live {
    async fn start(
        options: &Watch,
        policies: &Arc<Policies>,
        own: &OwnRules,
        outputs: Outputs,
        readiness: &Readiness,
    ) -> Result<Self, WatchError> {
        let host = HostNamespaces::find().map_err(LoadError::HostNamespaces)?;
        let rules = Arc::new(own.after(&policies.rules));
        let event_types = rules.event_types();
        let counts = rules.count_by_source();
        let count = |source| counts.get(&source).copied().unwrap_or(0);
        let (of_calls, of_pods) = (count(Source::Syscall), count(Source::K8sAudit));
        let mut agent = Agent::new(Arc::clone(&rules), options.all, host, outputs);
        let lookups = Lookups::start(options.cri.clone()).map_err(system("start a thread"))?;
        agent.look_up_with(lookups);
        agent.judge_by(Arc::clone(&rules), Arc::clone(policies));
        // First the hooks, then the scan: a container that starts between the two is seen by both.
        let for_kernel = options.clone();
        // It takes its time; whoever asks meanwhile gets an answer.
        let starting = tokio::task::spawn_blocking(move || {
            let options = Options::of(&for_kernel);
            KernelSide::start(&host, options, |name| event_types.contains(name))
        });
        let gone = |error| system("start a thread")(io::Error::other(error));
        let mut kernel = starting.await.map_err(gone)??;
        readiness.done(Step::Hooks);
        for missing in &kernel.missing {
            let fact = missing.fact.describe();
            eprintln!(
                "this kernel has no {}: without it no {fact}",
                missing.member
            );
        }
        let started = Instant::now();
        let ring_bytes = options.ring_size << 10;
        tracing::info!(ring_bytes, "hooks attached");
        let found = agent.scan();
        let running: HashSet<&str> = found.iter().map(|(container, _)| &*container.id).collect();
        let hooks: Vec<&str> = kernel.hooks.iter().map(|hook| hook.tracepoint).collect();
        // In one piece: alerts may come at the same time.
        let header = format!(
            "falco-psp {}: {}, {of_calls} rules (syscall; {of_pods} about declared pods), \
             kernel {}, hooks {}, {} containers found; watching{}",
            env!("CARGO_PKG_VERSION"),
            judged_by(policies, own),
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
        readiness.done(Step::FirstScan);
        let reader = Reader::new(kernel.take_ring()?).map_err(system("wait for the ring"))?;
        Ok(Self {
            kernel,
            agent,
            rules,
            reader,
            started,
            last_look: Instant::now(),
            last_forgetting: Instant::now(),
            lost_before: 0,
            host,
            ring_bytes: ring_bytes.into(),
            ledgers_before: Vec::new(),
            violated_before: false,
        })
    }

    /// Waits until it is worth draining.
    async fn wait(&mut self) -> io::Result<()> {
        tokio::select! {
            ready = self.reader.wait() => ready,
            () = self.agent.unsettled() => Ok(()),
        }
    }

    /// Judges by other policies and rules from now on, with the kernel side that they need; what
    /// was found until now, in words.
    ///
    /// The new hooks are attached already, and have their own memory of what they have sent. So no
    /// event is lost, and each state is told anew to the new rules. What happens just now may be
    /// judged by both.
    fn judge_by(
        &mut self,
        mut kernel: KernelSide,
        policies: &Arc<Policies>,
        own: &OwnRules,
        before: &Policies,
    ) -> Result<String, WatchError> {
        let reader = Reader::new(kernel.take_ring()?).map_err(system("wait for the ring"))?;
        self.stop();
        self.violated_before |= self.any_violates_all(before) || self.own_fired(before);
        let found = self.summary(before).found();
        self.ledgers_before = self.ledger();
        (self.kernel, self.reader) = (kernel, reader);
        self.rules = Arc::new(own.after(&policies.rules));
        self.agent
            .judge_by(Arc::clone(&self.rules), Arc::clone(policies));
        let running = self.agent.scan();
        self.agent.judge_again(running);
        self.started = Instant::now();
        Ok(found)
    }

    /// The ledgers of all kernel sides of the run, added up.
    fn ledger(&self) -> Vec<(Kind, Counts)> {
        let mut ledger = match ledger::read(&self.kernel.ledger) {
            Ok(ledger) => ledger,
            Err(error) => {
                tracing::warn!(%error, "the ledger cannot be read");
                return self.ledgers_before.clone();
            }
        };
        for ((_, counts), (_, before)) in ledger.iter_mut().zip(&self.ledgers_before) {
            *counts = counts.plus(*before);
        }
        ledger
    }

    /// Takes what is in the ring, and what was looked up.
    fn drain(&mut self) {
        self.agent.settle();
        self.reader.drain(BATCH, |record| self.agent.take(record));
        #[cfg(feature = "debug-log")]
        self.kernel.flush_log();
        if self.last_look.elapsed() >= LEDGER_TICK {
            self.last_look = Instant::now();
            self.tell_loss();
        }
        if self.last_forgetting.elapsed() >= FORGET_TICK {
            self.last_forgetting = Instant::now();
            self.agent.forget_gone();
        }
    }

    fn tell_loss(&mut self) {
        let lost = self.ledger().iter().map(|(_, counts)| counts.lost()).sum();
        if lost > self.lost_before {
            self.agent.tell_loss(lost - self.lost_before);
            self.lost_before = lost;
        }
    }

    /// Ends the watching, and takes what is left.
    fn stop(&mut self) {
        self.kernel.disarm();
        while self.reader.drain(BATCH, |record| self.agent.take(record)) > 0 {}
        self.agent.settle_all();
        self.tell_loss();
        for (posture, times) in self.kernel.repeats() {
            self.agent.repeated(posture, times);
        }
    }

    /// Whether some container conflicts with every policy: with one of several it may still be
    /// admitted by another.
    fn any_violates_all(&self, policies: &Policies) -> bool {
        let mut violated = self.agent.tally.violated().into_iter();
        violated.any(|rules| {
            let violated: HashSet<usize> = rules
                .into_iter()
                .filter_map(|rule| policies.policy_of(rule))
                .collect();
            let mut all = 0..policies.each.len();
            all.all(|policy| violated.contains(&policy))
        })
    }

    /// Whether a rule of the user's own has fired.
    fn own_fired(&self, policies: &Policies) -> bool {
        let violated = self.agent.tally.violated();
        let mut rules = violated.iter().flatten();
        rules.any(|rule| policies.policy_of(*rule).is_none())
    }

    fn summary<'a>(&'a self, policies: &'a Policies) -> Summary<'a> {
        Summary {
            elapsed: self.started.elapsed(),
            policies,
            rules: &self.rules,
            tally: &self.agent.tally,
            containers: self.agent.containers().collect(),
            departed: &self.agent.departed,
            ledger: self.ledger(),
            fates: self.agent.fates,
            metadata: self.agent.metadata_counts(),
        }
    }
}

/// The sources of audit events, and what judges them.
struct Audit {
    auditor: Auditor,
    /// `None` without a source, or when all have ended.
    batches: Option<mpsc::Receiver<Batch>>,
    wanted: bool,
    stop: watch_channel::Sender<bool>,
    log: Option<JoinHandle<Result<(), LogError>>>,
    stats: Option<Arc<Stats>>,
}

impl Audit {
    async fn start(
        options: &Watch,
        policies: &Arc<Policies>,
        own: &OwnRules,
        outputs: Outputs,
    ) -> Result<Self, WatchError> {
        let (sender, batches) = mpsc::channel(QUEUE);
        let (stop, stopped) = watch_channel::channel(false);
        let until_stopped = || {
            let mut stopped = stopped.clone();
            async move { drop(stopped.wait_for(|stopped| *stopped).await) }
        };
        let mut audit = Self {
            auditor: Auditor::new(Arc::clone(policies), own, outputs, options.all),
            batches: None,
            wanted: sources(options).contains(&Source::K8sAudit),
            stop,
            log: None,
            stats: None,
        };
        if let Some(address) = options.audit_listen {
            let tls = options
                .audit_tls_cert
                .clone()
                .zip(options.audit_tls_key.clone());
            let webhook = Webhook::bind(&Config {
                tls: tls.map(|(cert, key)| TlsFiles {
                    cert,
                    key,
                    client_ca: options.audit_client_ca.clone(),
                }),
                insecure_http: options.audit_insecure_http,
                ..Config::new(address)
            })
            .await?;
            audit.stats = Some(webhook.stats());
            let scheme = match options.audit_tls_cert {
                Some(_) => "https",
                None => "http",
            };
            eprintln!(
                "falco-psp {}: {}, audit events are taken at {scheme}://{}{PATH}",
                env!("CARGO_PKG_VERSION"),
                judged_by(policies, own),
                webhook.local_addr()
            );
            tokio::spawn(webhook.serve(sender.clone(), until_stopped()));
        }
        if let Some(path) = &options.audit_log {
            let log = AuditLog::open(&LogOptions {
                follow: options.follow,
                ..LogOptions::new(path)
            })?;
            audit.log = Some(tokio::spawn(log.serve(sender.clone(), until_stopped())));
        }
        audit.batches = audit.wanted.then_some(batches);
        Ok(audit)
    }

    /// The next events; `None` when all sources have ended.
    async fn next(&mut self) -> Option<Batch> {
        match &mut self.batches {
            Some(batches) => batches.recv().await,
            None => pending().await,
        }
    }

    /// Ends the sources, and judges what they have acknowledged.
    async fn stop(&mut self) -> Result<(), WatchError> {
        // Fails only if no source is left.
        let _ = self.stop.send(true);
        if let Some(mut batches) = self.batches.take() {
            while let Some(batch) = batches.recv().await {
                self.auditor.take(&batch);
            }
        }
        match self.log.take() {
            Some(log) => match log.await {
                Ok(result) => Ok(result?),
                Err(_) => Err(system("read the audit log")(io::Error::other(
                    "the task is gone",
                ))),
            },
            None => Ok(()),
        }
    }
}

/// The status pages, and what they tell beside the counts of those that judge.
struct Pages {
    readiness: Readiness,
    reloads: Reloads,
    since: Since,
    questions: Option<mpsc::Receiver<Question>>,
    stop: watch_channel::Sender<bool>,
    server: Option<JoinHandle<()>>,
}

impl Pages {
    async fn start(
        options: &Watch,
        policies: &Policies,
        own: &OwnRules,
    ) -> Result<Self, WatchError> {
        let is_live = sources(options).contains(&Source::Syscall);
        let steps = [
            (Step::Webhook, options.audit_listen.is_some()),
            (Step::AuditLog, options.audit_log.is_some()),
            (Step::Hooks, is_live),
            (Step::FirstScan, is_live),
        ];
        let steps = steps.into_iter().filter(|(_, is_needed)| *is_needed);
        let (stop, mut stopped) = watch_channel::channel(false);
        let mut pages = Self {
            readiness: Readiness::after(steps.map(|(step, _)| step)),
            reloads: Reloads::default(),
            since: Since::default(),
            questions: None,
            stop,
            server: None,
        };
        pages.since.note(policies, own);
        if let Some(address) = options.listen {
            let (listener, questions) = Listener::bind(address, pages.readiness.clone()).await?;
            let address = listener.local_addr();
            eprintln!("metrics and health are served at http://{address}");
            if !address.ip().is_loopback() {
                tracing::warn!(%address, "other machines can read metrics and the names of policies");
            }
            pages.questions = Some(questions);
            let stopped = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
            pages.server = Some(tokio::spawn(listener.serve(stopped)));
        }
        Ok(pages)
    }

    /// The next question.
    async fn next(&mut self) -> Question {
        match &mut self.questions {
            Some(questions) => match questions.recv().await {
                Some(question) => question,
                None => pending().await,
            },
            None => pending().await,
        }
    }

    fn metrics<'a>(
        &'a self,
        live: Option<&'a Live>,
        audit: &'a Audit,
        outputs: &Outputs,
        policies: &Policies,
        own: &OwnRules,
    ) -> Metrics<'a> {
        let mut alerts: Vec<&AlertCounts> = audit.auditor.alerts().into();
        alerts.extend(live.map(|live| &live.agent.alerts));
        Metrics {
            syscall: live.map(|live| SyscallMetrics {
                ledger: live.ledger(),
                fates: live.agent.fates,
                containers: live.agent.containers().count(),
                ring_bytes: live.ring_bytes,
                metadata: live.agent.metadata_counts(),
            }),
            audit: audit.wanted.then_some(AuditMetrics {
                counts: &audit.auditor.counts,
                webhook: audit.stats.as_deref(),
            }),
            alerts,
            outputs: outputs.counts(),
            reloads: &self.reloads,
            rules: policies.rules.rules().len() + own.rules.rules().len(),
            ready: self.readiness.reasons().is_empty(),
        }
    }

    /// Ends the server.
    async fn stop(self) {
        // Questions that nobody will answer end here.
        drop(self.questions);
        // Fails only if the server has ended.
        let _ = self.stop.send(true);
        if let Some(server) = self.server {
            // It has nothing to say.
            let _ = server.await;
        }
    }
}
