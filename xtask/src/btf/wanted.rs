//! What the agent looks for in a kernel's types: the same as
//! `falco-psp/src/sources/syscall/offsets.rs`, whose tests fail if something is not here.

/// Structures with their members; those of other kernels, too.
pub(super) const MEMBERS: &[(&str, &[&str])] = &[
    (
        "task_struct",
        &[
            "tgid",
            "pid",
            "real_parent",
            "group_leader",
            "start_boottime",
            "real_start_time",
            "real_cred",
            "nsproxy",
            "thread_pid",
            "seccomp.mode",
            "atomic_flags",
            "mm",
            "cgroups",
            "fs",
            "files",
            "thread_info.flags",
            "thread_info.status",
        ],
    ),
    ("cred", &["uid", "cap_inheritable", "user_ns", "group_info"]),
    ("group_info", &["ngroups", "gid"]),
    ("nsproxy", &["mnt_ns", "net_ns", "ipc_ns"]),
    ("user_namespace", &["ns.inum"]),
    ("mnt_namespace", &["ns.inum"]),
    ("net", &["ns.inum"]),
    ("ipc_namespace", &["ns.inum"]),
    ("pid_namespace", &["ns.inum"]),
    ("pid", &["level", "numbers"]),
    ("upid", &["nr", "ns"]),
    ("mm_struct", &["arg_start", "arg_end", "exe_file"]),
    ("file", &["f_path.mnt", "f_path.dentry", "f_mode"]),
    ("mount", &["mnt", "mnt_ns", "mnt_id"]),
    (
        "fs_struct",
        &["root.mnt", "root.dentry", "pwd.mnt", "pwd.dentry"],
    ),
    ("files_struct", &["fdt"]),
    ("fdtable", &["fd"]),
    ("dentry", &["d_parent", "d_name.hash_len", "d_name.name"]),
    ("linux_binprm", &["filename", "secureexec"]),
    ("css_set", &["dfl_cgrp", "subsys"]),
    ("cgroup_subsys_state", &["cgroup"]),
    ("cgroup", &["kn"]),
    ("kernfs_node", &["parent", "__parent", "name", "id"]),
    (
        "pt_regs",
        &[
            "orig_ax",
            "di",
            "si",
            "dx",
            "r10",
            "bx",
            "cx",
            "syscallno",
            "orig_x0",
            "regs",
        ],
    ),
];

/// Structures whose size counts.
pub(super) const SIZES: &[&str] = &["upid"];

/// Enumerators.
pub(super) const ENUMERATORS: &[&str] = &["pids_cgrp_id"];
