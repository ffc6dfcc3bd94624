//! The sources of audit events, and what judges them.

use std::future::pending;
use std::io;
use std::sync::Arc;

use tokio::sync::{mpsc, watch as watch_channel};
use tokio::task::JoinHandle;

use super::ending::Ending;
use super::{WatchError, judged_by, system};
use crate::audit::Auditor;
use crate::cli::Watch;
use crate::listen::{Readiness, Step};
use crate::outputs::Outputs;
use crate::own_rules::OwnRules;
use crate::policies::Policies;
use crate::rules::Source;
use crate::sources::k8s_audit::Batch;
use crate::sources::k8s_audit::file::{AuditLog, LogError, LogOptions};
use crate::sources::k8s_audit::webhook::{Config, PATH, Stats, TlsFiles, Webhook};

/// Batches of audit events that may wait.
const QUEUE: usize = 16;

/// The sources of audit events, and what judges them.
pub(super) struct Audit {
    pub(super) auditor: Auditor,
    /// `None` without a source, or when all have ended.
    pub(super) batches: Option<mpsc::Receiver<Batch>>,
    pub(super) wanted: bool,
    stop: watch_channel::Sender<bool>,
    log: Option<JoinHandle<Result<(), LogError>>>,
    pub(super) stats: Option<Arc<Stats>>,
}

impl Audit {
    pub(super) async fn start(
        options: &Watch,
        policies: &Arc<Policies>,
        own: &OwnRules,
        outputs: Outputs,
        readiness: &Readiness,
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
            wanted: options.sources().contains(&Source::K8sAudit),
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
            say!(
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
            let is_alone = options.sources().len() == 1 && options.audit_listen.is_none();
            let (serving, readiness) = (
                log.serve(sender.clone(), until_stopped()),
                readiness.clone(),
            );
            audit.log = Some(tokio::spawn(async move {
                let ended = serving.await;
                if let Err(why) = &ended {
                    readiness.missing(Step::AuditLog);
                    // With other sources the run may go on for days before it ends with this.
                    if !is_alone {
                        say!("{why}");
                    }
                }
                ended
            }));
        }
        audit.batches = audit.wanted.then_some(batches);
        Ok(audit)
    }

    /// The next events; `None` when all sources have ended. They wait, as nothing is lost by it,
    /// until the outputs have room for many alerts: other sources cannot wait, nor does whoever
    /// wants to end the run.
    pub(super) async fn next(&mut self, outputs: &Outputs) -> Option<Batch> {
        match &mut self.batches {
            Some(batches) => {
                outputs.calm().await;
                batches.recv().await
            }
            None => pending().await,
        }
    }

    /// Ends the sources, and judges what they have acknowledged.
    pub(super) async fn stop(
        &mut self,
        outputs: &Outputs,
        ending: &mut Ending,
    ) -> Result<(), WatchError> {
        // Fails only if no source is left.
        let _ = self.stop.send(true);
        if let Some(mut batches) = self.batches.take() {
            loop {
                let next = async {
                    outputs.calm().await;
                    batches.recv().await
                };
                tokio::select! {
                    biased;
                    batch = next => match batch {
                        Some(batch) => self.auditor.take(&batch),
                        None => break,
                    },
                    () = ending.hurried() => {
                        say!("audit events that were received last are not judged");
                        break;
                    }
                }
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
