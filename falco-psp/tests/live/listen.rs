//! `--listen` and reloading while a node is watched.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{
    agent::{Agent, RESTRICTED},
    bundle::Bundle,
    container::Container,
    needs, prometheus,
};

/// Allows everything, so that no call has to be seen.
const PERMISSIVE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/permissive.yaml");
/// What alert rules and the dashboard of the manifests ask for.
const METRICS: [&str; 8] = [
    "falco_psp_kernel_events_total",
    "falco_psp_alerts_total",
    "falco_psp_output_delivered_total",
    "falco_psp_output_dropped_total",
    "falco_psp_output_queue_depth",
    "falco_psp_reloads_total",
    "falco_psp_last_reload_successful",
    "falco_psp_metadata_lookups_total",
];
const PATIENCE: Duration = Duration::from_secs(20);

fn address(said: &str) -> Result<SocketAddr> {
    let (_, rest) = said.split_once("served at http://").context("no address")?;
    Ok(rest.lines().next().unwrap_or_default().trim().parse()?)
}

fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, body.to_owned()))
}

/// A process that is killed when it is no longer needed.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_agent_is_ready_when_its_hooks_are_attached_and_the_scan_is_done() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let child = Command::new(env!("CARGO_BIN_EXE_falco-psp"))
        .args(["--psp", RESTRICTED, "--listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut agent = Killed(child);
    let stderr = agent.0.stderr.take().context("no stderr")?;
    let mut lines = BufReader::new(stderr).lines();
    let pages = loop {
        let line = lines.next().context("it ended")??;
        if let Ok(address) = address(&line) {
            break address;
        }
    };
    thread::spawn(move || lines.for_each(drop));
    let (status, first) = get(pages, "/readyz")?;
    assert_eq!(status, 503, "{first}");
    assert!(first.contains("the hooks are not attached yet"), "{first}");
    assert_eq!(get(pages, "/healthz")?.0, 200);
    let deadline = Instant::now() + PATIENCE;
    while get(pages, "/readyz")?.0 != 200 {
        if Instant::now() > deadline {
            bail!("never ready: {}", get(pages, "/readyz")?.1);
        }
        thread::sleep(Duration::from_millis(20));
    }
    let text = get(pages, "/metrics")?.1;
    for name in METRICS {
        assert!(text.contains(&format!("# TYPE {name} ")), "{name}: {text}");
    }
    let metrics = prometheus::parse(&text);
    assert_eq!(metrics["falco_psp_ready"], 1.0);
    Ok(())
}

#[test]
fn a_new_policy_judges_what_runs_already_and_gets_the_hooks_that_it_needs() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let policy = folder.path().join("policy.yaml");
    fs::copy(PERMISSIVE, &policy)?;
    let policy_path = policy.to_str().context("no text")?;
    let agent = Agent::start(policy_path, &["--listen", "127.0.0.1:0"])?;
    let pages = address(&agent.said())?;
    let metrics = || -> Result<_> { Ok(prometheus::parse(&get(pages, "/metrics")?.1)) };
    let before = Container::start(Bundle::new()?.host_path("/etc", "/host/etc", false))?;
    before.exec(&["/bin/true"])?;
    let of_calls = "falco_psp_kernel_events_seen_total{kind=\"credentials\"}";
    let of_execs = "falco_psp_kernel_events_seen_total{kind=\"exec\"}";
    let first = metrics()?;
    assert_eq!(first[of_calls], 0.0, "no rule needs these");
    assert!(first[of_execs] > 0.0);

    // Broken first: nothing changes.
    fs::write(&policy, "kind: Pod\n")?;
    let failed = "falco_psp_reloads_total{outcome=\"failed\"}";
    let succeeded = "falco_psp_reloads_total{outcome=\"succeeded\"}";
    let deadline = Instant::now() + PATIENCE;
    let wait_for = |name: &str| -> Result<()> {
        while metrics()?[name] == 0.0 {
            if Instant::now() > deadline {
                bail!("never reloaded: {}", agent.said());
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    };
    wait_for(failed)?;
    fs::copy(RESTRICTED, &policy)?;
    wait_for(succeeded)?;
    // What ran before is judged by the new policy, and so is what starts now.
    let about = |id| {
        move |alerts: &[super::agent::Alert]| super::agent::controls(alerts, id).contains("volumes")
    };
    assert!(agent.wait_for(about(before.id())), "{}", agent.said());
    let after = Container::start(Bundle::new()?.host_path("/etc", "/host/etc", false))?;
    assert!(agent.wait_for(about(after.id())), "{}", agent.said());
    let last = metrics()?;
    assert!(last[of_calls] > 0.0, "the hook is attached");
    assert!(last[of_execs] >= first[of_execs], "counts go on");
    let ended = agent.stop()?;
    for id in [before.id(), after.id()] {
        assert!(ended.messages.contains(id.short()), "{}", ended.messages);
    }
    Ok(())
}
