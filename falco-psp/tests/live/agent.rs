//! The real agent, started as a user starts it.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::bundle::Id;

/// What the agent says on stderr, somewhere in a line, when it sees everything from now on.
pub(crate) const READY: &str = "watching";

/// The policy that most tests judge by.
pub(crate) const RESTRICTED: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/live/restricted.yaml");

const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until something is so; false if it never is.
pub(crate) fn within_patience(is_so: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if is_so() {
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
    false
}

/// A running agent; dropped, it is killed.
pub(crate) struct Agent {
    child: Child,
    alerts: Arc<Mutex<Vec<Alert>>>,
    messages: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<Result<()>>>,
}

/// What an agent has left behind.
pub(crate) struct Ended {
    /// The exit code; `None` where a signal ended it.
    pub(crate) code: Option<i32>,
    /// All alerts.
    pub(crate) alerts: Vec<Alert>,
    /// All that it said on stderr, the summary included.
    pub(crate) messages: String,
}

impl Agent {
    /// Starts the agent with a policy and waits until it watches.
    pub(crate) fn start(policy: &str, arguments: &[&str]) -> Result<Self> {
        Self::run(&[&["--psp", policy, "--json"], arguments].concat())
    }

    /// The same, and what happens is recorded.
    pub(crate) fn record(file: &str, policy: &str, arguments: &[&str]) -> Result<Self> {
        Self::run(&[&["record", file, "--psp", policy, "--json"], arguments].concat())
    }

    fn run(arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_falco-psp"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start falco-psp")?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let mut agent = Self {
            child,
            alerts: Arc::default(),
            messages: Arc::default(),
            readers: Vec::new(),
        };
        let alerts = Arc::clone(&agent.alerts);
        agent.read(stdout, move |line| {
            let alert = Alert::parse(line)?;
            lock(&alerts).push(alert);
            Ok(())
        });
        let messages = Arc::clone(&agent.messages);
        agent.read(stderr, move |line| {
            let mut messages = lock(&messages);
            messages.push_str(line);
            messages.push('\n');
            Ok(())
        });
        agent.await_ready()?;
        Ok(agent)
    }

    /// Waits until the alerts so far satisfy the condition; false if they never do.
    pub(crate) fn wait_for(&self, condition: impl Fn(&[Alert]) -> bool) -> bool {
        within_patience(|| condition(&lock(&self.alerts)))
    }

    /// Has it look at its files.
    pub(crate) fn reload(&self) -> Result<()> {
        self.signal(Signal::HUP)
    }

    /// What it has said on stderr so far.
    pub(crate) fn said(&self) -> String {
        lock(&self.messages).clone()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Keeps the agent from running until it is resumed.
    pub(crate) fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a paused agent go on.
    pub(crate) fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).context("no pid")?;
        kill_process(pid, signal).with_context(|| format!("cannot send {signal:?}"))
    }

    /// Stops the agent as a service manager does, and returns what it left.
    pub(crate) fn stop(mut self) -> Result<Ended> {
        self.signal(Signal::TERM)?;
        self.end()
    }

    /// Ends the agent at once, as nothing can that it could prepare for.
    pub(crate) fn kill(mut self) -> Result<Vec<Alert>> {
        self.signal(Signal::KILL)?;
        Ok(self.end()?.alerts)
    }

    /// Waits until the agent ends by itself (`--duration`), and returns what it left.
    pub(crate) fn wait(mut self) -> Result<Ended> {
        self.end()
    }

    fn end(&mut self) -> Result<Ended> {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().context("cannot wait for falco-psp")? {
                break status;
            }
            ensure!(
                Instant::now() < deadline,
                "falco-psp does not end; it said:\n{}",
                lock(&self.messages)
            );
            thread::sleep(Duration::from_millis(10));
        };
        for reader in self.readers.drain(..) {
            match reader.join() {
                Ok(result) => result?,
                Err(_) => bail!("a reader panicked"),
            }
        }
        Ok(Ended {
            code: status.code(),
            alerts: lock(&self.alerts).clone(),
            messages: lock(&self.messages).clone(),
        })
    }

    fn await_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !lock(&self.messages).contains(READY) {
            if let Some(status) = self.child.try_wait().context("cannot wait for falco-psp")? {
                let ended = self.end()?;
                bail!(
                    "falco-psp ended before it watched: {status}:\n{}",
                    ended.messages
                );
            }
            ensure!(
                Instant::now() < deadline,
                "falco-psp never said `{READY}`; it said:\n{}",
                lock(&self.messages)
            );
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn read(
        &mut self,
        stream: Option<impl Read + Send + 'static>,
        mut take: impl FnMut(&str) -> Result<()> + Send + 'static,
    ) {
        let Some(stream) = stream else { return };
        self.readers.push(thread::spawn(move || {
            let mut result = Ok(());
            for line in BufReader::new(stream).lines() {
                let line = line.context("cannot read what falco-psp writes")?;
                // Reads on after an error, so that the agent is not held up by a full pipe.
                if result.is_ok() {
                    result = take(&line);
                }
            }
            result
        }));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, which is right.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One alert, as JSON in Falco's form.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Alert(Value);

impl Alert {
    pub(crate) fn parse(line: &str) -> Result<Self> {
        let json: Value =
            serde_json::from_str(line).with_context(|| format!("no JSON on stdout: {line}"))?;
        for key in [
            "hostname",
            "output",
            "output_fields",
            "priority",
            "rule",
            "source",
            "tags",
            "time",
        ] {
            ensure!(json.get(key).is_some(), "no `{key}` in the alert {line}");
        }
        Ok(Self(json))
    }

    /// The control: the tag beside `k8s-psp`.
    pub(crate) fn control(&self) -> Option<&str> {
        let tags = self.0["tags"].as_array()?;
        let mut names = tags.iter().filter_map(Value::as_str);
        names.find(|name| *name != "k8s-psp")
    }

    /// One of the output fields, where it is a string.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.0["output_fields"][name].as_str()
    }

    /// One of the output fields, where it is a list.
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        let values = self.0["output_fields"][name].as_array();
        values
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    }

    /// The rule that fired.
    pub(crate) fn rule(&self) -> &str {
        self.0["rule"].as_str().unwrap_or_default()
    }

    /// What it says.
    pub(crate) fn output(&self) -> &str {
        self.0["output"].as_str().unwrap_or_default()
    }

    /// How many events it says were lost, where it is about that.
    pub(crate) fn lost(&self) -> Option<u64> {
        self.0["output_fields"]["n_drops"].as_u64()
    }

    /// Whether the alert is about this container.
    pub(crate) fn is_about(&self, id: &Id) -> bool {
        self.field("container.id") == Some(id.short())
    }
}

/// The controls that the alerts name for a container.
pub(crate) fn controls(alerts: &[Alert], id: &Id) -> BTreeSet<String> {
    alerts
        .iter()
        .filter(|alert| alert.is_about(id))
        .filter_map(Alert::control)
        .map(str::to_owned)
        .collect()
}

/// The alerts that are about no container: there must be none.
pub(crate) fn about_host(alerts: &[Alert]) -> Vec<&Alert> {
    alerts
        .iter()
        .filter(|alert| matches!(alert.field("container.id"), None | Some("" | "host")))
        .collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
