//! Ctrl-C, for tasks that have something to clean up.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, Result};
use signal_hook::{
    SigId,
    consts::{SIGINT, SIGTERM},
};

/// As long as it lives, SIGINT and SIGTERM are noted instead of ending the process, so that
/// what was started is ended too.
pub(crate) struct Interrupts {
    came: Arc<AtomicBool>,
    registered: Vec<SigId>,
}

impl Interrupts {
    /// Starts to note the signals.
    pub(crate) fn catch() -> Result<Self> {
        let came = Arc::new(AtomicBool::new(false));
        let registered = [SIGINT, SIGTERM]
            .into_iter()
            .map(|signal| signal_hook::flag::register(signal, Arc::clone(&came)))
            .collect::<Result<_, _>>()
            .context("cannot catch signals")?;
        Ok(Self { came, registered })
    }

    /// Whether one came.
    pub(crate) fn came(&self) -> bool {
        self.came.load(Ordering::Relaxed)
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}
