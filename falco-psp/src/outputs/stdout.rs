//! Alerts on standard output, written by a thread of their own: a slow terminal or a full pipe
//! must not hold up the reading of events.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::alert::{Alert, Style};

/// Lines that may wait before further ones are dropped and counted.
const QUEUE: usize = 16_384;

/// Standard output, with a bounded queue before it. Clones write to the same queue.
#[derive(Clone, Debug)]
pub struct Stdout {
    queue: SyncSender<String>,
    style: Arc<Style>,
    dropped: Arc<AtomicU64>,
}

/// The thread that writes.
#[derive(Debug)]
pub struct Writer {
    thread: JoinHandle<io::Result<()>>,
    dropped: Arc<AtomicU64>,
}

impl Stdout {
    /// Starts the writing thread.
    ///
    /// # Errors
    /// There are no more threads to be had.
    pub fn start(style: Style) -> io::Result<(Self, Writer)> {
        let (queue, lines) = sync_channel(QUEUE);
        let thread = thread::Builder::new()
            .name("stdout".to_owned())
            .spawn(move || write_all(&lines, &mut io::stdout().lock()))?;
        let dropped = Arc::new(AtomicU64::new(0));
        let stdout = Self {
            queue,
            style: Arc::new(style),
            dropped: Arc::clone(&dropped),
        };
        Ok((stdout, Writer { thread, dropped }))
    }

    /// Queues an alert. If the queue is full or the reader of standard output is gone, the alert
    /// is counted as dropped.
    pub fn tell(&self, alert: &Alert) {
        if self.queue.try_send(alert.line(&self.style)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Queues an alert, and waits while the queue is full: for a source that can wait.
    pub fn tell_all(&self, alert: &Alert) {
        if self.queue.send(alert.line(&self.style)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Writer {
    /// Waits until all is written, when every [`Stdout`] is gone; how many alerts were dropped.
    ///
    /// # Errors
    /// Standard output could not be written.
    pub fn finish(self) -> io::Result<u64> {
        match self.thread.join() {
            Ok(written) => written?,
            Err(_) => return Err(io::Error::other("the writing thread is gone")),
        }
        Ok(self.dropped.load(Ordering::Relaxed))
    }
}

fn write_all(lines: &Receiver<String>, to: &mut impl Write) -> io::Result<()> {
    while let Ok(line) = lines.recv() {
        writeln!(to, "{line}")?;
        // Alerts are rare; what reads them wants them at once.
        to.flush()?;
    }
    Ok(())
}
