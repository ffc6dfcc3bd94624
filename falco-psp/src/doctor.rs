//! What this machine can observe, by which hook, and what is missing.

use std::fmt::Write as _;
use std::path::Path;

use crate::context::cluster::Config;
use crate::context::host::HostNamespaces;
use crate::context::lsm::Modules;
use crate::context::{cri, mountinfo, processes, sockets};
use crate::privileges;
use crate::sources::syscall::hooks::HOOKS;
use crate::sources::syscall::load::{self, KernelSide, LoadError, Options};
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
    match Config::find(None, None) {
        Ok(Some(config)) => line(
            true,
            "API server",
            &format!("asked for the pods of node {}", config.node),
        ),
        // A choice, and nothing that is wrong.
        Ok(None) => line(
            true,
            "API server",
            "not asked: no service account with NODE_NAME; --kubeconfig and --node-name change that",
        ),
        Err(error) => line(false, "API server", &error.to_string()),
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
                without_hooks: &[],
                btf,
                ring_bytes: 64 << 10,
                deduplicate: false,
            };
            KernelSide::start(&host, options, |_| true)
        });
    let mut untold = Vec::new();
    for hook in HOOKS {
        let what = hook.label();
        let needs = format!(
            "{} (Linux {} or newer)",
            hook.describes, hook.minimum_kernel
        );
        match &started {
            Some(Ok(side)) if side.hooks.contains(hook) => line(true, &what, hook.describes),
            // One tier is enough, and an older kernel is no fault.
            Some(Ok(side)) if hook.tier_of.is_some() => {
                let mut refused = side.refused.iter();
                let refused = refused.find(|refused| refused.hook == *hook);
                let is_told = side.hooks.iter().any(|used| used.tier_of == hook.tier_of);
                untold.push(match (refused, is_told) {
                    (Some(refused), true) => (
                        "instead",
                        what,
                        format!("{}: the next one does its work", refused.why),
                    ),
                    (None, true) => ("spare  ", what, "not tried: not needed".to_owned()),
                    (Some(refused), false) => {
                        ("unknown", what, format!("{needs}: {}", refused.why))
                    }
                    (None, false) => ("unknown", what, needs),
                });
            }
            Some(Ok(_)) => line(false, &what, &needs),
            Some(Err(error)) => line(false, &what, &error.to_string()),
            None => line(false, &what, &format!("not tried: {needs}")),
        }
    }
    for (mark, what, detail) in untold {
        // Writing to a string cannot fail.
        let _ = writeln!(report, "{mark}  {what:<26} {detail}");
    }
    for Row {
        what,
        is_known,
        detail,
    } in confinement()
    {
        let mark = if is_known { "ok     " } else { "unknown" };
        // Writing to a string cannot fail.
        let _ = writeln!(report, "{mark}  {what:<26} {detail}");
    }
    Checkup { report, healthy }
}

/// What is read of containers without a hook.
struct Row {
    what: &'static str,
    /// Whether this machine has it. What it has not is unknown of its containers, and no fault.
    is_known: bool,
    detail: String,
}

/// What confines containers, and where that is read.
fn confinement() -> Vec<Row> {
    let modules = Modules::find();
    let runtime = cri::find(None);
    let row = |what, is_known, known: &str, unknown: &str| Row {
        what,
        is_known,
        detail: if is_known { known } else { unknown }.to_owned(),
    };
    let kubelets = ["/var/lib/kubelet/pods", "/proc/1/root/var/lib/kubelet/pods"];
    let own = std::process::id();
    vec![
        Row {
            what: "container runtime",
            is_known: runtime.is_some(),
            detail: match runtime {
                Some(socket) => format!("asked at {}", socket.display()),
                None => {
                    "no socket: names of seccomp profiles, port mappings and sysctls come from \
                         bundles alone"
                        .to_owned()
                }
            },
        },
        row(
            "hostPorts",
            sockets::listening(own).is_some(),
            "/proc/PID/net and /proc/PID/fd, again and again; port mappings from the runtime",
            "/proc/PID/net cannot be read",
        ),
        row(
            "seccomp",
            processes::state(own).is_some(),
            "whether there is a filter: from the kernel; its name: from the runtime",
            "/proc/PID/status cannot be read",
        ),
        row(
            "AppArmor",
            modules.app_armor,
            "/proc/PID/attr/apparmor/current",
            "not in force in this kernel",
        ),
        row(
            "SELinux",
            modules.se_linux,
            "/proc/PID/attr/current",
            "not in force in this kernel",
        ),
        row(
            "procMount",
            mountinfo::read(own).is_ok(),
            "/proc/PID/mountinfo, and the bundle",
            "/proc/PID/mountinfo cannot be read",
        ),
        row(
            "sysctls",
            true,
            "the bundles of the container and of its sandbox, or the runtime",
            "",
        ),
        row(
            "CSI drivers",
            kubelets.iter().any(|folder| Path::new(folder).is_dir()),
            "vol_data.json in the kubelet's folder",
            "no kubelet's folder /var/lib/kubelet/pods",
        ),
    ]
}
