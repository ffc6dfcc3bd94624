//! Alerts posted to a receiver as falcosidekick takes them: JSON, one alert a request, in order.
//! What it does not take is tried again, and waits meanwhile: on disk where there is a spool,
//! else in the queue.

mod client;
mod tls;

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::sleep;

use super::counts::Counters;
use super::queue::Queue;
use super::sink::GRACE;
use super::spool::Spool;
use super::target::Url;
use client::{Client, Outcome};
pub use tls::TlsError;

/// The time between attempts: doubled from the first to the last, give or take half of it.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause after the run has ended.
const END_PAUSE: Duration = Duration::from_millis(500);
/// How long after the end of a run alerts are delivered from a spool that keeps the rest.
const END: Duration = Duration::from_secs(20);
/// How often it is looked whether the run has ended.
const TICK: Duration = Duration::from_millis(100);
/// What an alert's fields begin with, as JSON: a text within it would have its quotes escaped.
const FIELDS: &str = "\"output_fields\":{";
/// The mark of an alert that the receiver may have already.
const RESENT: &str = "\"falco_psp.resent\":true";

/// What the requests of a run have in common.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The CAs of the receivers, instead of the machine's.
    pub ca: Option<PathBuf>,
    /// How long a receiver may take to answer.
    pub timeout: Duration,
}

/// What delivers alerts to one receiver.
#[derive(Debug)]
pub(super) struct Worker {
    name: String,
    client: Client,
    waiting: Waiting,
}

/// What was taken from the queue, and is not delivered yet.
#[derive(Debug)]
enum Waiting {
    Memory { alert: Option<Arc<str>>, sent: bool },
    Disk(Spool),
}

/// An attempt, seen from outside.
#[derive(Debug, Default)]
struct Course {
    failures: u32,
    last_success: Option<Instant>,
}

impl Worker {
    pub(super) fn new(
        name: String,
        url: Url,
        settings: &HttpSettings,
        spool: Option<Spool>,
    ) -> Result<Self, TlsError> {
        let tls = match url.tls {
            true => Some(tls::client(settings.ca.as_deref())?),
            false => None,
        };
        Ok(Self {
            name,
            client: Client::new(url, tls, settings.timeout),
            waiting: match spool {
                Some(spool) => Waiting::Disk(spool),
                None => Waiting::Memory {
                    alert: None,
                    sent: false,
                },
            },
        })
    }

    /// Delivers until the queue is closed and all is delivered, or given up.
    pub(super) fn work(self, queue: &Queue, counters: &Counters) -> io::Result<()> {
        // A runtime of its own: a source that waits for room blocks the other one.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let name = self.name.clone();
        if let Err(why) = runtime.block_on(self.deliver(queue, counters)) {
            say!("output {name}: the spool cannot be used any more: {why}");
            counters.dropped(queue.abandon());
        }
        // A name that is being looked up is not waited for.
        runtime.shutdown_background();
        Ok(())
    }

    async fn deliver(self, queue: &Queue, counters: &Counters) -> io::Result<()> {
        let Self {
            name,
            mut client,
            mut waiting,
        } = self;
        if let Waiting::Disk(spool) = &waiting
            && spool.damaged() > 0
        {
            let damaged = spool.damaged();
            say!("output {name}: {damaged} alerts in the spool are damaged and lost");
            counters.dropped(damaged);
        }
        let mut course = Course::default();
        let (mut full, mut refusal_told) = (false, false);
        loop {
            waiting.fill(queue, counters, &name, &mut full);
            let Some((alert, sent_before)) = waiting.front(queue)? else {
                counters.set_taken(0);
                if queue.is_finished() {
                    return Ok(());
                }
                queue.something().await;
                continue;
            };
            counters.set_taken(waiting.len());
            waiting.sending()?;
            let body = if sent_before { marked(&alert) } else { alert };
            if course.failures > 0 || sent_before {
                counters.retried();
            }
            let outcome = {
                let attempt = client.post(body);
                tokio::pin!(attempt);
                loop {
                    tokio::select! {
                        outcome = &mut attempt => break Some(outcome),
                        () = sleep(TICK) => {}
                        () = queue.something() => {}
                    }
                    waiting.fill(queue, counters, &name, &mut full);
                    counters.set_taken(waiting.len());
                    if course.is_over(queue, &waiting) {
                        break None;
                    }
                }
            };
            let why = match outcome {
                Some(Outcome::Accepted) => {
                    if course.failures > 0 {
                        say!("output {name} works again");
                    }
                    course.succeeded();
                    counters.delivered();
                    waiting.done()?;
                    None
                }
                Some(Outcome::Refused(status)) => {
                    if !refusal_told {
                        say!("output {name}: the receiver refuses an alert: {status}");
                        refusal_told = true;
                    }
                    course.succeeded();
                    counters.dropped(1);
                    waiting.done()?;
                    None
                }
                Some(Outcome::NotTaken(why)) => {
                    if !sent_before {
                        waiting.not_taken()?;
                    }
                    Some(why)
                }
                Some(Outcome::Unclear(why)) => Some(why),
                None => Some(String::new()),
            };
            counters.set_taken(waiting.len());
            if let Some(why) = why {
                if course.failures == 0 && !why.is_empty() {
                    say!("output {name}: {why}; it is tried again");
                }
                course.failures += 1;
                let start = Instant::now();
                let pause = course.pause();
                while start.elapsed() < pause {
                    tokio::select! {
                        () = sleep(TICK) => {}
                        () = queue.something() => {}
                    }
                    waiting.fill(queue, counters, &name, &mut full);
                    counters.set_taken(waiting.len());
                    if course.is_over(queue, &waiting)
                        || (queue.closed_for().is_some() && start.elapsed() > END_PAUSE)
                    {
                        break;
                    }
                }
            }
            if course.is_over(queue, &waiting) {
                waiting.fill(queue, counters, &name, &mut full);
                let lost = queue.abandon();
                let lost = lost + if waiting.keeps() { 0 } else { waiting.len() };
                counters.dropped(lost);
                counters.set_taken(if waiting.keeps() { waiting.len() } else { 0 });
                return Ok(());
            }
        }
    }
}

impl Waiting {
    /// Moves what is in the queue to disk, as far as there is room.
    fn fill(&mut self, queue: &Queue, counters: &Counters, name: &str, full: &mut bool) {
        let Self::Disk(spool) = self else { return };
        while let Some(alert) = queue.front() {
            // It would block the others for ever.
            if spool.never_fits(alert.len()) {
                queue.pop();
                counters.dropped(1);
                continue;
            }
            match spool.push(alert.as_bytes()) {
                Ok(true) => {
                    queue.pop();
                    *full = false;
                }
                // What does not fit stays in the queue, in front.
                Ok(false) => return,
                Err(why) => {
                    if !*full {
                        say!("output {name}: cannot write to the spool: {why}");
                    }
                    *full = true;
                    return;
                }
            }
        }
    }

    /// The alert that is next, and whether the receiver may have it already.
    fn front(&mut self, queue: &Queue) -> io::Result<Option<(Bytes, bool)>> {
        match self {
            Self::Disk(spool) => {
                let front = spool.front()?;
                Ok(front.map(|front| (front.alert.into(), front.sent_before)))
            }
            Self::Memory { alert, sent } => {
                if alert.is_none() {
                    (*alert, *sent) = (queue.pop(), false);
                }
                let front = alert.as_deref();
                Ok(front.map(|alert| (Bytes::copy_from_slice(alert.as_bytes()), *sent)))
            }
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::Disk(spool) => spool.len(),
            Self::Memory { alert, .. } => u64::from(alert.is_some()),
        }
    }

    /// Whether the next process finds what is left.
    fn keeps(&self) -> bool {
        matches!(self, Self::Disk(_))
    }

    fn sending(&mut self) -> io::Result<()> {
        match self {
            Self::Disk(spool) => spool.sending(),
            Self::Memory { sent, .. } => {
                *sent = true;
                Ok(())
            }
        }
    }

    fn not_taken(&mut self) -> io::Result<()> {
        match self {
            Self::Disk(spool) => spool.not_taken(),
            Self::Memory { sent, .. } => {
                *sent = false;
                Ok(())
            }
        }
    }

    fn done(&mut self) -> io::Result<()> {
        match self {
            Self::Disk(spool) => spool.done(),
            Self::Memory { alert, .. } => {
                *alert = None;
                Ok(())
            }
        }
    }
}

impl Course {
    fn succeeded(&mut self) {
        self.failures = 0;
        self.last_success = Some(Instant::now());
    }

    /// Whether the run has ended, and with it the time for what is not delivered.
    fn is_over(&self, queue: &Queue, waiting: &Waiting) -> bool {
        let Some(closed) = queue.closed_for() else {
            return false;
        };
        let silent = self.last_success.is_none_or(|last| last.elapsed() > GRACE);
        (closed > GRACE && silent) || (closed > END && waiting.keeps())
    }

    fn pause(&self) -> Duration {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.saturating_sub(1).min(16));
        // No two agents of a cluster come back at the same moment.
        let random = RandomState::new().hash_one(self.failures) % 1024;
        let jitter = 0.5 + random as f64 / 1024.0;
        doubled.min(LAST_PAUSE).mul_f64(jitter)
    }
}

/// The alert with a mark that the receiver may have it already.
fn marked(alert: &[u8]) -> Bytes {
    let at = memchr::memmem::find(alert, FIELDS.as_bytes());
    let Some(at) = at.map(|at| at + FIELDS.len()) else {
        return Bytes::copy_from_slice(alert);
    };
    let (begin, rest) = alert.split_at(at);
    let comma: &[u8] = if rest.starts_with(b"}") { b"" } else { b"," };
    [begin, RESENT.as_bytes(), comma, rest].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_goes_into_the_fields_whatever_the_texts_say() {
        let output = "forged \"output_fields\":{ in a name";
        for fields in ["{}", "{\"a\":1}"] {
            let json =
                format!("{{\"output\":{output:?},\"output_fields\":{fields},\"rule\":\"r\"}}");
            let marked: serde_json::Value =
                serde_json::from_slice(&marked(json.as_bytes())).unwrap();
            assert_eq!(marked["output"], output);
            assert_eq!(marked["output_fields"]["falco_psp.resent"], true);
        }
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        for (failures, around) in [(1, 0.25), (3, 1.0), (8, 30.0), (1_000_000, 30.0)] {
            let course = Course {
                failures,
                last_success: None,
            };
            let pause = course.pause().as_secs_f64();
            assert!(
                (around * 0.5..around * 1.5).contains(&pause),
                "{failures}: {pause}"
            );
        }
    }
}
