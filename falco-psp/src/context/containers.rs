//! The containers of this node: which one a process belongs to, and what is known of it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use falco_psp_common::record::namespace;

use super::bundle::{self, Bundle, Lookup};
use super::cgroup::{self, ContainerRef};
use super::csi;
use super::engine;
use super::host::HostNamespaces;
use super::lsm::Modules;
use super::metadata::MetadataCounts;
use super::mountinfo::{self, Mount};
use super::posture::{self, Sources};
use super::processes;
use super::volumes::{self, MountFacts};
use crate::container::{Container, Gap, Pod};
use crate::event::Process;

/// How many control groups are remembered before the memory is cleared and built anew.
const MAX_CGROUPS: usize = 65_536;

/// How long a container is kept in mind after its last process has ended: some of its events may
/// still be on their way.
pub const GRACE: Duration = Duration::from_secs(5);

/// A container that is watched.
#[derive(Debug)]
pub struct Tracked {
    /// What is known of it.
    pub container: Arc<Container>,
    /// The pod's pause container: no subject.
    pub is_sandbox: bool,
    /// Until when its events wait for what is looked up of it.
    pub waits: Option<Instant>,
    /// Whether some of its events were judged before it was looked up.
    pub judged_early: bool,
    /// The first of its processes that was seen.
    pub first: Arc<Process>,
    /// A process of it that was seen to run: process id, and start in nanoseconds since boot.
    alive: (u32, u64),
    /// Since when no process of it is found.
    pub(super) gone_since: Option<Instant>,
    /// Inode number of the user namespace of its first process.
    pub user_ns: u32,
    /// Path and id of the control group of its first process; the id is 0 until an event tells it.
    cgroup: Option<(String, u64)>,
    /// The mount namespaces that programs of the workload were executed in.
    mount_namespaces: HashSet<u32>,
    /// The mount namespace whose table was read last, and when, in nanoseconds since boot.
    mounts_read: (u32, u64),
    /// Its own mount namespace, with what is mounted in it.
    mount_table: Option<MountTable>,
}

/// The mounts of a container's own namespace.
#[derive(Debug)]
struct MountTable {
    mnt_ns: u32,
    root_id: Option<u64>,
    mount_points: Vec<(u64, String)>,
}

impl MountTable {
    fn of(mnt_ns: u32, facts: &MountFacts) -> Self {
        Self {
            mnt_ns,
            root_id: facts.root_id,
            mount_points: facts.mount_points.clone(),
        }
    }
}

/// A change of a container's mounts.
#[derive(Clone, Copy, Debug)]
pub struct MountChange {
    /// The process that made it.
    pub pid: u32,
    /// Its mount namespace.
    pub mnt_ns: u32,
    /// When, in nanoseconds since boot.
    pub time_ns: u64,
}

impl Tracked {
    /// Whether a mount of this id, which is a task's root in this mount namespace, is known to be another
    /// than the container's root.
    pub fn is_other_root(&self, mnt_ns: u32, mount_id: u32) -> bool {
        let table = self.mount_table.as_ref();
        let table = table.filter(|table| table.mnt_ns == mnt_ns);
        let root_id = table.and_then(|table| table.root_id);
        root_id.is_some_and(|root_id| root_id != u64::from(mount_id))
    }

    /// Whether a path that leads through no links is known to be on another mount than the root.
    pub fn is_on_other_mount(&self, path: &str) -> bool {
        let tables = self.mount_table.iter();
        let mut mount_points = tables.flat_map(|table| &table.mount_points);
        mount_points.any(|(_, mount_point)| volumes::is_below(path, mount_point))
    }

    /// Where the mount of this id is, if it is known.
    pub fn mount_point(&self, mount_id: u32) -> Option<&str> {
        let tables = self.mount_table.iter();
        let mut mount_points = tables.flat_map(|table| &table.mount_points);
        let found = mount_points.find(|(id, _)| *id == u64::from(mount_id));
        found.map(|(_, mount_point)| mount_point.as_str())
    }

    /// Whether the workload executed a program in this mount namespace.
    pub fn executed_in(&self, mnt_ns: u32) -> bool {
        self.mount_namespaces.contains(&mnt_ns)
    }
}

/// A process of a container, with what is not the process's own.
#[derive(Debug)]
pub struct Sighting<'a> {
    /// The container.
    pub container: &'a ContainerRef,
    /// Path and id of the control group; the id is 0 where only the path is known.
    pub cgroup: Option<(String, u64)>,
    /// The process.
    pub process: &'a Arc<Process>,
    /// The inode numbers of its namespaces, by [`namespace`].
    pub namespaces: &'a [u32; namespace::COUNT],
}

/// The containers of this node, by id.
#[derive(Debug)]
pub struct Containers {
    host: HostNamespaces,
    host_bounding_set: u64,
    modules: Modules,
    by_id: HashMap<String, Tracked>,
    /// Control group → container; `None` for a group outside of any container.
    by_cgroup: HashMap<u64, Option<ContainerRef>>,
    /// What came of the look-ups.
    pub counts: MetadataCounts,
}

impl Containers {
    /// An empty table.
    pub fn new(host: HostNamespaces) -> Self {
        Self {
            host,
            host_bounding_set: host_bounding_set(),
            modules: Modules::find(),
            by_id: HashMap::new(),
            by_cgroup: HashMap::new(),
            counts: MetadataCounts::default(),
        }
    }

    /// The container of a control group with this id and path. Without a path, or for the group 0,
    /// which is unknown, the path is read from `/proc/PID/cgroup`. `settled` tells that the
    /// process has been started as a whole, so that "no container" can be remembered: while a
    /// runtime still sets up, its state directory may be missing.
    pub fn identify(
        &mut self,
        cgroup_id: u64,
        path: Option<String>,
        pid: u32,
        settled: bool,
    ) -> Option<ContainerRef> {
        if let Some(known) = self.by_cgroup.get(&cgroup_id)
            && cgroup_id != 0
        {
            return known.clone();
        }
        let path = path.or_else(|| cgroup_of(pid));
        if path.is_none() {
            self.counts.cgroup.failed += 1;
        }
        let path = path?;
        let found = cgroup::identify(&path, cgroup::is_known_to_runtime);
        if let Some(found) = &found {
            self.forget_predecessor(&found.id, &path, cgroup_id);
        }
        if cgroup_id != 0 && (found.is_some() || settled) {
            if self.by_cgroup.len() >= MAX_CGROUPS {
                self.by_cgroup.clear();
            }
            self.by_cgroup.insert(cgroup_id, found.clone());
        }
        found
    }

    /// A runtime that lets people choose names may give one again. Then the control group has the
    /// same path, but is another.
    fn forget_predecessor(&mut self, id: &str, path: &str, cgroup_id: u64) {
        let Some(tracked) = self.by_id.get_mut(id) else {
            return;
        };
        match &mut tracked.cgroup {
            Some((old_path, old_id)) if old_path == path && *old_id != cgroup_id => {
                if *old_id == 0 || cgroup_id == 0 {
                    *old_id = (*old_id).max(cgroup_id);
                } else {
                    tracing::info!(id, "another container of the same id");
                    self.by_id.remove(id);
                }
            }
            _ => {}
        }
    }

    /// The container of this id, if one of its programs has been seen.
    pub fn get(&self, id: &str) -> Option<&Tracked> {
        self.by_id.get(id)
    }

    /// The id of a process of the container, if the one that is known runs.
    pub fn a_process(&self, id: &str) -> Option<u32> {
        let (pid, start_ns) = self.by_id.get(id)?.alive;
        processes::is_alive(pid, start_ns).then_some(pid)
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// How much is remembered.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.by_id.len() + self.by_cgroup.len()
    }

    /// The ids of a pod's containers, without its sandbox.
    pub fn of_pod(&self, uid: &str) -> Vec<String> {
        let of_pod = |container: &&Arc<Container>| {
            let pod = container.pod.as_ref();
            pod.is_some_and(|pod| pod.uid.as_deref() == Some(uid))
        };
        self.subjects()
            .filter(of_pod)
            .map(|container| container.id.clone())
            .collect()
    }

    /// The same as [`Self::get`], to be changed.
    pub fn get_mut(&mut self, id: &str) -> Option<&mut Tracked> {
        self.by_id.get_mut(id)
    }

    /// All containers whose programs have been seen, without sandboxes.
    pub fn subjects(&self) -> impl Iterator<Item = &Arc<Container>> {
        let tracked = self.by_id.values().filter(|tracked| !tracked.is_sandbox);
        tracked.map(|tracked| &tracked.container)
    }

    /// Notes that a program of the workload was executed in mount namespace `mnt_ns`.
    pub fn executed(&mut self, id: &str, mnt_ns: u32) {
        if let Some(tracked) = self.by_id.get_mut(id) {
            tracked.mount_namespaces.insert(mnt_ns);
        }
    }

    /// Learns all there is to know of a container of which a first process is seen.
    pub fn start(&mut self, sighting: &Sighting<'_>) {
        let Sighting {
            container: found,
            cgroup,
            process,
            namespaces,
        } = sighting;
        let lookup = bundle::find(&found.id);
        let outcomes = &mut self.counts.bundle;
        let (bundle, gap) = match lookup {
            Lookup::Found(bundle) => {
                outcomes.found += 1;
                (Some(*bundle), None)
            }
            Lookup::NotThere => {
                outcomes.not_there += 1;
                (None, Some(Gap::NoBundle))
            }
            Lookup::Bad => {
                outcomes.failed += 1;
                (None, Some(Gap::BadBundle))
            }
        };
        self.counts.cgroup.found += 1;
        let mounts = self.mount_facts(process.pid);
        let mnt_ns = namespaces[namespace::MNT];
        let mount_table = mounts.as_ref().map(|facts| MountTable::of(mnt_ns, facts));
        let is_sandbox = bundle.as_ref().is_some_and(|bundle| bundle.is_sandbox);
        let has_bundle = bundle.is_some();
        let mut container = self.assemble(found, bundle, mounts, process, namespaces);
        let path = cgroup.as_ref().map(|(path, _)| path.as_str());
        container.runtime = container
            .runtime
            .or_else(|| cgroup::runtime(path.unwrap_or_default()));
        if let Some(pod) = &mut container.pod {
            pod.qos = path.and_then(cgroup::qos);
        } else if let Some(kept) = engine::find(&container.id, container.runtime) {
            kept.add_to(&mut container);
        }
        // Which process started a namespace of process ids is told by its id in it.
        if process.virtual_pid == 1 && container.host_pid != Some(true) {
            container.start_ns = Some(processes::epoch_ns(process.start_ns));
        }
        container.gaps.extend(gap);
        tracing::info!(
            id = container.id,
            name = container.name,
            image = container.image,
            pod = container.pod.as_ref().and_then(|pod| pod.name.as_deref()),
            has_bundle,
            is_sandbox,
            "container"
        );
        tracing::debug!(?container, "container");
        let tracked = Tracked {
            container: Arc::new(container),
            is_sandbox,
            waits: None,
            judged_early: false,
            first: Arc::clone(process),
            alive: (process.pid, process.start_ns),
            gone_since: None,
            user_ns: namespaces[namespace::USER],
            cgroup: cgroup.clone(),
            mount_namespaces: HashSet::new(),
            mounts_read: (0, 0),
            mount_table,
        };
        self.by_id.insert(found.id.clone(), tracked);
    }

    fn assemble(
        &self,
        found: &ContainerRef,
        bundle: Option<Bundle>,
        mounts: Option<MountFacts>,
        process: &Process,
        namespaces: &[u32; namespace::COUNT],
    ) -> Container {
        let shares = |kind: usize| {
            let inode = namespaces.get(kind).copied().filter(|inode| *inode != 0);
            inode.map(|inode| inode == self.host.get(kind))
        };
        // Without a bundle: what makes a container privileged, as it can be seen from outside.
        let looks_privileged = || {
            let masks_proc = mounts.as_ref()?.masks_proc;
            let bounding = process.capabilities.bounding;
            let all = self.host_bounding_set & !bounding == 0;
            Some(all && process.seccomp_mode == 0 && !masks_proc)
        };
        let privileged = match &bundle {
            Some(bundle) => Some(bundle.privileged),
            None => looks_privileged(),
        };
        let host_network = shares(namespace::NET);
        let sandbox = bundle.as_ref().and_then(posture::sandbox_of);
        let sources = Sources {
            bundle: bundle.as_ref(),
            sandbox: sandbox.as_ref(),
            mounts: mounts.as_ref(),
            process,
            host_network,
            modules: &self.modules,
        };
        let posture = sources.posture();
        let ordered_root = bundle.as_ref().map(|bundle| bundle.root_read_only);
        let mut bundle = bundle.unwrap_or_default();
        csi::complete(&mut bundle.volumes);
        let pod_uid = found.pod_uid.clone().or(bundle.pod.uid);
        let in_pod = pod_uid.is_some() || bundle.pod.name.is_some();
        let (root_read_only, volumes) = match mounts {
            Some(facts) => (facts.root_read_only.or(ordered_root), Some(facts.volumes)),
            None => (ordered_root, ordered_root.map(|_| bundle.volumes)),
        };
        Container {
            id: found.id.clone(),
            name: bundle.name,
            image: bundle.image,
            pod: in_pod.then_some(Pod {
                uid: pod_uid,
                ..bundle.pod
            }),
            privileged,
            host_pid: shares(namespace::PID),
            host_ipc: shares(namespace::IPC),
            host_network,
            root_read_only,
            volumes,
            runtime: bundle.runtime,
            mounts: ordered_root.map(|_| bundle.mounts),
            posture,
            ..Container::default()
        }
    }

    /// Reads the mount table again, as a process sees it that has changed it. True if the
    /// container's volumes are others now.
    ///
    /// One that was read after the change tells all of it: of many changes in a row one is read.
    pub fn refresh_mounts(&mut self, id: &str, change: MountChange) -> bool {
        let MountChange {
            pid,
            mnt_ns,
            time_ns,
        } = change;
        let known = |tracked: &Tracked| {
            let (namespace, read_ns) = tracked.mounts_read;
            namespace == mnt_ns && read_ns > time_ns
        };
        if self.by_id.get(id).is_none_or(known) {
            return false;
        }
        let read_ns = processes::since_boot_ns();
        let Some(facts) = self.mount_facts(pid) else {
            return false;
        };
        let Some(tracked) = self.by_id.get_mut(id) else {
            return false;
        };
        tracked.mounts_read = (mnt_ns, read_ns);
        let table = tracked.mount_table.as_mut();
        if let Some(table) = table.filter(|table| table.mnt_ns == mnt_ns) {
            *table = MountTable::of(mnt_ns, &facts);
        }
        if tracked.container.volumes.as_ref() == Some(&facts.volumes) {
            return false;
        }
        Arc::make_mut(&mut tracked.container).volumes = Some(facts.volumes);
        true
    }

    /// Forgets the containers of which no process has run for [`GRACE`], and gives them back
    /// without the sandboxes. `is_alive` tells whether a process of this id and start runs,
    /// `running` gives the control groups of all processes: needed only where the process that is
    /// known of a container has ended.
    pub fn forget_gone(
        &mut self,
        now: Instant,
        is_alive: impl Fn(u32, u64) -> bool,
        running: impl FnOnce() -> Vec<(u32, u64, String)>,
    ) -> Vec<Arc<Container>> {
        let mut suspects: HashSet<String> = HashSet::new();
        for (id, tracked) in &mut self.by_id {
            let (pid, start_ns) = tracked.alive;
            match is_alive(pid, start_ns) {
                true => tracked.gone_since = None,
                false => {
                    suspects.insert(id.clone());
                }
            }
        }
        if suspects.is_empty() {
            return Vec::new();
        }
        for (pid, start_ns, path) in running() {
            let found = cgroup::identify(&path, |name| suspects.contains(name));
            if let Some(found) = found
                && suspects.remove(&found.id)
                && let Some(tracked) = self.by_id.get_mut(&found.id)
            {
                tracked.alive = (pid, start_ns);
                tracked.gone_since = None;
            }
        }
        let mut gone = Vec::new();
        let mut forgotten = HashSet::new();
        for id in suspects {
            let Some(tracked) = self.by_id.get_mut(&id) else {
                continue;
            };
            let since = *tracked.gone_since.get_or_insert(now);
            if now.duration_since(since) < GRACE {
                continue;
            }
            if let Some(tracked) = self.by_id.remove(&id)
                && !tracked.is_sandbox
            {
                gone.push(tracked.container);
            }
            forgotten.insert(id);
        }
        if !forgotten.is_empty() {
            self.by_cgroup.retain(|_, container| {
                let container = container.as_ref();
                container.is_none_or(|container| !forgotten.contains(&container.id))
            });
            self.counts.forgotten += forgotten.len() as u64;
            self.by_id.shrink_to(2 * self.by_id.len());
        }
        gone
    }

    fn mount_facts(&self, pid: u32) -> Option<MountFacts> {
        let own = mountinfo::read(pid)
            .ok()
            .filter(|table| !table.is_empty())?;
        let fs_group = volumes::fs_group_in(pid);
        let mut facts = volumes::find(&own, &host_mounts(), fs_group);
        csi::complete(&mut facts.volumes);
        Some(facts)
    }
}

/// The path of the control group of process `pid`.
fn cgroup_of(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    cgroup::path_of_proc(&text).map(str::to_owned)
}

/// The host's mount table: that of process 1 where this process sees it, or its own.
fn host_mounts() -> Vec<Mount> {
    let table = mountinfo::read(1).ok().filter(|table| !table.is_empty());
    table
        .or_else(|| mountinfo::read(std::process::id()).ok())
        .unwrap_or_default()
}

/// The capabilities that a process on this host can have at all: a virtual machine or an outer
/// container may withhold some, so "privileged" is not "all bits".
fn host_bounding_set() -> u64 {
    let bounding_set = |pid: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("CapBnd:"))?;
        u64::from_str_radix(line.trim(), 16).ok()
    };
    bounding_set("1").unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
