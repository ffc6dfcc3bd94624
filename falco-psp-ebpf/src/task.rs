//! The state of the current task, read through the offset table.

use aya_ebpf::helpers::{bpf_get_current_comm, generated::bpf_ktime_get_boot_ns};
use falco_psp_common::record::{Fixed, MAX_CGROUP_LEVELS, MAX_CGROUP_NAME, flags, namespace, tail};

use crate::{
    maps::{UNMOUNTED, Unmounted},
    offset,
    read::{Address, Object, follow, read},
    scratch::{Memory, Scratch, Tails},
};

/// How many ancestors are asked for the program that they executed.
const MAX_ANCESTORS: usize = 8;

/// The current task, with what every decision needs.
pub(crate) struct Task {
    pub(crate) object: Object,
    nsproxy: Object,
    pid: Object,
    pid_ns_level: u32,
    pub(crate) mnt_ns: u32,
}

impl Task {
    /// The current task; `None` if it has no namespaces any more (it is exiting) or its memory
    /// cannot be read.
    #[inline(always)]
    pub(crate) fn current() -> Option<Self> {
        Self::of(Object::current_task()?)
    }

    /// The same, of the current task's object.
    #[inline(always)]
    pub(crate) fn of(object: Object) -> Option<Self> {
        let nsproxy = object.follow(offset!(task_nsproxy))?;
        let mnt_ns = nsproxy.follow(offset!(nsproxy_mnt_ns))?;
        let pid = object.follow(offset!(task_thread_pid))?;
        Some(Self {
            object,
            nsproxy,
            pid,
            pid_ns_level: pid.load(offset!(pid_level))?,
            mnt_ns: mnt_ns.load(offset!(mnt_ns_inum))?,
        })
    }

    /// See [`crate::filter::may_be_container`].
    #[inline(always)]
    pub(crate) fn may_be_container(&self) -> bool {
        crate::filter::may_be_container(self.mnt_ns, self.pid_ns_level)
    }

    /// Fills all of `fixed` that a posture may rest on. `None` if memory that every kernel has could
    /// not be read.
    #[inline(always)]
    pub(crate) fn fill(&self, scratch: &mut Scratch) -> Option<()> {
        let Scratch { fixed, address, .. } = scratch;
        let task = self.object;
        let parent = task.follow(offset!(task_real_parent))?;
        fixed.comm = bpf_get_current_comm().ok()?;
        fixed.flags = 0;

        let cred = task.follow(offset!(task_real_cred))?;
        let (mut at, each) = (offset!(cred_uid), size_of::<u32>() as u32);
        for id in &mut fixed.ids {
            *id = cred.load(at)?;
            at += each;
        }
        let mut at = offset!(cred_cap_inheritable);
        for set in &mut fixed.capabilities {
            // Until Linux 6.3 a set was an array of two halves: one load takes both, too.
            *set = cred.load(at)?;
            at += size_of::<u64>() as u32;
        }
        self.fill_namespaces(fixed, cred, address)?;

        fixed.seccomp_mode = task.load(offset!(task_seccomp_mode)).unwrap_or(0);
        match task.load::<u64>(offset!(task_atomic_flags)) {
            Some(bits) if bits & 1 != 0 => fixed.flags |= flags::NO_NEW_PRIVS,
            Some(_) => {}
            None => fixed.flags |= flags::NO_NEW_PRIVS_UNKNOWN,
        }
        fixed.program_mnt_ns = self.program_mnt_ns(address);
        fixed.parent_mnt_ns = parent
            .follow(offset!(task_nsproxy))
            .and_then(|nsproxy| nsproxy.follow(offset!(nsproxy_mnt_ns)))
            .and_then(|mnt_ns| mnt_ns.load(offset!(mnt_ns_inum)))
            .unwrap_or(0);
        fixed.cgroup_id = self.cgroup_id();
        Some(())
    }

    /// Fills the rest: what tells one process from another, and when it is. Only what is sent needs
    /// it.
    #[inline(always)]
    pub(crate) fn fill_rest(&self, scratch: &mut Scratch) -> Option<()> {
        let Scratch { fixed, address, .. } = scratch;
        let task = self.object;
        // SAFETY: the helper has no requirements.
        fixed.time_ns = unsafe { bpf_ktime_get_boot_ns() };
        let leader = task.follow(offset!(task_group_leader))?;
        fixed.start_ns = leader.load(offset!(task_start_boottime))?;
        fixed.pid = task.load(offset!(task_tgid))?;
        fixed.tid = task.load(offset!(task_pid))?;
        let parent = task.follow(offset!(task_real_parent))?;
        fixed.parent_pid = parent.load(offset!(task_tgid))?;
        fixed.virtual_pid = read(self.innermost_upid(address), offset!(upid_nr))?;
        Some(())
    }

    /// The task's id in the innermost of its pid namespaces. Which of an array's members that is,
    /// only the task tells: no load by type.
    #[inline(always)]
    fn innermost_upid(&self, slot: &mut Address) -> Address {
        let level = u64::from(self.pid_ns_level & 31);
        self.pid.address(slot)
            + u64::from(offset!(pid_numbers))
            + level * u64::from(offset!(upid_size))
    }

    /// The innermost of the task's pid namespaces.
    #[inline(always)]
    fn pid_ns(&self, slot: &mut Address) -> Option<u32> {
        let of = |level: u32| {
            let at = offset!(pid_numbers) + level * offset!(upid_size) + offset!(upid_ns);
            self.pid.follow(at)?.load(offset!(pid_ns_inum))
        };
        // A load by type has to be from a place that the verifier knows.
        match self.pid_ns_level {
            0 => of(0),
            1 => of(1),
            2 => of(2),
            _ => {
                let pid_ns = follow(self.innermost_upid(slot), offset!(upid_ns))?;
                read(pid_ns, offset!(pid_ns_inum))
            }
        }
    }

    #[inline(always)]
    fn fill_namespaces(
        &self,
        fixed: &mut Fixed,
        cred: Object,
        address: &mut Address,
    ) -> Option<()> {
        let of = |pointer: u32, inum: u32| {
            self.nsproxy
                .follow(pointer)
                .and_then(|ns| ns.load::<u32>(inum))
                .unwrap_or(0)
        };
        fixed.namespaces[namespace::MNT] = self.mnt_ns;
        fixed.namespaces[namespace::PID] = self.pid_ns(address)?;
        fixed.namespaces[namespace::NET] = of(offset!(nsproxy_net_ns), offset!(net_ns_inum));
        fixed.namespaces[namespace::IPC] = of(offset!(nsproxy_ipc_ns), offset!(ipc_ns_inum));
        fixed.namespaces[namespace::USER] = cred
            .follow(offset!(cred_user_ns))
            .and_then(|ns| ns.load(offset!(user_ns_inum)))
            .unwrap_or(0);
        Some(())
    }

    /// The memory description of the task.
    #[inline(always)]
    pub(crate) fn memory(&self) -> Option<Object> {
        self.object.follow(offset!(task_mm))
    }

    /// The mount namespace of the mount that the running program was opened on; 0 if no mount of
    /// any namespace holds it. A fork inherits it with the memory.
    #[inline(always)]
    pub(crate) fn program_mnt_ns(&self, slot: &mut Address) -> u32 {
        let mount = self
            .memory()
            .and_then(|mm| mm.follow(offset!(mm_exe_file)))
            .and_then(|file| file.follow(offset!(file_mnt)));
        let root = self
            .object
            .follow(offset!(task_fs))
            .and_then(|fs| fs.load(offset!(fs_root_mnt)));
        // Mostly it is the task's root, and that is in the task's own namespace: plain loads tell. A
        // runtime that has entered a container was loaded from elsewhere. Whoever has made a mount of
        // another namespace its root counts as the container's, so it is judged.
        if let (Some(mount), Some(root)) = (mount, root)
            && mount.is_at(root)
        {
            return self.mnt_ns;
        }
        mount
            .and_then(|vfsmount| {
                // Backwards from a member to what it lies in: no load by type.
                let mount = vfsmount
                    .address(slot)
                    .wrapping_sub(u64::from(offset!(mount_mnt)));
                follow(mount, offset!(mount_mnt_ns))
            })
            .and_then(|ns| read(ns, offset!(mnt_ns_inum)))
            .unwrap_or(0)
    }

    /// The node of the task's control group: that of the unified hierarchy, or of the `pids`
    /// controller where the task is in the unified hierarchy's root.
    #[inline(always)]
    fn cgroup(&self) -> Option<Object> {
        let set = self.object.follow(offset!(task_cgroups))?;
        let unified = set
            .follow(offset!(css_set_dfl_cgrp))
            .and_then(|cgroup| cgroup.follow(offset!(cgroup_kn)));
        if let Some(node) = unified
            && node.follow(offset!(kernfs_parent)).is_some()
        {
            return Some(node);
        }
        set.follow(offset!(css_set_pids))
            .and_then(|css| css.follow(offset!(css_cgroup)))
            .and_then(|cgroup| cgroup.follow(offset!(cgroup_kn)))
            .or(unified)
    }

    /// The id of that control group; 0 if it cannot be read.
    #[inline(always)]
    pub(crate) fn cgroup_id(&self) -> u64 {
        self.cgroup()
            .and_then(|node| node.load(offset!(kernfs_id)))
            .unwrap_or(0)
    }

    /// Appends the names of the task's control group and its ancestors.
    #[inline(always)]
    pub(crate) fn append_cgroup(&self, tails: &mut Tails<'_>) {
        let mut node = self.cgroup();
        for _ in 0..MAX_CGROUP_LEVELS {
            let Some(current) = node else { return };
            node = current.follow(offset!(kernfs_parent));
            if node.is_none() {
                // The root of the hierarchy has no name.
                return;
            }
            if let Some(name) = current.load(offset!(kernfs_name)) {
                tails.string::<MAX_CGROUP_NAME>(tail::CGROUP, Memory::Kernel, name);
            }
        }
    }

    /// Where the supplementary groups are, and how many.
    #[inline(always)]
    pub(crate) fn groups(&self, slot: &mut Address) -> Option<(Address, u32)> {
        let cred = self.object.follow(offset!(task_real_cred))?;
        let info = cred.follow(offset!(cred_group_info))?;
        let count = info.load(offset!(group_info_ngroups))?;
        Some((
            info.address(slot) + u64::from(offset!(group_info_gid)),
            count,
        ))
    }

    /// Remembers that this process executed here a program which no mount holds, so that its
    /// children, who run the same, are known by it.
    #[inline(always)]
    pub(crate) fn remember_unmounted(&self) {
        let leader = self.object.follow(offset!(task_group_leader));
        let start_ns = leader.and_then(|leader| leader.load(offset!(task_start_boottime)));
        let pid = self.object.load::<u32>(offset!(task_tgid));
        let (Some(start_ns), Some(pid)) = (start_ns, pid) else {
            return;
        };
        let unmounted = Unmounted {
            start_ns,
            mnt_ns: u64::from(self.mnt_ns),
        };
        // Failing costs the events of that process: they cannot be told from a runtime's work.
        let _ = UNMOUNTED.insert(&pid, &unmounted, 0);
    }

    /// The mount namespace in which the process, or the nearest ancestor that did, executed a
    /// program which no mount holds; 0 if none is remembered.
    #[inline(always)]
    pub(crate) fn unmounted_program_mnt_ns(&self) -> u32 {
        let mut task = self.object;
        for _ in 0..MAX_ANCESTORS {
            let Some(leader) = task.follow(offset!(task_group_leader)) else {
                return 0;
            };
            let Some(pid) = leader.load::<u32>(offset!(task_tgid)) else {
                return 0;
            };
            if let Some(unmounted) = UNMOUNTED.get_ptr(&pid) {
                // SAFETY: a map value, aligned, that lives as long as the program runs.
                let unmounted = unsafe { *unmounted };
                if leader.load(offset!(task_start_boottime)) == Some(unmounted.start_ns) {
                    return unmounted.mnt_ns as u32;
                }
            }
            match task.follow(offset!(task_real_parent)) {
                Some(parent) => task = parent,
                None => return 0,
            }
        }
        0
    }
}
