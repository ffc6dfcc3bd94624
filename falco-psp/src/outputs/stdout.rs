//! Alerts on standard output, written by a thread of their own: a slow terminal or a full pipe
//! must not hold up the reading of events.

use std::io::{self, Write};

use super::counts::Counters;
use super::queue::{Next, Queue};

/// Writes alerts until the queue is closed.
///
/// # Errors
/// Standard output cannot be written; the alerts that are left are counted as dropped.
pub(super) fn work(queue: &Queue, counters: &Counters) -> io::Result<()> {
    let written = write_all(queue, counters, &mut io::stdout().lock());
    counters.dropped(queue.abandon());
    written
}

fn write_all(queue: &Queue, counters: &Counters, to: &mut impl Write) -> io::Result<()> {
    loop {
        match queue.next() {
            Next::Line(line) => {
                // Alerts are rare; what reads them wants them at once.
                let written = writeln!(to, "{line}").and_then(|()| to.flush());
                written.inspect_err(|_| counters.dropped(1))?;
                counters.delivered();
            }
            Next::Reopen => {}
            Next::Closed => return Ok(()),
        }
    }
}
