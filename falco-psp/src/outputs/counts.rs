//! What became of the alerts, output by output.

use std::sync::atomic::{AtomicU64, Ordering};

/// What became of the alerts of one output, so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputCounts {
    /// The output, as `--output` names it, without what a URL may hold after a question mark.
    pub name: String,
    /// Alerts that were written, or that the receiver has accepted.
    pub delivered: u64,
    /// Attempts to deliver an alert that were made after an earlier one failed.
    pub retried: u64,
    /// Alerts that are lost: there was no room for them, the receiver refuses them, or the run
    /// ended before they could be delivered.
    pub dropped: u64,
    /// Alerts that wait in memory or on disk. After the end of a run: those that the next one
    /// delivers.
    pub queued: u64,
}

/// The counters behind them, that an output's worker and its tellers share.
#[derive(Debug, Default)]
pub(super) struct Counters {
    delivered: AtomicU64,
    retried: AtomicU64,
    dropped: AtomicU64,
    /// Taken from the queue, and neither delivered nor dropped yet.
    taken: AtomicU64,
}

impl Counters {
    /// An alert that was taken from the queue was delivered.
    pub(super) fn delivered(&self) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }

    /// An alert is tried again.
    pub(super) fn retried(&self) {
        self.retried.fetch_add(1, Ordering::Relaxed);
    }

    /// So many alerts are lost.
    pub(super) fn dropped(&self, alerts: u64) {
        self.dropped.fetch_add(alerts, Ordering::Relaxed);
    }

    /// So many alerts are in the worker's hands or on disk.
    pub(super) fn set_taken(&self, alerts: u64) {
        self.taken.store(alerts, Ordering::Relaxed);
    }

    /// What they say now, of an output with `waiting` alerts in its queue.
    pub(super) fn read(&self, name: &str, waiting: u64) -> OutputCounts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        OutputCounts {
            name: name.to_owned(),
            delivered: get(&self.delivered),
            retried: get(&self.retried),
            dropped: get(&self.dropped),
            queued: waiting + get(&self.taken),
        }
    }
}

/// The lines at the end of a run in which alerts were lost, or are left for the next one.
pub fn lost(counts: &[OutputCounts]) -> String {
    if counts.iter().all(|of| of.dropped == 0 && of.queued == 0) {
        return String::new();
    }
    let line = |of: &OutputCounts| {
        let OutputCounts {
            name,
            delivered,
            retried,
            dropped,
            queued,
        } = of;
        let kept = match queued {
            0 => String::new(),
            queued => format!(", kept on disk for the next run {queued}"),
        };
        format!("output {name}: delivered {delivered}, retried {retried}, lost {dropped}{kept}\n")
    };
    counts.iter().map(line).collect()
}
