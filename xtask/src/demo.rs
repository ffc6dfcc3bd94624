//! `cargo xtask demo`: a real container that breaks a policy, and the alerts it causes.

use std::{
    env,
    path::Path,
    process::{Child, Command, ExitCode, ExitStatus},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use signal_hook::{
    SigId,
    consts::{SIGINT, SIGTERM},
};

use crate::{
    build, command, run,
    setup::{self, For},
    workspace,
};

// The same code starts the containers of the live tests.
#[path = "../../falco-psp/tests/live/bundle.rs"]
#[expect(dead_code, reason = "the live tests use the rest")]
mod bundle;
#[path = "../../falco-psp/tests/live/container.rs"]
#[expect(dead_code, reason = "the live tests use the rest")]
mod container;

const POLICY: &str = "examples/restricted.yaml";
const DURATION: &str = "5s";

/// Sets up, builds, starts the container and watches it for some seconds.
pub(crate) fn demo(built: bool) -> Result<ExitCode> {
    if !built {
        setup::setup(For::Tests)?;
        build::build(true)?;
    }
    if !workspace::is_root() {
        eprintln!("# containers and eBPF need root");
        let me = env::current_exe().context("cannot find this program")?;
        let mut again = run::as_root(&me);
        again.args(["demo", "--built"]);
        let _caught = Interrupts::catch()?;
        let status = again
            .status()
            .with_context(|| format!("cannot run `{}`", command::shown(&again)))?;
        return Ok(run::exit_code(status));
    }
    let agent = workspace::target_dir().join("release/falco-psp");
    watch(&agent)
}

fn watch(agent: &Path) -> Result<ExitCode> {
    let interrupts = Interrupts::catch()?;
    eprintln!("# a pod's container that runs as root and mounts the host's /etc");
    let bundle = bundle::Bundle::new()?
        .pod("default", "web")
        .container_name("nginx")
        .image("docker.io/library/busybox:latest")
        .user(0, 0, &[])
        .default_capabilities()
        .no_new_privs(false)
        .read_only_root(false)
        .host_path("/etc", "/host/etc", true)
        .args(&[
            "/bin/sh",
            "-c",
            "while :; do cat /host/etc/hostname; sleep 1; done",
        ]);
    let _container = container::Container::start(bundle)?;

    let mut command = Command::new(agent);
    command.current_dir(workspace::root());
    command.args(["--psp", POLICY, "--duration", DURATION]);
    eprintln!("$ falco-psp --psp {POLICY} --duration {DURATION}");
    let mut agent = command
        .spawn()
        .with_context(|| format!("cannot run `{}`", command::shown(&command)))?;
    let status = wait(&mut agent, &interrupts)?;
    Ok(run::exit_code(status))
}

/// Waits for the agent; a request to end is passed on to it.
fn wait(agent: &mut Child, interrupts: &Interrupts) -> Result<ExitStatus> {
    let mut told = false;
    loop {
        if let Some(status) = agent.try_wait().context("cannot wait for falco-psp")? {
            return Ok(status);
        }
        if interrupts.came() && !told {
            told = true;
            if let Some(pid) = rustix::process::Pid::from_raw(agent.id().cast_signed()) {
                rustix::process::kill_process(pid, rustix::process::Signal::TERM)
                    .context("cannot stop falco-psp")?;
            }
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// As long as it lives, SIGINT and SIGTERM are noted instead of ending the process, so that
/// what was started is ended too.
pub(crate) struct Interrupts {
    came: Arc<AtomicBool>,
    registered: Vec<SigId>,
}

impl Interrupts {
    /// Starts to note the signals.
    pub(crate) fn catch() -> Result<Self> {
        let came = Arc::new(AtomicBool::new(false));
        let registered = [SIGINT, SIGTERM]
            .into_iter()
            .map(|signal| signal_hook::flag::register(signal, Arc::clone(&came)))
            .collect::<Result<_, _>>()
            .context("cannot catch signals")?;
        Ok(Self { came, registered })
    }

    /// Whether one came.
    pub(crate) fn came(&self) -> bool {
        self.came.load(Ordering::Relaxed)
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}
