//! Watching the node: the kernel side, and the agent that judges its records.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use falco_psp_common::record::Kind;

use super::{WatchError, judged_by, system};
use crate::agent::Agent;
use crate::cli::Watch;
use crate::context::cluster::{Cluster, Config};
use crate::context::cri::lookups::Lookups;
use crate::context::host::HostNamespaces;
use crate::context::processes::now_ns;
use crate::listen::{Readiness, Step};
use crate::outputs::Outputs;
use crate::own_rules::OwnRules;
use crate::policies::Policies;
use crate::recording::{End, MadeBy, Recorder, Start};
use crate::report::summary::Summary;
use crate::rules::{RuleSet, Source};
use crate::sources::syscall::ledger::{self, Counts};
use crate::sources::syscall::load::{KernelSide, LoadError, Options};
use crate::sources::syscall::reader::Reader;

/// Records that are taken in a row before signals are looked at again.
const BATCH: usize = 4_096;
/// How often the ledger is looked at for losses.
const LEDGER_TICK: Duration = Duration::from_secs(1);
/// How often containers that are gone are looked for.
const FORGET_TICK: Duration = Duration::from_secs(5);
/// How often ports are looked for that containers listen at.
const PORTS_TICK: Duration = Duration::from_secs(2);

/// The live source: the kernel side and what judges its records.
pub(super) struct Live {
    pub(super) kernel: KernelSide,
    pub(super) agent: Agent,
    /// The policies', then the user's own.
    rules: Arc<RuleSet>,
    reader: Reader,
    started: Instant,
    /// The same by the wall clock.
    began_ns: u64,
    last_look: Instant,
    last_forgetting: Instant,
    last_look_at_ports: Instant,
    lost_before: u64,
    pub(super) host: HostNamespaces,
    pub(super) ring_bytes: u64,
    /// The ledgers of kernel sides that were replaced.
    ledgers_before: Vec<(Kind, Counts)>,
    /// Whether what was in force before was violated.
    pub(super) violated_before: bool,
}

impl Live {
    pub(super) async fn start(
        options: &Watch,
        policies: &Arc<Policies>,
        own: &OwnRules,
        outputs: Outputs,
        readiness: &Readiness,
        recorder: Option<&Recorder>,
    ) -> Result<Self, WatchError> {
        let cluster = Config::find(options.kubeconfig.as_deref(), options.node_name.as_deref())?;
        let host = HostNamespaces::find().map_err(LoadError::HostNamespaces)?;
        let rules = Arc::new(own.after(&policies.rules));
        let event_types = rules.event_types();
        let counts = rules.count_by_source();
        let count = |source| counts.get(&source).copied().unwrap_or(0);
        let (of_calls, of_pods) = (count(Source::Syscall), count(Source::K8sAudit));
        let mut agent = Agent::new(Arc::clone(&rules), options.all, host, outputs);
        let lookups = Lookups::start(options.cri.clone()).map_err(system("start a thread"))?;
        agent.look_up_with(lookups);
        let cluster = cluster.map(Cluster::start).transpose();
        agent.complete_with(cluster.map_err(system("start a thread"))?);
        agent.judge_by(Arc::clone(&rules), Arc::clone(policies));
        // First the hooks, then the scan: a container that starts between the two is seen by both.
        let for_kernel = options.clone();
        // What nobody uses is told by whatever is used, the rules' or not.
        let takes_all = recorder.is_some() || !options.report.is_empty();
        // It takes its time; whoever asks meanwhile gets an answer.
        let starting = tokio::task::spawn_blocking(move || {
            let options = Options::of(&for_kernel);
            KernelSide::start(&host, options, |name| {
                takes_all || event_types.contains(name)
            })
        });
        let gone = |error| system("start a thread")(io::Error::other(error));
        let mut kernel = starting.await.map_err(gone)??;
        readiness.done(Step::Hooks);
        for missing in &kernel.missing {
            let fact = missing.fact.describe();
            say!(
                "this kernel has no {}: without it no {fact}",
                missing.member
            );
        }
        let (started, began_ns) = (Instant::now(), now_ns());
        let ring_bytes = options.ring_size << 10;
        tracing::info!(ring_bytes, "hooks attached");
        let found = agent.scan();
        let running: HashSet<&str> = found.iter().map(|(container, _)| &*container.id).collect();
        let hooks: Vec<&str> = kernel.hooks.iter().map(|hook| hook.name).collect();
        // In one piece: alerts may come at the same time.
        if let Some(recorder) = recorder {
            recorder.start(Start::now(
                &options.sources(),
                Some(MadeBy {
                    kernel: kernel_release(),
                    hooks: hooks.iter().map(|hook| (*hook).to_owned()).collect(),
                    unseen: kernel
                        .unseen
                        .iter()
                        .map(|kind| (*kind).to_owned())
                        .collect(),
                }),
            ));
            agent.record_to(recorder.clone());
        }
        let header = format!(
            "falco-psp {}: {}, {of_calls} rules (syscall; {of_pods} about declared pods), \
             kernel {}, hooks {}, {} containers found; watching{}",
            env!("CARGO_PKG_VERSION"),
            judged_by(policies, own),
            kernel_release(),
            hooks.join(" "),
            running.len(),
            match options.duration {
                Some(span) => format!(" for {} s", span.as_secs_f64()),
                None => ", Ctrl-C ends".to_owned(),
            }
        );
        say!("{header}");
        agent.judge_found(found);
        agent.look_at_ports();
        readiness.done(Step::FirstScan);
        let reader = Reader::new(kernel.take_ring()?).map_err(system("wait for the ring"))?;
        Ok(Self {
            kernel,
            agent,
            rules,
            reader,
            started,
            began_ns,
            last_look: Instant::now(),
            last_forgetting: Instant::now(),
            last_look_at_ports: Instant::now(),
            lost_before: 0,
            host,
            ring_bytes: ring_bytes.into(),
            ledgers_before: Vec::new(),
            violated_before: false,
        })
    }

    /// Waits until it is worth draining.
    pub(super) async fn wait(&mut self) -> io::Result<()> {
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
    pub(super) fn judge_by(
        &mut self,
        mut kernel: KernelSide,
        policies: &Arc<Policies>,
        own: &OwnRules,
        before: &Policies,
    ) -> Result<String, WatchError> {
        let reader = Reader::new(kernel.take_ring()?).map_err(system("wait for the ring"))?;
        self.stop();
        self.violated_before |= self.agent.judge.found_any(before);
        let found = self.summary(before).found();
        self.ledgers_before = self.ledger();
        (self.kernel, self.reader) = (kernel, reader);
        self.rules = Arc::new(own.after(&policies.rules));
        self.agent
            .judge_by(Arc::clone(&self.rules), Arc::clone(policies));
        let running = self.agent.scan();
        self.agent.judge_again(running);
        self.agent.look_at_ports();
        (self.started, self.began_ns) = (Instant::now(), now_ns());
        Ok(found)
    }

    /// The ledgers of all kernel sides of the run, added up.
    pub(super) fn ledger(&self) -> Vec<(Kind, Counts)> {
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
    pub(super) fn drain(&mut self) {
        self.agent.settle();
        self.reader.drain(BATCH, |record| self.agent.take(record));
        self.agent.read_put_off_mounts(false);
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
        if self.last_look_at_ports.elapsed() >= PORTS_TICK {
            self.last_look_at_ports = Instant::now();
            self.agent.look_at_ports();
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
    pub(super) fn stop(&mut self) {
        self.kernel.disarm();
        while self.reader.drain(BATCH, |record| self.agent.take(record)) > 0 {}
        self.agent.read_put_off_mounts(true);
        self.agent.look_at_ports();
        self.agent.settle_all();
        self.tell_loss();
        for repeats in self.kernel.repeats() {
            self.agent.repeated(repeats);
        }
    }

    /// Records how the run ended.
    pub(super) fn record_end(&self, recorder: &Recorder) {
        let metadata = self.agent.metadata_counts();
        let (elapsed, ledger) = (self.started.elapsed(), self.ledger());
        let end = End::new(elapsed, &ledger, self.agent.fates, metadata);
        recorder.end(self.agent.containers(), end);
    }

    pub(super) fn summary<'a>(&'a self, policies: &'a Policies) -> Summary<'a> {
        Summary {
            began_ns: self.began_ns,
            elapsed: self.started.elapsed(),
            policies,
            rules: &self.rules,
            tally: &self.agent.judge.tally,
            containers: self.agent.containers().collect(),
            departed: &self.agent.judge.departed,
            ledger: self.ledger(),
            fates: self.agent.fates,
            metadata: self.agent.metadata_counts(),
            needs: &self.agent.judge.needs,
            unseen: &self.kernel.unseen,
        }
    }
}

fn kernel_release() -> String {
    let uname = rustix::system::uname();
    uname.release().to_string_lossy().into_owned()
}
