//! The status pages of `--listen`, and what they tell.

use std::future::pending;

use tokio::sync::{mpsc, watch as watch_channel};
use tokio::task::JoinHandle;

use super::WatchError;
use super::audit::Audit;
use super::live::Live;
use crate::cli::Watch;
use crate::listen::alerts::AlertCounts;
use crate::listen::metrics::{AuditMetrics, Metrics, SyscallMetrics};
use crate::listen::policy::Since;
use crate::listen::{Listener, Question, Readiness, Step};
use crate::outputs::Outputs;
use crate::own_rules::OwnRules;
use crate::policies::Policies;
use crate::reload::Reloads;
use crate::rules::Source;

/// The status pages, and what they tell beside the counts of those that judge.
pub(super) struct Pages {
    pub(super) readiness: Readiness,
    pub(super) reloads: Reloads,
    pub(super) since: Since,
    questions: Option<mpsc::Receiver<Question>>,
    stop: watch_channel::Sender<bool>,
    server: Option<JoinHandle<()>>,
}

impl Pages {
    pub(super) async fn start(
        options: &Watch,
        policies: &Policies,
        own: &OwnRules,
    ) -> Result<Self, WatchError> {
        let is_live = options.sources().contains(&Source::Syscall);
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
            say!("report, metrics and health are served at http://{address}");
            if !address.ip().is_loopback() {
                tracing::warn!(%address, "other machines can read metrics, the names of policies and the report");
            }
            pages.questions = Some(questions);
            let stopped = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
            pages.server = Some(tokio::spawn(listener.serve(stopped)));
        }
        Ok(pages)
    }

    /// The next question.
    pub(super) async fn next(&mut self) -> Question {
        match &mut self.questions {
            Some(questions) => match questions.recv().await {
                Some(question) => question,
                None => pending().await,
            },
            None => pending().await,
        }
    }

    pub(super) fn metrics<'a>(
        &'a self,
        live: Option<&'a Live>,
        audit: &'a Audit,
        outputs: &Outputs,
        policies: &Policies,
        own: &OwnRules,
    ) -> Metrics<'a> {
        let mut alerts: Vec<&AlertCounts> = audit.auditor.alerts().into();
        alerts.extend(live.map(|live| &live.agent.judge.alerts));
        Metrics {
            syscall: live.map(|live| SyscallMetrics {
                ledger: live.ledger(),
                fates: live.agent.fates,
                containers: live.agent.containers().count(),
                ring_bytes: live.ring_bytes,
                ring_fill: live.kernel.ring_fill(),
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
    pub(super) async fn stop(self) {
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
