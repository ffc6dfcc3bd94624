//! The worker of an output that takes an alert at once or fails to: files and syslog.

use std::io;
use std::time::Duration;

use super::counts::Counters;
use super::queue::{Next, Queue};

/// How long after a failure the alert is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long after the end of a run an output that fails is tried.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// What takes alerts.
pub(super) trait Sink {
    /// Takes an alert as a whole, or nothing of it.
    fn write(&mut self, line: &str) -> io::Result<()>;

    /// Opens anew what has been renamed.
    fn reopen(&mut self) -> io::Result<()>;
}

/// Hands alerts to `sink` until the queue is closed. One that it does not take is told once, and
/// tried again.
pub(super) fn work(queue: &Queue, counters: &Counters, sink: &mut impl Sink, name: &str) {
    let mut failing = false;
    loop {
        match queue.next() {
            Next::Closed => return,
            Next::Reopen => reopen(sink, name),
            Next::Line(line) => {
                counters.set_taken(1);
                while let Err(why) = sink.write(&line) {
                    if !failing {
                        say!("output {name}: {why}; it is tried again");
                        failing = true;
                    }
                    if queue.closed_for().is_some_and(|time| time > GRACE) {
                        counters.set_taken(0);
                        counters.dropped(1 + queue.abandon());
                        return;
                    }
                    if queue.pause(RETRY) {
                        reopen(sink, name);
                    }
                    counters.retried();
                }
                if failing {
                    say!("output {name} works again");
                    failing = false;
                }
                counters.set_taken(0);
                counters.delivered();
            }
        }
    }
}

fn reopen(sink: &mut impl Sink, name: &str) {
    if let Err(why) = sink.reopen() {
        say!("output {name}: cannot be opened anew: {why}; the open file is written on");
    }
}
