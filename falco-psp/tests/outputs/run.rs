//! A run of the program over a log of so many requests.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// No test waits longer for what has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const RULE: &str = "\
- rule: Made
  desc: Something was made
  condition: ka.verb = create
  output: made %ka.target.name
  priority: ERROR
  source: k8s_audit
";

/// A folder with a rule and an audit log.
pub(crate) struct Workplace {
    folder: tempfile::TempDir,
}

impl Workplace {
    /// A log of requests that make `n0`, `n1` and so on.
    pub(crate) fn new(alerts: usize) -> Self {
        Self::with_names((0..alerts).map(|number| format!("n{number}")))
    }

    pub(crate) fn with_names(names: impl IntoIterator<Item = String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("rule.yaml"), RULE).unwrap();
        let mut log = String::new();
        for (number, name) in names.into_iter().enumerate() {
            let name = serde_json::Value::from(name);
            writeln!(
                log,
                r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"{number}","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/d/configmaps","verb":"create","user":{{"username":"u"}},"objectRef":{{"resource":"configmaps","namespace":"d","name":{name},"apiVersion":"v1"}},"responseStatus":{{"code":201}},"requestReceivedTimestamp":"2026-11-23T12:42:33.832036Z","stageTimestamp":"2026-11-23T12:42:33.834067Z"}}"#
            )
            .unwrap();
        }
        fs::write(folder.path().join("audit.log"), log).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program with these options, each a word.
    pub(crate) fn command(&self, options: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_falco-psp"));
        command
            .current_dir(self.folder.path())
            .args(["--rules", "rule.yaml", "--all", "--audit-log", "audit.log"])
            .args(options.split_whitespace())
            .stdin(Stdio::null());
        command
    }

    /// Runs it to the end of the log.
    pub(crate) fn run(&self, options: &str) -> Output {
        self.command(options).output().unwrap()
    }

    /// Runs it until it is ended.
    pub(crate) fn follow(&self, options: &str) -> Running {
        let mut command = self.command(options);
        command.arg("--follow");
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        Running(Some(child.unwrap()))
    }

    /// Leaves the log its first request only.
    pub(crate) fn keep_first(&self) {
        let log = fs::read_to_string(self.path("audit.log")).unwrap();
        fs::write(self.path("audit.log"), log.lines().next().unwrap()).unwrap();
    }

    /// The lines of a file that is there by now.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// A program that runs.
pub(crate) struct Running(Option<Child>);

impl Running {
    pub(crate) fn of(child: Child) -> Self {
        Self(Some(child))
    }

    /// What it writes alerts to, unread.
    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.0.as_mut().unwrap().stdout.take()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.0.as_ref().unwrap().id();
        kill_process(Pid::from_raw(id.cast_signed()).unwrap(), signal).unwrap();
    }

    /// Ends it; what it has told on standard error.
    pub(crate) fn end(mut self) -> String {
        self.signal(Signal::TERM);
        let output = self.0.take().unwrap().wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stderr).unwrap()
    }
}

impl Running {
    /// Kills it, so that it can end nothing.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited too long: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The bytes of all files in a folder and below.
pub(crate) fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => bytes_in(&entry.path()),
            false => entry.metadata().unwrap().len(),
        })
        .sum()
}
