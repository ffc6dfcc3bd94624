//! `cargo xtask demo`: a real container that breaks a policy, and the alerts it causes.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, ExitStatus},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    build, command,
    interrupts::Interrupts,
    run,
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

/// What falco-psp returns when it has found violations, as it does here.
const VIOLATIONS: i32 = 2;

/// Sets up and builds, unless an agent is given; starts the container and watches it for some
/// seconds.
pub(crate) fn demo(agent: Option<PathBuf>) -> Result<ExitCode> {
    let agent = match agent {
        Some(agent) => agent,
        None => {
            setup::setup(For::Tests)?;
            // Without optimisations: the build is all that one waits for here.
            build::build(build::Profile::Debug)?
        }
    };
    if workspace::is_root() {
        return watch(&agent);
    }
    eprintln!("# containers and eBPF need root");
    let me = env::current_exe().context("cannot find this program")?;
    let mut again = run::as_root(&me);
    again.args(["demo", "--agent"]).arg(&agent);
    let _caught = Interrupts::catch()?;
    let status = again
        .status()
        .with_context(|| format!("cannot run `{}`", command::shown(&again)))?;
    Ok(run::exit_code(status))
}

fn watch(agent: &Path) -> Result<ExitCode> {
    let interrupts = Interrupts::catch()?;
    eprintln!("# a pod's container that runs as root and mounts the host's /etc");
    let bundle = bundle::Bundle::new()?
        .pod("default", "web")
        .container_name("main")
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
    if status.code() == Some(VIOLATIONS) {
        return Ok(ExitCode::SUCCESS);
    }
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
