//! What an audit event costs, part by part: `cargo xtask bench audit` runs this.
//!
//! All parts take the same real events, by turns, on one thread; each is timed several times over,
//! and the best time and the median are told. The baseline is what an engine pays that holds
//! events as JSON trees, before its first rule.

#![expect(
    clippy::unwrap_used,
    reason = "a bench ends where its data is not there"
)]

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use falco_psp::declared::Judge;
use falco_psp::policies::{Limits, Policies};
use falco_psp::report::declared::Subject;
use falco_psp::sources::k8s_audit::decode::decode;
use falco_psp::sources::k8s_audit::triage::triage;

/// How often each part is timed.
const ROUNDS: usize = 15;
/// How long one timing lasts at least.
const TIME: Duration = Duration::from_millis(200);

fn main() {
    let log = read("tests/audit/audit_nopsp.log");
    let all: Vec<Bytes> = log.lines().map(compact).collect();
    let (pods, others): (Vec<Bytes>, Vec<Bytes>) = all
        .into_iter()
        .partition(|event| decode(event.clone(), 1).is_ok());
    let restricted = Policies::load(
        &[manifest_dir().join("../examples/restricted.yaml")],
        &Limits::default(),
    );
    let restricted = restricted.unwrap();
    let mut judge = Judge::new(false);
    let parts = [
        Part::new("baseline: as a JSON tree", &pods, |event| {
            black_box(serde_json::from_slice::<serde_json::Value>(&event)).unwrap();
        }),
        Part::new("found to declare a pod, and read", &pods, |event| {
            black_box(triage(&event));
        }),
        Part::new("and its facts", &pods, |event| {
            black_box(decode(event, 1)).unwrap();
        }),
        Part::new("and judge: all of it", &pods, |event| {
            let event = decode(event, 1).unwrap();
            let subject = Subject {
                id: &event.request.name.clone(),
                place: None,
                dry_run: false,
            };
            judge.judge(&restricted, &event.into(), &subject, |alert| {
                black_box(alert);
            });
        }),
        Part::new("events that no rule needs", &others, |event| {
            black_box(decode(event, 1)).unwrap_err();
        }),
    ];
    // For a profiler: only the parts that are named so.
    let only = std::env::args()
        .nth(1)
        .filter(|name| !name.starts_with('-'));
    let mut parts: Vec<Part<'_>> = parts.into_iter().collect();
    parts.retain(|part| only.as_ref().is_none_or(|only| part.name.contains(only)));
    for _ in 0..ROUNDS {
        parts.iter_mut().for_each(Part::time);
    }
    println!(
        "{} pod events of {} bytes, {} others of {}, on average; policy restricted, {} rules",
        pods.len(),
        mean_length(&pods),
        others.len(),
        mean_length(&others),
        restricted.rules.rules().len(),
    );
    println!(
        "{:<32}{:>10}{:>10}{:>12}{:>8}{:>9}",
        "one thread", "best ns", "median", "events/s", "MB/s", "ratio"
    );
    let baseline = parts.first().map_or(0.0, |part| part.best());
    for part in &mut parts {
        part.print(baseline);
    }
}

fn manifest_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(manifest_dir().join(path)).unwrap()
}

/// An event without blanks, as the API server writes it.
fn compact(line: &str) -> Bytes {
    let raw: Box<serde_json::value::RawValue> = serde_json::from_str(line).unwrap();
    Bytes::from(raw.get().trim().to_owned())
}

fn mean_length(events: &[Bytes]) -> usize {
    let total: usize = events.iter().map(Bytes::len).sum();
    total.checked_div(events.len()).unwrap_or(0)
}

/// One thing to time.
struct Part<'a> {
    name: &'static str,
    events: &'a [Bytes],
    work: Box<dyn FnMut(Bytes) + 'a>,
    /// Nanoseconds an event, in each round.
    times: Vec<f64>,
}

impl<'a> Part<'a> {
    fn new(name: &'static str, events: &'a [Bytes], work: impl FnMut(Bytes) + 'a) -> Self {
        Self {
            name,
            events,
            work: Box::new(work),
            times: Vec::new(),
        }
    }

    fn time(&mut self) {
        let start = Instant::now();
        let mut count = 0_u32;
        while start.elapsed() < TIME {
            for event in self.events {
                (self.work)(event.clone());
                count += 1;
            }
        }
        let nanoseconds = start.elapsed().as_secs_f64() * 1e9 / f64::from(count.max(1));
        self.times.push(nanoseconds);
    }

    fn best(&self) -> f64 {
        self.times.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn print(&mut self, baseline: f64) {
        self.times.sort_by(f64::total_cmp);
        let median = self.times.get(ROUNDS / 2).copied().unwrap_or(f64::NAN);
        let best = self.best();
        let length: usize = self.events.iter().map(Bytes::len).sum();
        let count = u32::try_from(self.events.len()).map_or(f64::NAN, f64::from);
        let length = u32::try_from(length).map_or(f64::NAN, f64::from) / count;
        println!(
            "{:<32}{best:>10.0}{median:>10.0}{:>12.0}{:>8.0}{:>9}",
            self.name,
            1e9 / best,
            length * 1e3 / best,
            format!("{:.2}", baseline / best),
        );
    }
}
