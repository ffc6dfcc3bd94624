//! Real containers, run by runc and removed without a trace.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Once, OnceLock, PoisonError, RwLock},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::bundle::{Bundle, Id};

/// Held for reading while a container is made, for writing while the folders are removed that
/// the cgroups of all containers share.
static CGROUPS: RwLock<()> = RwLock::new(());

const CGROUP_ROOT: &str = "/sys/fs/cgroup";
const RUNC_STATES: &str = "/run/runc";

/// A running container; dropped, it is killed and removed.
pub(crate) struct Container {
    bundle: Bundle,
    pid: u32,
}

impl Container {
    /// Starts the container and waits until its own program runs.
    pub(crate) fn start(bundle: Bundle) -> Result<Self> {
        prepare();
        bundle.write()?;
        let log_path = bundle.folder().join("output.log");
        let log = File::create(&log_path).context("cannot create the container's log")?;
        let pid_file = bundle.folder().join("pid");
        let mut runc = runc_run(&bundle);
        runc.args(["--detach", "--pid-file"]).arg(&pid_file);
        runc.arg(bundle.id().as_str());
        runc.stdin(Stdio::null());
        runc.stdout(
            log.try_clone()
                .context("cannot share the container's log")?,
        );
        runc.stderr(log);
        // From here on the container is removed whatever happens.
        let mut container = Self { bundle, pid: 0 };
        let status = {
            let _shared = CGROUPS.read().unwrap_or_else(PoisonError::into_inner);
            runc.status().context("cannot run runc")?
        };
        if !status.success() {
            bail!("runc run: {status}: {}", container.output());
        }
        let text = fs::read_to_string(&pid_file).context("runc wrote no pid file")?;
        container.pid = text
            .trim()
            .parse()
            .context("runc's pid file is no number")?;
        container.await_program()?;
        Ok(container)
    }

    /// Runs a container until its program ends.
    pub(crate) fn run_to_end(bundle: Bundle) -> Result<Output> {
        prepare();
        bundle.write()?;
        let mut runc = runc_run(&bundle);
        runc.arg(bundle.id().as_str()).stdin(Stdio::null());
        let container = Self { bundle, pid: 0 };
        let output = {
            let _shared = CGROUPS.read().unwrap_or_else(PoisonError::into_inner);
            runc.output().context("cannot run runc")
        };
        drop(container);
        output
    }

    /// Runs a program in the container, with the container's own settings, until it ends.
    pub(crate) fn exec(&self, args: &[&str]) -> Result<Output> {
        let mut runc = Command::new("runc");
        runc.arg("exec").arg(self.id().as_str()).args(args);
        runc.stdin(Stdio::null())
            .output()
            .context("cannot run runc exec")
    }

    /// The container's id.
    pub(crate) fn id(&self) -> &Id {
        self.bundle.id()
    }

    /// The pid of its first process, on the host.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// What its first process and runc have printed.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(self.bundle.folder().join("output.log")).unwrap_or_default()
    }

    /// The fields of `/proc/PID/status` of its first process.
    pub(crate) fn status(&self) -> Result<BTreeMap<String, String>> {
        let path = format!("/proc/{}/status", self.pid);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        Ok(pairs
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect())
    }

    /// runc returns when it has told its child to run the program, not when that has done so.
    fn await_program(&self) -> Result<()> {
        let comm = format!("/proc/{}/comm", self.pid);
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let name = fs::read_to_string(&comm)
                .with_context(|| format!("the container ended at once: {}", self.output()))?;
            if !name.starts_with("runc:[") {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "runc never ran the program");
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        remove(self.bundle.id());
    }
}

fn runc_run(bundle: &Bundle) -> Command {
    let mut runc = if bundle.has_runtime_with_mounts_of_its_own() {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--", "runc"]);
        unshare
    } else {
        Command::new("runc")
    };
    runc.args(["run", "--bundle"]).arg(bundle.folder());
    runc
}

/// Once a process: looks at what there is, and removes what a killed run left behind.
fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let entries = fs::read_dir(RUNC_STATES).into_iter().flatten().flatten();
        for entry in entries {
            let orphan = Id::parse(&entry.file_name().to_string_lossy()).filter(|id| {
                id.maker()
                    .is_some_and(|maker| !Path::new(&format!("/proc/{maker}")).exists())
            });
            if let Some(id) = orphan {
                remove(&id);
            }
        }
        shared_cgroups();
    });
}

/// Kills and deletes the container; one that never came to be is no error.
fn remove(id: &Id) {
    let deleted = Command::new("runc")
        .args(["delete", "--force", id.as_str()])
        .output();
    if let Err(error) = deleted {
        eprintln!("warning: cannot run runc delete: {error}");
    }
    let _alone = CGROUPS.write().unwrap_or_else(PoisonError::into_inner);
    let cgroup = id.cgroup();
    let leaf = Path::new(cgroup.trim_start_matches('/'));
    for hierarchy in hierarchies() {
        for folder in [Some(leaf), leaf.parent()].into_iter().flatten() {
            // What is gone or in use fails, which is right.
            let _ = fs::remove_dir(hierarchy.join(folder));
        }
    }
    for folder in shared_cgroups() {
        let _ = fs::remove_dir(folder);
    }
}

/// The folders that the cgroups of all pods share, as far as this machine did not have them
/// before: a kubelet's stay.
fn shared_cgroups() -> &'static [PathBuf] {
    static FOLDERS: OnceLock<Vec<PathBuf>> = OnceLock::new();
    FOLDERS.get_or_init(|| {
        hierarchies()
            .into_iter()
            .flat_map(|root| ["kubepods/besteffort", "kubepods"].map(|name| root.join(name)))
            .filter(|folder| !folder.exists())
            .collect()
    })
}

/// The mounted cgroup hierarchies: one with cgroup v2, one for each controller with v1.
pub(crate) fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new(CGROUP_ROOT);
    if root.join("cgroup.controllers").exists() {
        return vec![root.to_owned()];
    }
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}
