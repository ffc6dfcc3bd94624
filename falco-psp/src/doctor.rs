//! What this machine can observe, by which hook, and what is missing.

use std::fmt::Write as _;
use std::path::Path;

use crate::context::host::HostNamespaces;
use crate::privileges;
use crate::sources::syscall::load::{self, HOOKS, KernelSide, LoadError, Options};
use crate::sources::syscall::object::OBJECT;
use crate::sources::syscall::offsets;

/// A check-up: its report, and whether the agent can run here.
pub struct Checkup {
    /// The report, of several lines.
    pub report: String,
    /// Whether system calls can be observed.
    pub healthy: bool,
}

/// Looks at the machine. With enough rights the programs are really loaded and attached, and
/// detached again; without, it tells what can be told.
pub fn examine() -> Checkup {
    let mut report = String::new();
    let mut healthy = true;
    let mut line = |good: bool, what: &str, detail: &str| {
        healthy &= good;
        let mark = if good { "ok     " } else { "MISSING" };
        let _ = writeln!(report, "{mark}  {what:<26} {detail}");
    };
    let release = rustix::system::uname();
    line(true, "kernel", &release.release().to_string_lossy());
    match OBJECT {
        Some(object) => line(
            true,
            "kernel object",
            &format!("{} bytes, embedded", object.len()),
        ),
        None => line(false, "kernel object", &LoadError::NoObject.to_string()),
    }
    let btf = Path::new(load::KERNEL_BTF);
    let lacking = privileges::missing();
    match lacking.is_empty() {
        true => {
            line(
                true,
                "rights",
                "enough to observe; a run keeps these and gives up all others for good",
            );
            let held = privileges::held();
            for right in privileges::WATCHING {
                let is_held = held.contains(right.capability);
                let detail = match (is_held, right.is_vital) {
                    (true, _) => right.what_for.to_owned(),
                    (false, true) => {
                        format!("CAP_SYS_ADMIN is there instead, to {}", right.what_for)
                    }
                    (false, false) => format!("not there: cannot {}", right.what_for),
                };
                line(is_held || right.is_vital, right.name, &detail);
            }
        }
        false => line(
            false,
            "rights",
            &format!("no {}: run with sudo", lacking.join(", ")),
        ),
    }
    let host = HostNamespaces::find();
    match &host {
        Ok(_) => line(
            true,
            "host namespaces",
            "known: containers can be told from the host",
        ),
        Err(name) => line(
            false,
            "host namespaces",
            &LoadError::HostNamespaces(name.clone()).to_string(),
        ),
    }
    match load::kernel_btf(btf) {
        Err(error) => line(false, "kernel types", &error.to_string()),
        Ok(btf) => {
            let (_, missing) = offsets::find(&btf);
            line(
                true,
                "kernel types",
                &format!("read from {}", load::KERNEL_BTF),
            );
            for missing in missing {
                let fact = missing.fact.describe();
                line(
                    false,
                    "kernel type member",
                    &format!("{}: without it no {fact}", missing.member),
                );
            }
        }
    }
    let started = host
        .ok()
        .filter(|_| lacking.is_empty() && OBJECT.is_some())
        .map(|host| {
            let options = Options {
                btf,
                ring_bytes: 64 << 10,
                deduplicate: false,
            };
            KernelSide::start(&host, options, |_| true)
        });
    for hook in HOOKS {
        let what = format!("tp_btf {}", hook.tracepoint);
        let needs = format!("{} (Linux {} or newer)", hook.fact, hook.minimum_kernel);
        match &started {
            Some(Ok(side)) if side.hooks.contains(hook) => line(true, &what, hook.fact),
            Some(Ok(_)) => line(false, &what, &needs),
            Some(Err(error)) => line(false, &what, &error.to_string()),
            None => line(false, &what, &format!("not tried: {needs}")),
        }
    }
    Checkup { report, healthy }
}
