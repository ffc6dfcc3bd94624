//! The ports of the host that containers in its network listen at: looked at again and again, for
//! no event tells that a process begins to listen.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Agent;
use crate::container::posture::{HostPort, Way, Why};
use crate::context::sockets::{self, Listening, MOST_FILES};
use crate::context::{cgroup, processes};
use crate::event::{Activity, Process};

/// The longest time between two looks at all sockets: their numbers may stay the same while one goes
/// and another comes.
const LONGEST: Duration = Duration::from_secs(30);

/// What was found at the last look.
#[derive(Debug, Default)]
pub(super) struct Ports {
    /// When all sockets were looked at.
    at: Option<Instant>,
    /// How many sockets there were.
    in_use: BTreeMap<String, u64>,
    sockets: Listening,
    containers: BTreeSet<String>,
}

/// What one container listens at.
#[derive(Debug, Default)]
struct Found {
    ports: BTreeSet<HostPort>,
    /// The first process that was seen to listen.
    pid: Option<u32>,
    missing: Option<Why>,
}

impl Agent {
    /// Looks at the ports of the host that containers listen at, if a rule or the recording wants to
    /// know; judges the containers of which they are others now.
    pub fn look_at_ports(&mut self) {
        let wanted = self.recorder.is_some() || self.judge.rules.asks_for("container.host_ports");
        if !wanted {
            return;
        }
        let containers: BTreeSet<String> = self
            .containers
            .subjects()
            .filter(|container| container.host_network == Some(true))
            .map(|container| container.id.clone())
            .collect();
        let mut pids = containers
            .iter()
            .filter_map(|id| self.containers.a_process(id));
        let Some((pid, in_use)) = pids.find_map(|pid| Some((pid, sockets::in_use(pid)?))) else {
            self.ports = Ports::default();
            return;
        };
        let is_recent = self.ports.at.is_some_and(|at| at.elapsed() < LONGEST);
        if is_recent && in_use == self.ports.in_use && containers == self.ports.containers {
            return;
        }
        let Some(sockets) = sockets::listening(pid) else {
            return;
        };
        let now = Ports {
            at: Some(Instant::now()),
            in_use,
            sockets,
            containers,
        };
        let is_same = now.sockets == self.ports.sockets && now.containers == self.ports.containers;
        if !is_same {
            for (id, found) in owners(&now) {
                self.learn_ports(&id, found);
            }
        }
        self.ports = now;
    }

    fn learn_ports(&mut self, id: &str, found: Found) {
        let Some(tracked) = self.containers.get_mut(id) else {
            return;
        };
        let known = &tracked.container.posture.host_ports;
        let mapped = known.found.iter().copied();
        let mut ports: Vec<HostPort> = mapped
            .filter(|port| matches!(port.way, Way::MappedTo(_)))
            .collect();
        ports.extend(found.ports);
        if known.found == ports && known.missing == found.missing {
            return;
        }
        // That nothing is listened at is no news.
        let is_news = known.found != ports;
        let facts = &mut Arc::make_mut(&mut tracked.container).posture.host_ports;
        (facts.found, facts.missing) = (ports, found.missing);
        if is_news {
            let listener = found.pid.and_then(processes::state).map(Arc::new);
            let process: Arc<Process> = listener.unwrap_or_else(|| Arc::clone(&tracked.first));
            self.judge(id, Activity::Container, process, processes::now_ns(), 0);
        }
    }
}

/// Whose sockets these are.
fn owners(ports: &Ports) -> HashMap<String, Found> {
    let Ports {
        sockets,
        containers,
        ..
    } = ports;
    let mut found: HashMap<String, Found> = containers
        .iter()
        .map(|id| (id.clone(), Found::default()))
        .collect();
    if sockets.is_empty() {
        return found;
    }
    let mut left = MOST_FILES;
    for (pid, _, path) in processes::cgroups() {
        let container = cgroup::identify(&path, |name| containers.contains(name));
        let Some(of) = container.and_then(|container| found.get_mut(&container.id)) else {
            continue;
        };
        let more = sockets::of_process(pid, &mut left, |inode| {
            if let Some(port) = sockets.get(&inode) {
                of.ports.insert(*port);
                of.pid.get_or_insert(pid);
            }
        });
        of.missing = of.missing.or(more);
    }
    found
}
