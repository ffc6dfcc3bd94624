//! What an event costs the rules: `cargo xtask bench rules` runs this.
//!
//! The rules of the restricted policy about what pods do, and a rule set in the shape of Falco's
//! default one, on a mix of events of which few match, one thread. The baseline evaluates the same conditions as they are written, tree by tree.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench ends where its data is not there"
)]

#[path = "../tests/naive/mod.rs"]
mod naive;

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use falco_psp::container::Container;
use falco_psp::event::{Activity, Capabilities, CommandLine, Event, Ids, Process, SyscallEvent};
use falco_psp::policies::{Limits, Policies};
use falco_psp::rules::ast::Expr;
use falco_psp::rules::{self, RuleSet, parse_file};

const ROUNDS: usize = 15;
const TIME: Duration = Duration::from_millis(200);

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// Counts what is allocated.
struct Counting;

// SAFETY: all of it is the system's allocator; counting touches no memory but the counter's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/restricted.yaml");
    let policies = Policies::load(&[policy], &Limits::default()).unwrap();
    let events = mix();
    println!(
        "{:<24}{:>10}{:>10}{:>14}{:>8}",
        "one thread", "best ns", "median", "events/s", "ratio"
    );
    measure(
        "restricted policy",
        &policies.rules,
        &policies.text,
        &events,
    );
    let text = include_str!("default_shape.yaml");
    let (rules, _) = rules::load(&"default_shape.yaml".into(), text).expect("rules");
    measure("like Falco's default", &rules, text, &events);
}

/// What the rules of a text about what pods do cost, against the same text as trees.
fn measure(name: &str, rules: &RuleSet, text: &str, events: &[Event]) {
    let naive = trees(text);
    for event in events {
        let compiled = rules.matching(event).count();
        let walked = naive
            .iter()
            .filter(|tree| naive::holds(tree, event))
            .count();
        assert_eq!(compiled, walked, "{event:?}");
    }
    let (missing, matching): (Vec<&Event>, Vec<&Event>) =
        events.iter().partition(|event| matches(rules, event) == 0);
    println!(
        "{name}: {} rules about what pods do, {} events of which {} match",
        naive.len(),
        events.len(),
        matching.len()
    );
    let mut walked = Vec::new();
    let mut compiled = Vec::new();
    for _ in 0..ROUNDS {
        walked.push(time(events, |event| {
            naive
                .iter()
                .filter(|tree| naive::holds(tree, event))
                .count()
        }));
        compiled.push(time(events, |event| matches(rules, event)));
    }
    let baseline = print("baseline: tree by tree", &mut walked, None);
    print("compiled", &mut compiled, Some(baseline));
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for event in &missing {
        black_box(matches(rules, event));
    }
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    println!(
        "allocations for {} events that match no rule: {allocations}",
        missing.len()
    );
}

fn matches(rules: &RuleSet, event: &Event) -> usize {
    rules.matching(event).count()
}

/// The conditions of the rules about what pods do, with their macros filled in.
fn trees(text: &str) -> Vec<Expr> {
    let parsed = parse_file(&"rules".into(), text).expect("rules");
    let of_calls = parsed
        .rules
        .into_iter()
        .filter(|rule| rule.source == "syscall");
    of_calls
        .map(|rule| filled(&rule.condition, &parsed.macros))
        .collect()
}

fn filled(expr: &Expr, macros: &[(String, Expr)]) -> Expr {
    let all = |parts: &[Expr]| parts.iter().map(|part| filled(part, macros)).collect();
    match expr {
        Expr::Or(parts) => Expr::Or(all(parts)),
        Expr::And(parts) => Expr::And(all(parts)),
        Expr::Not(inner) => Expr::Not(Box::new(filled(inner, macros))),
        Expr::Macro(name) => {
            let found = macros.iter().find(|(known, _)| *known == name.name);
            filled(&found.expect("a macro").1, macros)
        }
        Expr::Check(check) => Expr::Check(check.clone()),
    }
}

/// Nanoseconds an event.
fn time(events: &[Event], mut work: impl FnMut(&Event) -> usize) -> f64 {
    let start = Instant::now();
    let mut count = 0_u32;
    while start.elapsed() < TIME {
        for event in events {
            black_box(work(black_box(event)));
            count += 1;
        }
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(count)
}

fn print(name: &str, times: &mut [f64], baseline: Option<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    let best = times.first().copied().unwrap_or(f64::NAN);
    let median = times.get(times.len() / 2).copied().unwrap_or(f64::NAN);
    let ratio = format!("{:.1}", baseline.unwrap_or(best) / best);
    println!(
        "{name:<24}{best:>10.0}{median:>10.0}{:>14.0}{ratio:>8}",
        1e9 / best
    );
    best
}

/// Execs, changes of credentials and mounts, of processes that run as users; one in 32 as root.
fn mix() -> Vec<Event> {
    (0..256_u32)
        .map(|n| {
            let user = if n % 32 == 8 { 0 } else { 1000 + n };
            let ids = Ids {
                real: user,
                effective: user,
                saved: user,
                filesystem: user,
            };
            let activity = match n % 8 {
                0..4 => Activity::Exec,
                4 | 5 => Activity::Credentials {
                    call: ["setuid", "setgid", "setresuid", "capset"][n as usize % 4],
                    result: 0,
                },
                6 => Activity::Mount {
                    call: "mount",
                    result: -1,
                    source: "tmpfs".to_owned(),
                    target: "/mnt".to_owned(),
                    fs_type: "tmpfs".to_owned(),
                },
                _ => Activity::Container,
            };
            Event::from(SyscallEvent {
                number: n.into(),
                time_ns: 0,
                activity,
                process: Arc::new(Process {
                    pid: 1000 + n,
                    tid: 1000 + n,
                    name: "worker".to_owned(),
                    executable: Some("/usr/bin/worker".to_owned()),
                    arguments: Some(CommandLine::from_iter(["worker", "--serve"])),
                    users: ids,
                    groups: ids,
                    supplementary_groups: vec![user],
                    capabilities: Capabilities::default(),
                    no_new_privs: Some(true),
                    ..Process::default()
                }),
                container: Arc::new(Container {
                    id: "0123456789abcdef".repeat(4),
                    name: Some("web".to_owned()),
                    image: Some("nginx:1.25".to_owned()),
                    privileged: Some(false),
                    host_pid: Some(false),
                    host_ipc: Some(false),
                    host_network: Some(false),
                    root_read_only: Some(true),
                    volumes: Some(Vec::new()),
                    ..Container::default()
                }),
            })
        })
        .collect()
}
