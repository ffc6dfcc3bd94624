//! What watches: nothing, falco-psp, and whatever else is installed.

use std::fs;
use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// Audit rules for the calls that the others watch.
const AUDITED: [&str; 4] = ["execve", "setuid", "capset", "mount"];
const BPFTRACE: &str = "\
tracepoint:sched:sched_process_exec { printf(\"%s %d\\n\", comm, pid); }
tracepoint:syscalls:sys_exit_setuid, tracepoint:syscalls:sys_exit_capset,
tracepoint:syscalls:sys_exit_mount { printf(\"%s %s %d\\n\", probe, comm, args->ret); }";

/// Something that watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watcher {
    Nothing,
    FalcoPsp,
    Bpftrace,
    Execsnoop,
    Auditd,
}

/// One at work; dropped, it ends.
pub(crate) struct Running {
    watcher: Watcher,
    child: Option<Child>,
}

impl Watcher {
    /// All that is installed here and can watch; what cannot is told.
    pub(crate) fn installed() -> Vec<Self> {
        let mut all = vec![Self::Nothing, Self::FalcoPsp];
        // Auditing needs the kernel's consent, too.
        for (watcher, program, harmless) in [
            (Self::Bpftrace, "bpftrace", "--version"),
            (Self::Execsnoop, "execsnoop", "--version"),
            (Self::Auditd, "auditctl", "-s"),
        ] {
            if !is_installed(program, harmless) {
                eprintln!("{} is not installed: left out", watcher.name());
            } else if let Err(error) = watcher.start() {
                eprintln!("{} cannot watch here: left out: {error:#}", watcher.name());
            } else {
                all.push(watcher);
            }
        }
        all
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::FalcoPsp => "falco-psp",
            Self::Bpftrace => "bpftrace",
            Self::Execsnoop => "execsnoop",
            Self::Auditd => "auditd",
        }
    }

    /// Starts it, and waits until it watches.
    pub(crate) fn start(self) -> Result<Running> {
        let child = match self {
            Self::Nothing => None,
            Self::FalcoPsp => {
                let mut agent = agent(&["--output", "file:/dev/null"]);
                agent.stderr(Stdio::piped());
                Some(started(&mut agent, b"watching")?)
            }
            Self::Bpftrace => {
                let mut bpftrace = Command::new("bpftrace");
                bpftrace.args(["-e", BPFTRACE]).stderr(Stdio::piped());
                let child = bpftrace.stdout(Stdio::null()).spawn();
                // It says that it attaches, not that it has.
                thread::sleep(Duration::from_secs(3));
                Some(child.context("cannot start bpftrace")?)
            }
            Self::Execsnoop => {
                let mut execsnoop = Command::new("execsnoop");
                let child = execsnoop
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn();
                thread::sleep(Duration::from_secs(2));
                Some(child.context("cannot start execsnoop")?)
            }
            Self::Auditd => {
                auditctl(&["-e", "1"])?;
                for call in AUDITED {
                    audit("-a", call)?;
                }
                None
            }
        };
        let mut running = Running {
            watcher: self,
            child,
        };
        ensure!(running.is_alive(), "{} ended at once", self.name());
        Ok(running)
    }
}

impl Running {
    fn is_alive(&mut self) -> bool {
        self.child
            .as_mut()
            .is_none_or(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Nanoseconds of processor time that it has taken so far.
    pub(crate) fn cpu_ns(&self) -> Option<u64> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.as_ref()?.id())).ok()?;
        tasks
            .map(|task| {
                let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
                text.split(' ').next()?.parse::<u64>().ok()
            })
            .sum()
    }

    /// MiB that it has in memory.
    pub(crate) fn resident_mib(&self) -> Option<f64> {
        let pid = self.child.as_ref()?.id();
        let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
        let kib: f64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some(kib / 1024.0)
    }

    /// Name, nanoseconds and turns of each of its programs in the kernel, if the kernel counts.
    pub(crate) fn programs(&self) -> Vec<(String, u64, u64)> {
        let Some(child) = &self.child else {
            return Vec::new();
        };
        let files = fs::read_dir(format!("/proc/{}/fdinfo", child.id()));
        let mut found = Vec::new();
        for file in files.into_iter().flatten().flatten() {
            let text = fs::read_to_string(file.path()).unwrap_or_default();
            let number = |key: &str| {
                let value = text.lines().find_map(|line| line.strip_prefix(key))?;
                value.trim().parse::<u64>().ok()
            };
            let (Some(id), Some(ns), Some(turns)) = (
                number("prog_id:"),
                number("run_time_ns:"),
                number("run_cnt:"),
            ) else {
                continue;
            };
            let mut programs = aya::programs::loaded_programs().flatten();
            let name = programs
                .find(|program| u64::from(program.id()) == id)
                .and_then(|program| program.name_as_str().map(str::to_owned));
            let row = (name.unwrap_or_default(), ns, turns);
            // A program has a file descriptor of its own, and its link has another.
            if turns > 0 && !found.contains(&row) {
                found.push(row);
            }
        }
        found
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            end(child);
            let _ = child.wait();
        }
        if self.watcher == Watcher::Auditd {
            for call in AUDITED {
                let _ = audit("-d", call);
            }
            let _ = auditctl(&["-e", "0"]);
        }
    }
}

/// The agent with the policy of the bench.
pub(crate) fn agent(arguments: &[&str]) -> Command {
    let mut agent = Command::new(env!("CARGO_BIN_EXE_falco-psp"));
    agent
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["--psp", "examples/restricted.yaml", "--cri", "none"])
        .args(arguments)
        .stdin(Stdio::null());
    agent
}

/// Starts a program, and waits until it says a word on standard error.
pub(crate) fn started(command: &mut Command, word: &[u8]) -> Result<Child> {
    let mut child = command.spawn().context("cannot start falco-psp")?;
    let mut said = Vec::new();
    if let Some(stderr) = &mut child.stderr {
        let mut byte = [0];
        while !said.ends_with(word) {
            let more = stderr.read(&mut byte).context("cannot read its messages")?;
            ensure!(
                more == 1,
                "falco-psp ended: {}",
                String::from_utf8_lossy(&said)
            );
            said.push(byte[0]);
        }
    }
    Ok(child)
}

fn is_installed(program: &str, harmless: &str) -> bool {
    let output = Command::new(program).arg(harmless).output();
    output.is_ok_and(|output| output.status.success())
}

fn audit(action: &str, call: &str) -> Result<()> {
    auditctl(&[action, "always,exit", "-F", "arch=b64", "-S", call])
}

fn auditctl(arguments: &[&str]) -> Result<()> {
    let output = Command::new("auditctl").args(arguments).output();
    let output = output.context("cannot run auditctl")?;
    ensure!(
        output.status.success(),
        "auditctl: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Tells a process to end.
pub(crate) fn end(child: &Child) {
    if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
        // It has ended already: then there is nothing to do.
        let _ = kill_process(pid, Signal::TERM);
    }
}
