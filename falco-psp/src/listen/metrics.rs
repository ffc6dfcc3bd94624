//! The metrics: what of each owner's counts goes into which family.

use std::sync::atomic::{AtomicU64, Ordering};

use falco_psp_common::record::Kind as EventKind;

use super::alerts::AlertCounts;
use super::exposition::{Exposition, Kind};
use crate::agent::Fates;
use crate::context::metadata::MetadataCounts;
use crate::outputs::OutputCounts;
use crate::reload::Reloads;
use crate::sources::k8s_audit::counts::Counts as AuditCounts;
use crate::sources::k8s_audit::webhook::Stats;
use crate::sources::syscall::ledger::Counts as LedgerCounts;

/// All that is counted, as it is now.
pub struct Metrics<'a> {
    /// The syscall source, if it is on.
    pub syscall: Option<SyscallMetrics>,
    /// The audit source, if it is on.
    pub audit: Option<AuditMetrics<'a>>,
    /// The alerts of each part that judges.
    pub alerts: Vec<&'a AlertCounts>,
    /// What became of the alerts, by output.
    pub outputs: Vec<OutputCounts>,
    /// How reloading went.
    pub reloads: &'a Reloads,
    /// Rules in force.
    pub rules: usize,
    /// Whether the agent is ready.
    pub ready: bool,
}

/// The counts of the syscall source.
pub struct SyscallMetrics {
    /// The kernel side's ledger.
    pub ledger: Vec<(EventKind, LedgerCounts)>,
    /// What became of the records.
    pub fates: Fates,
    /// Containers that are known.
    pub containers: usize,
    /// Bytes of the ring.
    pub ring_bytes: u64,
    /// The most bytes that waited in it, if that can be told.
    pub ring_fill: Option<u64>,
    /// What came of looking containers up.
    pub metadata: MetadataCounts,
}

/// The counts of the audit source.
pub struct AuditMetrics<'a> {
    /// What became of the events.
    pub counts: &'a AuditCounts,
    /// What came in by the webhook, if there is one.
    pub webhook: Option<&'a Stats>,
}

impl Metrics<'_> {
    /// The metrics in Prometheus' text format.
    pub fn text(&self) -> String {
        let mut exposition = Exposition::default();
        exposition
            .family(
                "falco_psp_build_info",
                Kind::Gauge,
                "The version, as a label.",
            )
            .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1_u64);
        exposition
            .family(
                "falco_psp_ready",
                Kind::Gauge,
                "Whether /readyz says ready.",
            )
            .sample(&[], u64::from(self.ready));
        if let Some(syscall) = &self.syscall {
            syscall.write(&mut exposition);
        }
        if let Some(audit) = &self.audit {
            audit.write(&mut exposition);
        }
        AlertCounts::write(&self.alerts, &mut exposition);
        outputs(&self.outputs, &mut exposition);
        self.reloads.write(&mut exposition);
        exposition
            .family(
                "falco_psp_rules",
                Kind::Gauge,
                "Rules in force, of policies and of --rules.",
            )
            .sample(&[], self.rules);
        process(&mut exposition);
        exposition.text()
    }
}

impl SyscallMetrics {
    fn write(&self, exposition: &mut Exposition) {
        let mut seen = exposition.family(
            "falco_psp_kernel_events_seen_total",
            Kind::Counter,
            "Events that a hook saw, by kind.",
        );
        for (kind, counts) in &self.ledger {
            seen.sample(&[("kind", kind.name())], counts.seen);
        }
        let mut events = exposition.family(
            "falco_psp_kernel_events_total",
            Kind::Counter,
            "What became of the events that a hook saw, by kind and fate.",
        );
        for (kind, counts) in &self.ledger {
            let LedgerCounts {
                seen: _,
                filtered,
                incidental,
                deduplicated,
                sent,
                ring_full,
                read_failed,
            } = *counts;
            for (fate, count) in [
                ("filtered", filtered),
                ("incidental", incidental),
                ("deduplicated", deduplicated),
                ("sent", sent),
                ("ring_full", ring_full),
                ("read_failed", read_failed),
            ] {
                events.sample(&[("kind", kind.name()), ("fate", fate)], count);
            }
        }
        let mut records = exposition.family(
            "falco_psp_records_total",
            Kind::Counter,
            "What became of the records that the agent took from the ring or found by its scan, \
             by fate.",
        );
        let Fates {
            judged,
            set_up,
            other_mount,
            no_container,
            sandbox,
            undecodable,
            unreadable,
            unknown_origin,
        } = self.fates;
        for (fate, count) in [
            ("judged", judged),
            ("runtime_set_up", set_up),
            ("other_mount", other_mount),
            ("no_container", no_container),
            ("sandbox", sandbox),
            ("undecodable", undecodable),
            ("unreadable", unreadable),
            ("unknown_origin", unknown_origin),
        ] {
            records.sample(&[("fate", fate)], count);
        }
        exposition
            .family(
                "falco_psp_containers",
                Kind::Gauge,
                "Containers whose programs have been seen.",
            )
            .sample(&[], self.containers);
        exposition
            .family(
                "falco_psp_ring_size_bytes",
                Kind::Gauge,
                "Size of the ring between kernel and agent.",
            )
            .sample(&[], self.ring_bytes);
        if let Some(fill) = self.ring_fill {
            exposition
                .family(
                    "falco_psp_ring_high_water_bytes",
                    Kind::Gauge,
                    "The most bytes that waited in the ring when a record was put in, since the \
                     hooks were attached.",
                )
                .sample(&[], fill);
        }
        lookups(&self.metadata, exposition);
    }
}

/// What came of looking containers up.
fn lookups(counts: &MetadataCounts, exposition: &mut Exposition) {
    let mut lookups = exposition.family(
        "falco_psp_metadata_lookups_total",
        Kind::Counter,
        "Look-ups of containers, by layer and outcome.",
    );
    for (layer, outcomes) in counts.layers() {
        for (outcome, count) in [
            ("found", outcomes.found),
            ("not_there", outcomes.not_there),
            ("failed", outcomes.failed),
            ("timed_out", outcomes.timed_out),
        ] {
            lookups.sample(&[("layer", layer), ("outcome", outcome)], count);
        }
    }
    exposition
        .family(
            "falco_psp_events_held",
            Kind::Gauge,
            "Events that wait for a look-up of their container.",
        )
        .sample(&[], counts.held);
    exposition
        .family(
            "falco_psp_events_given_up_total",
            Kind::Counter,
            "Events that were judged before the look-up of their container had an answer.",
        )
        .sample(&[], counts.given_up);
}

/// What became of the alerts.
fn outputs(all: &[OutputCounts], exposition: &mut Exposition) {
    type Count = fn(&OutputCounts) -> u64;
    let families: [(&str, Kind, &str, Count); 4] = [
        (
            "falco_psp_output_delivered_total",
            Kind::Counter,
            "Alerts that an output has written, or that its receiver has accepted.",
            |counts| counts.delivered,
        ),
        (
            "falco_psp_output_retried_total",
            Kind::Counter,
            "Attempts to deliver an alert after an earlier one failed.",
            |counts| counts.retried,
        ),
        (
            "falco_psp_output_dropped_total",
            Kind::Counter,
            "Alerts that an output has lost.",
            |counts| counts.dropped,
        ),
        (
            "falco_psp_output_queue_depth",
            Kind::Gauge,
            "Alerts that wait in memory or in the spool.",
            |counts| counts.queued,
        ),
    ];
    for (name, kind, help, count) in families {
        let mut family = exposition.family(name, kind, help);
        for counts in all {
            family.sample(&[("output", &*counts.name)], count(counts));
        }
    }
}

impl AuditMetrics<'_> {
    fn write(&self, exposition: &mut Exposition) {
        let AuditCounts {
            judged,
            dry_run,
            not_pod,
            subresource,
            verb,
            stage,
            refused,
            level_metadata,
            no_object,
            raw_patch,
            malformed,
        } = self.counts;
        let refused: u64 = refused.values().map(|refused| refused.all).sum();
        let mut events = exposition.family(
            "falco_psp_audit_events_total",
            Kind::Counter,
            "Audit events: judged, or why not. What is level_metadata, no_object, raw_patch or \
             malformed may have declared pods.",
        );
        for (reason, count) in [
            ("judged", *judged),
            ("not_pod", *not_pod),
            ("subresource", *subresource),
            ("verb", *verb),
            ("stage", *stage),
            ("refused", refused),
            ("level_metadata", *level_metadata),
            ("no_object", *no_object),
            ("raw_patch", *raw_patch),
            ("malformed", *malformed),
        ] {
            events.sample(&[("reason", reason)], count);
        }
        exposition
            .family(
                "falco_psp_audit_dry_runs_total",
                Kind::Counter,
                "Judged audit events of requests that were only a trial.",
            )
            .sample(&[], *dry_run);
        let Some(stats) = self.webhook else { return };
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut requests = exposition.family(
            "falco_psp_webhook_requests_total",
            Kind::Counter,
            "Requests to the audit webhook, by what became of them.",
        );
        for (outcome, counter) in [
            ("accepted", &stats.accepted),
            ("malformed", &stats.malformed),
            ("too_long", &stats.too_long),
            ("timed_out", &stats.timed_out),
            ("put_off", &stats.put_off),
            ("tls_failed", &stats.handshakes_failed),
        ] {
            requests.sample(&[("outcome", outcome)], get(counter));
        }
        exposition
            .family(
                "falco_psp_webhook_events_total",
                Kind::Counter,
                "Audit events that the webhook took.",
            )
            .sample(&[], get(&stats.events));
    }
}

/// What every client library of Prometheus tells of its process, under the same names.
fn process(exposition: &mut Exposition) {
    let Ok(process) = procfs::process::Process::myself() else {
        return;
    };
    if let Ok(stat) = process.stat() {
        let ticks = procfs::ticks_per_second();
        let seconds = |count: u64| count as f64 / ticks as f64;
        exposition
            .family(
                "process_cpu_seconds_total",
                Kind::Counter,
                "CPU time, of the user and of the system, in seconds.",
            )
            .sample(&[], seconds(stat.utime + stat.stime));
        exposition
            .family(
                "process_resident_memory_bytes",
                Kind::Gauge,
                "Resident memory in bytes.",
            )
            .sample(&[], stat.rss * procfs::page_size());
        exposition
            .family(
                "process_virtual_memory_bytes",
                Kind::Gauge,
                "Virtual memory in bytes.",
            )
            .sample(&[], stat.vsize);
        if let Ok(boot) = procfs::boot_time_secs() {
            exposition
                .family(
                    "process_start_time_seconds",
                    Kind::Gauge,
                    "Start of the process, in seconds since the Unix epoch.",
                )
                .sample(&[], boot as f64 + seconds(stat.starttime));
        }
    }
    if let Ok(count) = process.fd_count() {
        exposition
            .family("process_open_fds", Kind::Gauge, "Open file descriptors.")
            .sample(&[], count);
    }
}
