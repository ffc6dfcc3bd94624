//! What would bring a careless agent down: arguments that lie, floods of processes and
//! calls, many containers at once. The right alerts come, and no event is missing from the account.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    agent::{Agent, Alert, Ended, RESTRICTED, about_host, controls},
    bundle::{Bundle, Id},
    container::{Container, hierarchies},
    ledger::Line,
    needs,
    workload::{WORKLOAD, workload},
};

/// A benign container in which root may appear.
fn quiet() -> Result<Container> {
    let bundle = Bundle::benign()?.program(workload()?, WORKLOAD, 0o755)?;
    Container::start(bundle.args(&[WORKLOAD, "sleep"]))
}

/// A container that violates by its user alone.
fn of_root() -> Result<Bundle> {
    Ok(Bundle::benign()?.user(0, 0, &[1000]))
}

/// Every event that the kernel side saw is accounted for, and none was lost.
fn assert_exact(ended: &Ended) -> Result<()> {
    for kind in ["exec", "credentials", "mount"] {
        let line = Line::find(&ended.messages, kind)?;
        assert_eq!(line.accounted(), line.seen, "{kind}: {line:?}");
        assert_eq!(line.lost, 0, "{kind}: {line:?}");
    }
    assert_eq!(ended.code, Some(0), "{}", ended.messages);
    assert!(!ended.messages.contains("panicked"), "{}", ended.messages);
    Ok(())
}

#[test]
fn two_mebibytes_of_arguments_clear_no_terminal() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let bundle = of_root()?.program(workload()?, WORKLOAD, 0o755)?;
    let container = Container::start(bundle.args(&[WORKLOAD, "sleep"]))?;
    let agent = Agent::start(RESTRICTED, &[])?;
    let output = container.exec(&[WORKLOAD, "long-arguments", "2097152"])?;
    assert!(output.status.success(), "{output:?}");
    let clears = |alert: &Alert| {
        let command = alert.field("proc.cmdline").unwrap_or_default();
        alert.is_about(container.id()) && command.contains("[2J")
    };
    agent.wait_for(|alerts| alerts.iter().any(clears));
    let ended = agent.stop()?;
    let alert = ended.alerts.iter().find(|alert| clears(alert));
    let alert = alert.with_context(|| ended.messages.clone())?;
    assert_eq!(alert.control(), Some("runAsUser"), "{alert:?}");
    // The value is what it is; what is printed is harmless.
    assert!(!alert.output().contains(char::is_control), "{alert:?}");
    assert!(!ended.messages.contains('\u{7}'), "{}", ended.messages);
    assert_exact(&ended)
}

#[test]
fn a_fork_bomb_is_accounted_for() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    const FORKS: u64 = 2_000;
    let container = quiet()?;
    let agent = Agent::start(RESTRICTED, &[])?;
    let output = container.exec(&[WORKLOAD, "fork-bomb", &FORKS.to_string()])?;
    assert!(output.status.success(), "{output:?}");
    let ended = agent.stop()?;
    let calls = Line::find(&ended.messages, "credentials")?;
    assert!(calls.seen >= FORKS, "{calls:?}");
    assert_eq!(ended.alerts, [], "{}", ended.messages);
    assert_exact(&ended)
}

#[test]
fn a_storm_of_other_calls_costs_no_event() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let container = quiet()?;
    let violating = Container::start(of_root()?)?;
    let agent = Agent::start(RESTRICTED, &[])?;
    let output = container.exec(&[WORKLOAD, "mmap-storm", "200000"])?;
    assert!(output.status.success(), "{output:?}");
    let later = Container::start(of_root()?)?;
    agent.wait_for(|alerts| !controls(alerts, later.id()).is_empty());
    let ended = agent.stop()?;
    for container in [&violating, &later] {
        let found = controls(&ended.alerts, container.id());
        assert_eq!(found, BTreeSet::from(["runAsUser".to_owned()]));
    }
    assert_eq!(controls(&ended.alerts, container.id()), BTreeSet::new());
    assert_exact(&ended)
}

#[test]
fn sixty_containers_that_start_at_once_are_told_apart() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    const CONTAINERS: usize = 60;
    let agent = Agent::start(RESTRICTED, &[])?;
    let bundles: Vec<Bundle> = (0..CONTAINERS)
        .map(|n| {
            if n % 2 == 0 {
                of_root()
            } else {
                Bundle::benign()
            }
        })
        .collect::<Result<_>>()?;
    let containers: Vec<Container> = thread::scope(|scope| {
        let starts: Vec<_> = bundles
            .into_iter()
            .map(|bundle| scope.spawn(move || Container::start(bundle)))
            .collect();
        let started = starts.into_iter().map(|start| {
            let joined = start.join();
            joined.map_err(|_| anyhow::anyhow!("a thread panicked"))?
        });
        started.collect::<Result<_>>()
    })?;
    let expected = |n: usize| match n % 2 {
        0 => BTreeSet::from(["runAsUser".to_owned()]),
        _ => BTreeSet::new(),
    };
    agent.wait_for(|alerts| {
        let mut all = containers.iter().enumerate();
        all.all(|(n, container)| controls(alerts, container.id()) == expected(n))
    });
    // What should not come has time to come.
    thread::sleep(Duration::from_secs(1));
    let ended = agent.stop()?;
    for (n, container) in containers.iter().enumerate() {
        let found = controls(&ended.alerts, container.id());
        assert_eq!(found, expected(n), "{n}: {}", ended.messages);
    }
    assert_eq!(about_host(&ended.alerts), Vec::<&Alert>::new());
    let all = format!("{} of {CONTAINERS} containers violate", CONTAINERS / 2);
    assert!(ended.messages.contains(&all), "{}", ended.messages);
    assert_exact(&ended)
}

/// So many processes, each in a control group and a mount namespace of its own: what an agent sees
/// of a container. A runtime would take a second for each.
struct Flood {
    shell: Child,
    ids: Vec<Id>,
}

/// The hierarchies of control groups that tell a container.
fn telling() -> Vec<PathBuf> {
    let all = hierarchies();
    let tells = |path: &Path| path.ends_with("unified") || path.ends_with("pids");
    match all.as_slice() {
        [_] => all,
        several => several.iter().filter(|path| tells(path)).cloned().collect(),
    }
}

impl Flood {
    fn start(count: usize) -> Result<Self> {
        let ids: Vec<Id> = (0..count).map(|_| Id::next()).collect();
        let roots = telling();
        let mut list = String::new();
        for id in &ids {
            for root in &roots {
                fs::create_dir_all(root.join(id.cgroup().trim_start_matches('/')))?;
            }
            list += &id.cgroup();
            list.push('\n');
        }
        let file = tempfile::NamedTempFile::new()?;
        fs::write(&file, list)?;
        let roots: Vec<String> = roots
            .iter()
            .map(|root| root.display().to_string())
            .collect();
        let script = format!(
            "while read -r group; do
               (for root in {}; do echo 0 > \"$root$group/cgroup.procs\"; done
                exec unshare --mount -- /bin/busybox sleep 3600) &
             done < {}",
            roots.join(" "),
            file.path().display()
        );
        let shell = Command::new("sh").args(["-c", &script]).spawn()?;
        let mut flood = Self { shell, ids };
        // Its children run on.
        let status = flood.shell.wait()?;
        anyhow::ensure!(status.success(), "sh: {status}");
        Ok(flood)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        for id in &self.ids {
            for root in telling() {
                let group = root.join(id.cgroup().trim_start_matches('/'));
                let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
                let pids = members
                    .lines()
                    .filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
                // What has ended already cannot be killed, which is right.
                pids.for_each(|pid| _ = kill_process(pid, Signal::KILL));
            }
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        for id in &self.ids {
            for root in telling() {
                let group = root.join(id.cgroup().trim_start_matches('/'));
                while fs::remove_dir(&group).is_err() && group.exists() && Instant::now() < deadline
                {
                    thread::sleep(Duration::from_millis(5));
                }
                let _ = group.parent().map(fs::remove_dir);
            }
        }
    }
}

#[test]
fn a_thousand_containers_that_start_at_once_are_all_told() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    // It makes the folders that all share, and removes them.
    let benign = quiet()?;
    let agent = Agent::start(RESTRICTED, &["--cri", "none"])?;
    let flood = Flood::start(1_000)?;
    let root = BTreeSet::from(["runAsUser".to_owned()]);
    agent.wait_for(|alerts| {
        let about: BTreeSet<_> = alerts
            .iter()
            .filter(|alert| alert.control() == Some("runAsUser"))
            .filter_map(|alert| alert.field("container.id"))
            .collect();
        flood.ids.iter().all(|id| about.contains(id.short()))
    });
    let ended = agent.stop()?;
    let missing = flood
        .ids
        .iter()
        .filter(|id| !controls(&ended.alerts, id).is_superset(&root));
    assert_eq!(missing.count(), 0, "{}", ended.messages);
    assert_eq!(controls(&ended.alerts, benign.id()), BTreeSet::new());
    assert_eq!(about_host(&ended.alerts), Vec::<&Alert>::new());
    assert_exact(&ended)
}
