//! Where the members of the kernel's structures are: found by the agent in the kernel's BTF when
//! it starts, and handed to the kernel side as read-only data.

/// Value of an offset whose member this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

macro_rules! offsets {
    ($($(#[doc = $doc:literal])* $field:ident),* $(,)?) => {
        /// Byte offsets of members of the kernel's structures; [`ABSENT`] where there is none.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(C)]
        pub struct Offsets {
            $($(#[doc = $doc])* pub $field: u32),*
        }

        impl Offsets {
            /// No member found.
            pub const ABSENT: Self = Self { $($field: ABSENT),* };

            /// The offsets as they lie in memory.
            pub fn to_words(self) -> [u32; size_of::<Self>() / 4] {
                let Self { $($field),* } = self;
                [$($field),*]
            }
        }
    };
}

offsets! {
    /// `task_struct.tgid`
    task_tgid,
    /// `task_struct.pid`
    task_pid,
    /// `task_struct.real_parent`
    task_real_parent,
    /// `task_struct.group_leader`
    task_group_leader,
    /// `task_struct.start_boottime`; `real_start_time` before Linux 5.5
    task_start_boottime,
    /// `task_struct.real_cred`
    task_real_cred,
    /// `task_struct.nsproxy`
    task_nsproxy,
    /// `task_struct.thread_pid`
    task_thread_pid,
    /// `task_struct.seccomp.mode`
    task_seccomp_mode,
    /// `task_struct.atomic_flags`: bit 0 is no_new_privs
    task_atomic_flags,
    /// `task_struct.thread_info.status`, or the word that tells a task in a 32-bit call
    task_compat,
    /// The bit that does, as its value: `TS_COMPAT`
    task_compat_mask,
    /// `task_struct.mm`
    task_mm,
    /// `task_struct.cgroups`
    task_cgroups,
    /// `cred.uid`: the first of the eight ids
    cred_uid,
    /// `cred.cap_inheritable`: the first of the five capability sets
    cred_cap_inheritable,
    /// `cred.user_ns`
    cred_user_ns,
    /// `cred.group_info`
    cred_group_info,
    /// `group_info.ngroups`
    group_info_ngroups,
    /// `group_info.gid`
    group_info_gid,
    /// `user_namespace.ns.inum`
    user_ns_inum,
    /// `nsproxy.mnt_ns`
    nsproxy_mnt_ns,
    /// `nsproxy.net_ns`
    nsproxy_net_ns,
    /// `nsproxy.ipc_ns`
    nsproxy_ipc_ns,
    /// `mnt_namespace.ns.inum`
    mnt_ns_inum,
    /// `net.ns.inum`
    net_ns_inum,
    /// `ipc_namespace.ns.inum`
    ipc_ns_inum,
    /// `pid_namespace.ns.inum`
    pid_ns_inum,
    /// `pid.level`
    pid_level,
    /// `pid.numbers`
    pid_numbers,
    /// size of `struct upid`
    upid_size,
    /// `upid.nr`
    upid_nr,
    /// `upid.ns`
    upid_ns,
    /// `mm_struct.arg_start`
    mm_arg_start,
    /// `mm_struct.arg_end`
    mm_arg_end,
    /// `mm_struct.exe_file`
    mm_exe_file,
    /// `file.f_path.mnt`
    file_mnt,
    /// `mount.mnt`: where the `vfsmount` lies in its `mount`
    mount_mnt,
    /// `mount.mnt_ns`
    mount_mnt_ns,
    /// `mount.mnt_id`
    mount_mnt_id,
    /// `task_struct.fs`
    task_fs,
    /// `fs_struct.root.mnt`
    fs_root_mnt,
    /// `fs_struct.root.dentry`
    fs_root_dentry,
    /// `fs_struct.pwd.mnt`
    fs_pwd_mnt,
    /// `fs_struct.pwd.dentry`
    fs_pwd_dentry,
    /// `task_struct.files`
    task_files,
    /// `files_struct.fdt`
    files_fdt,
    /// `fdtable.fd`
    fdtable_fd,
    /// `file.f_path.dentry`
    file_dentry,
    /// `file.f_mode`
    file_mode,
    /// `dentry.d_parent`
    dentry_parent,
    /// `dentry.d_name.hash_len`
    dentry_hash,
    /// `dentry.d_name.name`
    dentry_name,
    /// `linux_binprm.filename`
    binprm_filename,
    /// `linux_binprm.secureexec`: the byte that holds the bit
    binprm_secureexec_byte,
    /// `linux_binprm.secureexec`: the bit's value in that byte
    binprm_secureexec_mask,
    /// `css_set.dfl_cgrp`: the group in the unified hierarchy
    css_set_dfl_cgrp,
    /// `css_set.subsys` + the slot of the `pids` controller
    css_set_pids,
    /// `cgroup_subsys_state.cgroup`
    css_cgroup,
    /// `cgroup.kn`
    cgroup_kn,
    /// `kernfs_node.parent`; `__parent` since Linux 6.15
    kernfs_parent,
    /// `kernfs_node.name`
    kernfs_name,
    /// `kernfs_node.id`
    kernfs_id,
    /// `pt_regs.orig_ax`, or the register that holds the call's number
    regs_call,
    /// The register of the first argument: `pt_regs.di` on x86_64
    regs_arg0,
    /// The register of the second argument: `pt_regs.si` on x86_64
    regs_arg1,
    /// The register of the third argument: `pt_regs.dx` on x86_64
    regs_arg2,
    /// The register of the fourth argument: `pt_regs.r10` on x86_64
    regs_arg3,
    /// The register of a 32-bit call's first argument: `pt_regs.bx` on x86_64
    regs_compat_arg0,
    /// The register of a 32-bit call's second argument: `pt_regs.cx` on x86_64
    regs_compat_arg1,
    /// The register of a 32-bit call's third argument: `pt_regs.dx` on x86_64
    regs_compat_arg2,
    /// The register of a 32-bit call's fourth argument: `pt_regs.si` on x86_64
    regs_compat_arg3,
    /// The register of the first argument of a function of the kernel: `pt_regs.di` on x86_64
    regs_function0,
    /// The register of the second: `pt_regs.si` on x86_64
    regs_function1,
    /// The register of the third: `pt_regs.dx` on x86_64
    regs_function2,
    /// The register of the fourth: `pt_regs.cx` on x86_64
    regs_function3,
}

/// What the agent tells the kernel side before it is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// Inode number of the host's mount namespace.
    pub host_mnt_ns: u32,
    /// 1: do not send the same posture of the same container again, but count it.
    pub deduplicate: u32,
    /// 1: of each mount besides the root tell that it was written to.
    pub other_mounts: u32,
    /// Nothing.
    pub padding: u32,
    /// Fill of the ring in bytes from which on the reader is woken at once.
    pub wake_fill: u64,
}

impl Settings {
    /// The settings as they lie in memory.
    pub fn to_bytes(self) -> [u8; size_of::<Self>()] {
        let Self {
            host_mnt_ns,
            deduplicate,
            other_mounts,
            padding,
            wake_fill,
        } = self;
        let mut bytes = [0; size_of::<Self>()];
        bytes[..4].copy_from_slice(&host_mnt_ns.to_ne_bytes());
        bytes[4..8].copy_from_slice(&deduplicate.to_ne_bytes());
        bytes[8..12].copy_from_slice(&other_mounts.to_ne_bytes());
        bytes[12..16].copy_from_slice(&padding.to_ne_bytes());
        bytes[16..].copy_from_slice(&wake_fill.to_ne_bytes());
        bytes
    }
}
const _: () = assert!(size_of::<Settings>() == 24);
