//! Alerts on standard output, written by a thread of their own: a slow terminal or a full pipe
//! must not hold up the reading of events.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

/// Lines that may wait before further ones are dropped and counted.
const QUEUE: usize = 16_384;

/// Standard output, with a bounded queue before it.
#[derive(Debug)]
pub struct Stdout {
    queue: Option<SyncSender<String>>,
    writer: Option<JoinHandle<io::Result<()>>>,
    dropped: u64,
}

impl Stdout {
    /// Starts the writing thread.
    ///
    /// # Errors
    /// There are no more threads to be had.
    pub fn start() -> io::Result<Self> {
        let (queue, lines) = sync_channel(QUEUE);
        let writer = thread::Builder::new()
            .name("stdout".to_owned())
            .spawn(move || write_all(&lines, &mut io::stdout().lock()))?;
        Ok(Self {
            queue: Some(queue),
            writer: Some(writer),
            dropped: 0,
        })
    }

    /// Queues a line. If the queue is full or the reader of standard output is gone, the line is
    /// counted as dropped.
    pub fn send(&mut self, line: String) {
        let sent = match &self.queue {
            Some(queue) => queue.try_send(line),
            None => Err(TrySendError::Disconnected(line)),
        };
        if sent.is_err() {
            self.dropped += 1;
        }
    }

    /// Writes what is queued and ends; how many lines were dropped.
    ///
    /// # Errors
    /// Standard output could not be written.
    pub fn finish(&mut self) -> io::Result<u64> {
        self.queue = None;
        match self.writer.take().map(JoinHandle::join) {
            Some(Ok(written)) => written?,
            Some(Err(_)) => return Err(io::Error::other("the writing thread is gone")),
            None => {}
        }
        Ok(self.dropped)
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
