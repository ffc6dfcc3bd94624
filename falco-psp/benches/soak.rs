//! Memory over a long time, in short: `cargo xtask bench soak` runs this.
//!
//! What a day brings is given to the real agent in a few seconds: 100,000 containers that start, do
//! what violates and what does not, and end; and 200,000 pods of ever new names in audit events. The
//! identities are made up, so that what is read of them in `/proc` is not there; the records are
//! those of the kernel side. The memory is this process's; the baseline is that after the first
//! tenth, when all tables have been in use.

#![expect(
    clippy::unwrap_used,
    reason = "a bench ends where its data is not there"
)]

use std::mem::offset_of;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser as _;
use falco_psp::agent::Agent;
use falco_psp::audit::Auditor;
use falco_psp::cli::Cli;
use falco_psp::context::host::HostNamespaces;
use falco_psp::event::Repeats;
use falco_psp::outputs::Outputs;
use falco_psp::outputs::alert::Format;
use falco_psp::own_rules::OwnRules;
use falco_psp::policies::{Limits, Policies};
use falco_psp::sources::k8s_audit::batch::Origin;
use falco_psp_common::record::{FIXED_SIZE, Fixed, Kind, id, namespace, tail};

const CONTAINERS: u32 = 100_000;
/// How many run at the same time.
const AT_ONCE: u32 = 250;
/// Execs of each, by different programs.
const EXECS: u32 = 20;
const PODS: u32 = 200_000;
/// How often the agent looks for containers that are gone.
const FORGET_TICK: Duration = Duration::from_secs(5);

fn main() {
    let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/restricted.yaml");
    let policies = Policies::load(&[policy], &Limits::default()).unwrap();
    let policies = Arc::new(policies);
    let line = ["falco-psp", "--psp", "p.yaml", "--output", "file:/dev/null"];
    let options = Cli::try_parse_from(line).unwrap().watch.outputs;
    let (outputs, workers) = Outputs::start(&options.settings(Format::Json)).unwrap();
    println!("policy restricted; MiB resident");
    let containers = observed(&policies, &outputs);
    let pods = declared(&policies, &outputs);
    drop(outputs);
    workers.finish().1.unwrap();
    containers.end();
    pods.end();
}

/// A row of measurements.
struct Memory {
    what: String,
    start: Instant,
    tenths: Vec<f64>,
}

impl Memory {
    fn of(what: String) -> Self {
        Self {
            what,
            start: Instant::now(),
            tenths: Vec::new(),
        }
    }

    fn note(&mut self, done: u32, of: u32) {
        let tenth = of / 10;
        if done.is_multiple_of(tenth) {
            self.tenths.push(resident_mib());
        }
    }

    fn end(&self) {
        let tenths = self.tenths.iter().map(|mib| format!("{mib:.1}"));
        let tenths: Vec<String> = tenths.collect();
        println!("{}", self.what);
        println!("  after each tenth: {}", tenths.join(" "));
        if let [first, .., last] = &*self.tenths {
            println!("  last to first: {:.2}", last / first);
        }
    }

    fn took(&mut self) {
        self.what += &format!(", in {:.1} s", self.start.elapsed().as_secs_f64());
    }
}

fn resident_mib() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    let page = f64::from(u32::try_from(rustix::param::page_size()).unwrap());
    pages * page / f64::from(1 << 20)
}

/// Containers that come and go.
fn observed(policies: &Arc<Policies>, outputs: &Outputs) -> Memory {
    let own = OwnRules::load(&[]).unwrap();
    let rules = Arc::new(own.after(&policies.rules));
    let host = HostNamespaces([1; namespace::COUNT]);
    let mut agent = Agent::new(Arc::clone(&rules), false, host, outputs.clone());
    agent.judge_by(rules, Arc::clone(policies));
    let mut memory = Memory::of(format!(
        "{CONTAINERS} containers, {AT_ONCE} at a time, {EXECS} execs and a setuid each"
    ));
    let mut now = Instant::now();
    for first in (0..CONTAINERS).step_by(usize::try_from(AT_ONCE).unwrap()) {
        let all = first..first + AT_ONCE;
        for number in all {
            for exec in 0..EXECS {
                agent.take(&record(number, Kind::Exec, exec));
            }
            agent.take(&record(number, Kind::Credentials, EXECS));
            // The kernel side saw all of it once more.
            agent.repeated(Repeats {
                posture: u64::from(number) << 8 | 1,
                times: 1,
                last: None,
            });
        }
        now += FORGET_TICK;
        agent.forget_gone_at(now);
        agent.settle();
        memory.note(first + AT_ONCE, CONTAINERS);
    }
    memory.took();
    assert!(agent.fates.judged > u64::from(CONTAINERS) * u64::from(EXECS));
    memory
}

/// A record as the kernel side sends it.
fn record(container: u32, kind: Kind, number: u32) -> Vec<u8> {
    let hex = format!("{container:064x}");
    let cgroup = format!("{hex}\0pod{container:08x}-0000-0000-0000-000000000000\0kubepods\0");
    let path = format!("/usr/bin/program-{number}\0");
    let tails: [&[u8]; tail::COUNT] = match kind {
        Kind::Exec => [
            b"",
            cgroup.as_bytes(),
            path.as_bytes(),
            path.as_bytes(),
            b"",
        ],
        _ => [b"", b"", b"", b"", b""],
    };
    let mut bytes = vec![0; FIXED_SIZE];
    let mut put = |at: usize, value: &[u8]| bytes[at..][..value.len()].copy_from_slice(value);
    let length = FIXED_SIZE + tails.iter().map(|tail| tail.len()).sum::<usize>();
    put(
        offset_of!(Fixed, length),
        &u32::try_from(length).unwrap().to_ne_bytes(),
    );
    for (index, tail) in tails.iter().enumerate() {
        let length = u16::try_from(tail.len()).unwrap();
        put(offset_of!(Fixed, tails) + 2 * index, &length.to_ne_bytes());
    }
    let posture = u64::from(container) << 8 | u64::from(number + 1);
    let cgroup_id = u64::from(container) + 1_000;
    // Above what the kernel gives to processes.
    let pid = 1_000_000_000 + container;
    put(offset_of!(Fixed, posture), &posture.to_ne_bytes());
    put(offset_of!(Fixed, cgroup_id), &cgroup_id.to_ne_bytes());
    put(offset_of!(Fixed, pid), &pid.to_ne_bytes());
    put(offset_of!(Fixed, tid), &pid.to_ne_bytes());
    put(offset_of!(Fixed, kind), &(kind as u16).to_ne_bytes());
    let mnt_ns = (10_000 + container).to_ne_bytes();
    put(offset_of!(Fixed, namespaces) + 4 * namespace::MNT, &mnt_ns);
    put(offset_of!(Fixed, program_mnt_ns), &mnt_ns);
    put(offset_of!(Fixed, parent_mnt_ns), &1_u32.to_ne_bytes());
    if kind == Kind::Credentials {
        let call = u32::try_from(libc::SYS_setuid).unwrap();
        put(offset_of!(Fixed, call), &call.to_ne_bytes());
    }
    // Half of them run as root.
    for which in [id::UID, id::SUID, id::EUID, id::FSUID] {
        let user = (container % 2 * 1_000).to_ne_bytes();
        put(offset_of!(Fixed, ids) + 4 * which, &user);
    }
    tails.iter().for_each(|tail| bytes.extend(*tail));
    bytes
}

/// Pods of ever new names.
fn declared(policies: &Arc<Policies>, outputs: &Outputs) -> Memory {
    let own = OwnRules::load(&[]).unwrap();
    let mut auditor = Auditor::new(Arc::clone(policies), &own, outputs.clone(), false);
    let origin = Origin::Webhook(SocketAddr::from(([127, 0, 0, 1], 1)));
    let mut memory = Memory::of(format!("{PODS} pods of ever new names in audit events"));
    for number in 0..PODS {
        let privileged = number % 3 == 0;
        let event = format!(
            "{{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"level\":\"RequestResponse\",\
             \"auditID\":\"{number}\",\"stage\":\"ResponseComplete\",\"verb\":\"create\",\
             \"requestURI\":\"/api/v1/namespaces/n/pods\",\"user\":{{\"username\":\"u\"}},\
             \"objectRef\":{{\"resource\":\"pods\",\"namespace\":\"n\",\"name\":\"pod-{number}\",\
             \"apiVersion\":\"v1\"}},\"responseStatus\":{{\"code\":201}},\
             \"requestObject\":{{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\
             \"metadata\":{{\"name\":\"pod-{number}\",\"namespace\":\"n\"}},\
             \"spec\":{{\"containers\":[{{\"name\":\"c\",\"image\":\"i\",\
             \"securityContext\":{{\"privileged\":{privileged}}}}}]}}}},\
             \"stageTimestamp\":\"2026-01-01T00:00:00.000000Z\"}}"
        );
        auditor.take_event(Bytes::from(event), &origin.place(1));
        memory.note(number + 1, PODS);
    }
    memory.took();
    assert_eq!(auditor.counts.judged, u64::from(PODS));
    memory
}
