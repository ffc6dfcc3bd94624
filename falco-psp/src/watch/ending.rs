//! Ctrl-C and SIGTERM: the first ends the run, the second what is left to be delivered.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{WatchError, system};

/// The signals that end a run.
#[derive(Debug)]
pub(super) struct Ending {
    interrupt: Signal,
    terminate: Signal,
    is_hurried: bool,
}

impl Ending {
    pub(super) fn new() -> Result<Self, WatchError> {
        let on = |kind, what| signal(kind).map_err(system(what));
        Ok(Self {
            interrupt: on(SignalKind::interrupt(), "wait for Ctrl-C")?,
            terminate: on(SignalKind::terminate(), "wait for SIGTERM")?,
            is_hurried: false,
        })
    }

    /// Waits for a signal. May be dropped at any time.
    pub(super) async fn ordered(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Waits for a signal after the one that ended the run; comes at once when it has come.
    pub(super) async fn hurried(&mut self) {
        if !self.is_hurried {
            self.ordered().await;
            self.is_hurried = true;
            say!("told again to end: what is not delivered now is given up");
        }
    }
}
