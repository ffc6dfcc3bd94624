//! Reloading policies and rules while events are judged: on SIGHUP, or when a file has changed.
//!
//! Files are looked at every second instead of being watched by inotify: an inotify watch is on an
//! inode, and what happens to policies replaces inodes: a ConfigMap swaps the symbolic link
//! `..data` two folders up, editors rename. To look at the files that a path leads to now finds
//! all of it, on every file system, for a few stat calls.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior};

use crate::cli::Watch;
use crate::context::host::HostNamespaces;
use crate::listen::exposition::{Exposition, Kind};
use crate::listen::policy::digests;
use crate::memory;
use crate::own_rules::OwnRules;
use crate::policies::{self, Limits, Policies};
use crate::sources::syscall::load::{KernelSide, Options};

/// How often the files are looked at. What has changed is loaded when it was the same twice, so
/// that a file is not read while it is written.
const LOOK: Duration = Duration::from_secs(1);

/// What is to come in force.
pub struct Next {
    /// The policies.
    pub policies: Policies,
    /// The user's own rules.
    pub own: OwnRules,
    /// The kernel side with the hooks that they need, attached already.
    pub kernel: Option<KernelSide>,
}

/// How a reload ended.
pub enum Reloaded {
    /// The files are what is in force already.
    Unchanged,
    /// What is to come in force.
    Next(Box<Next>),
    /// Why what was in force stays so.
    Failed(String),
}

/// The error of a reload.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// When.
    pub time: String,
    /// What is wrong.
    pub message: String,
}

/// How reloading went so far.
#[derive(Clone, Debug, Default)]
pub struct Reloads {
    /// New policies or rules came in force.
    pub succeeded: u64,
    /// The old ones stayed, as something was wrong with the new ones.
    pub failed: u64,
    /// What was wrong, if that was the last one.
    pub error: Option<Failure>,
}

impl Reloads {
    /// Takes note of a failure.
    pub fn note_failure(&mut self, message: String) {
        self.failed += 1;
        let time = Timestamp::now().to_string();
        self.error = Some(Failure { time, message });
    }

    /// Takes note of a success.
    pub fn note_success(&mut self) {
        self.succeeded += 1;
        self.error = None;
    }

    /// Writes the families of metrics.
    pub fn write(&self, exposition: &mut Exposition) {
        exposition
            .family(
                "falco_psp_reloads_total",
                Kind::Counter,
                "Reloads of policies and rules, by outcome.",
            )
            .sample(&[("outcome", "succeeded")], self.succeeded)
            .sample(&[("outcome", "failed")], self.failed);
        exposition
            .family(
                "falco_psp_last_reload_successful",
                Kind::Gauge,
                "Whether the last reload succeeded, or none failed yet.",
            )
            .sample(&[], u64::from(self.error.is_none()));
    }
}

/// What tells whether a file is another one or has been written since.
type Stamp = (PathBuf, Option<[i64; 7]>);

/// Looks at the files, and loads what has changed.
pub struct Reloader {
    options: Watch,
    /// Needed to attach hooks, if the node is watched.
    host: Option<HostNamespaces>,
    /// Whether more is wanted of the kernel side than the rules need.
    records: bool,
    looks: Interval,
    /// How the files were when they were last loaded.
    loaded: Option<Vec<Stamp>>,
    /// How they were at the last look.
    last: Option<Vec<Stamp>>,
    job: Option<JoinHandle<Reloaded>>,
    ordered: bool,
    /// The hashes of what is in force.
    in_force: Vec<(String, String)>,
}

impl Reloader {
    /// One for the files of a run, of which `policies` and `own` are in force. With `records` the
    /// kernel side is to tell everything.
    pub fn new(
        options: &Watch,
        host: Option<HostNamespaces>,
        records: bool,
        policies: &Policies,
        own: &OwnRules,
    ) -> Self {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            options: options.clone(),
            host,
            records,
            looks,
            // They were loaded before now: the first look loads them again if they differ.
            loaded: None,
            last: None,
            job: None,
            ordered: false,
            in_force: digests(policies, own),
        }
    }

    /// Orders a reload, as SIGHUP does.
    pub fn order(&mut self) {
        self.ordered = true;
    }

    /// Takes note of what has come in force.
    pub fn note_in_force(&mut self, policies: &Policies, own: &OwnRules) {
        self.in_force = digests(policies, own);
    }

    /// Waits for the next reload to end. May be dropped at any time.
    pub async fn next(&mut self) -> Reloaded {
        loop {
            if let Some(job) = &mut self.job {
                let ended = job.await;
                self.job = None;
                return ended.unwrap_or_else(|error| Reloaded::Failed(error.to_string()));
            }
            if !self.ordered {
                self.looks.tick().await;
            }
            self.look();
        }
    }

    fn look(&mut self) {
        let now = match stamps(&self.options) {
            Ok(now) => now,
            Err(path) if self.ordered => {
                self.ordered = false;
                let path = path.display().to_string();
                self.job = Some(tokio::spawn(async move {
                    Reloaded::Failed(format!("{path} is no file: it cannot be read again"))
                }));
                return;
            }
            // Such as a pipe: to look at it would take something out of it.
            Err(_) => return,
        };
        let is_settled = self.last.as_ref() == Some(&now);
        let has_changed = self.loaded.as_ref() != Some(&now);
        if self.ordered || (is_settled && has_changed) {
            self.ordered = false;
            self.loaded = Some(now.clone());
            let (options, host, records) = (self.options.clone(), self.host, self.records);
            let in_force = self.in_force.clone();
            self.job = Some(tokio::task::spawn_blocking(move || {
                let loaded = load(&options, host.as_ref(), records, &in_force);
                memory::give_back_all();
                loaded
            }));
        }
        self.last = Some(now);
    }
}

/// The files of a run as they are now, or one that is neither a file nor a folder.
fn stamps(options: &Watch) -> Result<Vec<Stamp>, PathBuf> {
    let mut all = Vec::new();
    for path in options.psp.iter().chain(&options.rules) {
        stamp(path, &mut all)?;
        if path.is_dir()
            && let Ok(entries) = fs::read_dir(path)
        {
            let mut inside: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            inside.sort();
            for path in inside {
                // What is no file there is no rules file.
                let _ = stamp(&path, &mut all);
            }
        }
    }
    Ok(all)
}

fn stamp(path: &Path, all: &mut Vec<Stamp>) -> Result<(), PathBuf> {
    let stamp = match fs::metadata(path) {
        Ok(meta) if !meta.is_file() && !meta.is_dir() => return Err(path.to_owned()),
        Ok(meta) => Some([
            meta.dev().cast_signed(),
            meta.ino().cast_signed(),
            meta.size().cast_signed(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
        ]),
        // Between being removed and being there again.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => None,
    };
    all.push((path.to_owned(), stamp));
    Ok(())
}

fn load(
    options: &Watch,
    host: Option<&HostNamespaces>,
    records: bool,
    in_force: &[(String, String)],
) -> Reloaded {
    let loaded = || -> Result<Option<Next>, String> {
        let limits = Limits::of(options);
        let policies = Policies::load(&options.psp, &limits).map_err(|error| error.to_string())?;
        let own = OwnRules::load(&options.rules).map_err(|error| error.to_string())?;
        if digests(&policies, &own) == in_force {
            return Ok(None);
        }
        if let Some(path) = &options.psp_save {
            let text = policies.text_for(options.psp_save_format);
            let text = text.map_err(|error| error.to_string())?;
            policies::save(path, &text).map_err(|error| error.to_string())?;
        }
        let kernel = host.map(|host| {
            let types = own.after(&policies.rules).event_types();
            KernelSide::start(host, Options::of(options), |name| {
                records || !options.report.is_empty() || types.contains(name)
            })
        });
        let kernel = kernel.transpose().map_err(|error| error.to_string())?;
        Ok(Some(Next {
            policies,
            own,
            kernel,
        }))
    };
    match loaded() {
        Ok(Some(next)) => Reloaded::Next(Box::new(next)),
        Ok(None) => Reloaded::Unchanged,
        Err(message) => Reloaded::Failed(message),
    }
}
