//! Which members of which kernel structures the kernel side needs, and for what.

use falco_psp_common::offsets::{ABSENT, Offsets};

use super::btf::Btf;

/// Something that the kernel side can only tell if it finds certain members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fact {
    /// Which process it is, its ids, capabilities and namespaces. Nothing works without.
    State,
    /// Credential and mount calls.
    Calls,
    /// The arguments of an executed program.
    Arguments,
    /// Where the running program was loaded from: tells a runtime's set-up from the workload.
    ProgramOrigin,
    /// The control group, which names the container.
    ControlGroup,
    /// Whether no_new_privs is set.
    NoNewPrivs,
    /// The seccomp mode.
    Seccomp,
    /// Whether an exec gained privileges.
    PrivilegeGain,
    /// The strings that a mount was called with.
    MountArguments,
    /// The capabilities that calls use.
    CapabilityUse,
    /// Writes to the root file system.
    RootWrites,
    /// Which calls are 32-bit ones, and have other numbers.
    CompatCalls,
}

impl Fact {
    /// What is missing without it, for people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::State => "processes, their ids, capabilities and namespaces",
            Self::Calls => "set*id, capset and mount calls",
            Self::Arguments => "arguments of programs",
            Self::ProgramOrigin => "origin of the running program",
            Self::ControlGroup => "control groups in events",
            Self::NoNewPrivs => "no_new_privs",
            Self::Seccomp => "seccomp mode",
            Self::PrivilegeGain => "gain of privileges at exec",
            Self::MountArguments => "arguments of mount calls",
            Self::CapabilityUse => "capabilities that calls use, but for mounts",
            Self::RootWrites => "writes to root file systems",
            Self::CompatCalls => "calls of 32-bit programs, which are taken for others",
        }
    }
}

/// A member that this kernel does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its name, `structure.member`.
    pub member: String,
    /// What cannot be told without it.
    pub fact: Fact,
}

struct Entry {
    set: fn(&mut Offsets) -> &mut u32,
    structure: &'static str,
    /// The member, and names that it has in other kernels.
    paths: &'static [&'static [&'static str]],
    fact: Fact,
}

macro_rules! table {
    ($($field:ident = $structure:literal $($path:literal)|+ ($fact:ident)),* $(,)?) => {
        &[$(Entry {
            set: |offsets| &mut offsets.$field,
            structure: $structure,
            paths: table!(@paths $($path)|+),
            fact: Fact::$fact,
        }),*]
    };
    (@paths $($path:literal)|+) => { &[$(&[$path]),+] };
}

/// Members reached by one name. The rest is found by code in [`find`].
const TABLE: &[Entry] = table![
    task_tgid = "task_struct" "tgid" (State),
    task_pid = "task_struct" "pid" (State),
    task_real_parent = "task_struct" "real_parent" (State),
    task_group_leader = "task_struct" "group_leader" (State),
    // Renamed in Linux 5.5.
    task_start_boottime = "task_struct" "start_boottime" | "real_start_time" (State),
    task_real_cred = "task_struct" "real_cred" (State),
    task_nsproxy = "task_struct" "nsproxy" (State),
    task_thread_pid = "task_struct" "thread_pid" (State),
    task_atomic_flags = "task_struct" "atomic_flags" (NoNewPrivs),
    task_mm = "task_struct" "mm" (Arguments),
    task_cgroups = "task_struct" "cgroups" (ControlGroup),
    cred_uid = "cred" "uid" (State),
    cred_cap_inheritable = "cred" "cap_inheritable" (State),
    cred_user_ns = "cred" "user_ns" (State),
    cred_group_info = "cred" "group_info" (State),
    group_info_ngroups = "group_info" "ngroups" (State),
    group_info_gid = "group_info" "gid" (State),
    nsproxy_mnt_ns = "nsproxy" "mnt_ns" (State),
    nsproxy_net_ns = "nsproxy" "net_ns" (State),
    nsproxy_ipc_ns = "nsproxy" "ipc_ns" (State),
    pid_level = "pid" "level" (State),
    pid_numbers = "pid" "numbers" (State),
    upid_nr = "upid" "nr" (State),
    upid_ns = "upid" "ns" (State),
    mm_arg_start = "mm_struct" "arg_start" (Arguments),
    mm_arg_end = "mm_struct" "arg_end" (Arguments),
    mm_exe_file = "mm_struct" "exe_file" (ProgramOrigin),
    mount_mnt = "mount" "mnt" (ProgramOrigin),
    mount_mnt_ns = "mount" "mnt_ns" (ProgramOrigin),
    mount_mnt_id = "mount" "mnt_id" (RootWrites),
    task_fs = "task_struct" "fs" (RootWrites),
    task_files = "task_struct" "files" (RootWrites),
    files_fdt = "files_struct" "fdt" (RootWrites),
    fdtable_fd = "fdtable" "fd" (RootWrites),
    file_mode = "file" "f_mode" (RootWrites),
    dentry_parent = "dentry" "d_parent" (RootWrites),
    binprm_filename = "linux_binprm" "filename" (State),
    css_set_dfl_cgrp = "css_set" "dfl_cgrp" (ControlGroup),
    css_cgroup = "cgroup_subsys_state" "cgroup" (ControlGroup),
    cgroup_kn = "cgroup" "kn" (ControlGroup),
    // Renamed in Linux 6.15.
    kernfs_parent = "kernfs_node" "__parent" | "parent" (ControlGroup),
    kernfs_name = "kernfs_node" "name" (ControlGroup),
    kernfs_id = "kernfs_node" "id" (ControlGroup),
];

/// Members of members.
const NESTED: &[Entry] = &[
    Entry {
        set: |offsets| &mut offsets.task_seccomp_mode,
        structure: "task_struct",
        paths: &[&["seccomp", "mode"]],
        fact: Fact::Seccomp,
    },
    Entry {
        set: |offsets| &mut offsets.file_mnt,
        structure: "file",
        paths: &[&["f_path", "mnt"]],
        fact: Fact::ProgramOrigin,
    },
    nested(
        |offsets| &mut offsets.fs_root_mnt,
        "fs_struct",
        &[&["root", "mnt"]],
    ),
    nested(
        |offsets| &mut offsets.fs_root_dentry,
        "fs_struct",
        &[&["root", "dentry"]],
    ),
    nested(
        |offsets| &mut offsets.fs_pwd_mnt,
        "fs_struct",
        &[&["pwd", "mnt"]],
    ),
    nested(
        |offsets| &mut offsets.fs_pwd_dentry,
        "fs_struct",
        &[&["pwd", "dentry"]],
    ),
    nested(
        |offsets| &mut offsets.file_dentry,
        "file",
        &[&["f_path", "dentry"]],
    ),
    nested(
        |offsets| &mut offsets.dentry_hash,
        "dentry",
        &[&["d_name", "hash_len"]],
    ),
    nested(
        |offsets| &mut offsets.dentry_name,
        "dentry",
        &[&["d_name", "name"]],
    ),
    inum(|offsets| &mut offsets.user_ns_inum, "user_namespace"),
    inum(|offsets| &mut offsets.mnt_ns_inum, "mnt_namespace"),
    inum(|offsets| &mut offsets.net_ns_inum, "net"),
    inum(|offsets| &mut offsets.ipc_ns_inum, "ipc_namespace"),
    inum(|offsets| &mut offsets.pid_ns_inum, "pid_namespace"),
];

const fn nested(
    set: fn(&mut Offsets) -> &mut u32,
    structure: &'static str,
    paths: &'static [&'static [&'static str]],
) -> Entry {
    Entry {
        set,
        structure,
        paths,
        fact: Fact::RootWrites,
    }
}

const fn inum(set: fn(&mut Offsets) -> &mut u32, structure: &'static str) -> Entry {
    Entry {
        set,
        structure,
        paths: &[&["ns", "inum"]],
        fact: Fact::State,
    }
}

/// What the architecture has its own way for.
struct Architecture {
    /// The registers that hold a call's number and first arguments, then those of a 32-bit call's
    /// arguments, then those of the arguments of a function of the kernel, as members of `pt_regs`,
    /// with the bytes from the member's start.
    registers: [(&'static str, u32); 13],
    /// The member of `thread_info` that tells a task in a 32-bit call.
    compat: &'static str,
    /// The bit that does, as its value.
    compat_mask: u32,
}

/// x86_64 (`arch/x86/include/asm/ptrace.h`; `TS_COMPAT` of `arch/x86/include/asm/thread_info.h`; the
/// arguments of a 32-bit call: `arch/x86/include/asm/syscall_wrapper.h`).
const X86_64: Architecture = Architecture {
    registers: [
        ("orig_ax", 0),
        ("di", 0),
        ("si", 0),
        ("dx", 0),
        ("r10", 0),
        ("bx", 0),
        ("cx", 0),
        ("dx", 0),
        ("si", 0),
        ("di", 0),
        ("si", 0),
        ("dx", 0),
        ("cx", 0),
    ],
    compat: "status",
    compat_mask: 1 << 1,
};
/// arm64, where `orig_x0` keeps the first argument, whose register holds the result at exit
/// (`arch/arm64/include/asm/ptrace.h`: `u64 regs[31]` and `s32 syscallno`; `TIF_32BIT` of
/// `arch/arm64/include/asm/thread_info.h`).
const ARM64: Architecture = Architecture {
    registers: [
        ("syscallno", 0),
        ("orig_x0", 0),
        ("regs", 8),
        ("regs", 16),
        ("regs", 24),
        ("orig_x0", 0),
        ("regs", 8),
        ("regs", 16),
        ("regs", 24),
        ("regs", 0),
        ("regs", 8),
        ("regs", 16),
        ("regs", 24),
    ],
    compat: "flags",
    compat_mask: 1 << 22,
};

/// The architecture that the types are of, which is not always this machine's.
fn architecture(btf: &Btf) -> &'static Architecture {
    match btf.member("pt_regs", &[ARM64.registers[0].0]) {
        Some(_) => &ARM64,
        None => &X86_64,
    }
}

/// Finds all members; those that are missing stay [`ABSENT`] and are named.
pub fn find(btf: &Btf) -> (Offsets, Vec<Missing>) {
    let mut offsets = Offsets::ABSENT;
    let mut missing = Vec::new();
    for entry in TABLE.iter().chain(NESTED) {
        let found = entry
            .paths
            .iter()
            .find_map(|path| btf.member(entry.structure, path));
        match found {
            Some(member) => *(entry.set)(&mut offsets) = member.offset_bits / 8,
            None => missing.push(Missing {
                member: format!("{}.{}", entry.structure, entry.paths[0].join(".")),
                fact: entry.fact,
            }),
        }
    }
    let mut note = |found: bool, member: &str, fact| {
        if !found {
            let member = member.to_owned();
            missing.push(Missing { member, fact });
        }
    };

    offsets.upid_size = btf.size("upid").unwrap_or(ABSENT);
    note(offsets.upid_size != ABSENT, "upid", Fact::State);

    match btf.member("linux_binprm", &["secureexec"]) {
        Some(bit) => {
            offsets.binprm_secureexec_byte = bit.offset_bits / 8;
            offsets.binprm_secureexec_mask = if bit.size_bits == 0 {
                0xff
            } else {
                secure_exec_mask(bit.offset_bits)
            };
        }
        None => note(false, "linux_binprm.secureexec", Fact::PrivilegeGain),
    }

    let subsys = btf.member("css_set", &["subsys"]);
    match (subsys, btf.enumerator("pids_cgrp_id")) {
        (Some(subsys), Some(slot)) => offsets.css_set_pids = subsys.offset_bits / 8 + 8 * slot,
        // A kernel without the controller still has the unified hierarchy.
        _ => tracing::debug!("this kernel has no pids controller"),
    }

    let architecture = architecture(btf);
    let compat = ["thread_info", architecture.compat];
    match btf.member("task_struct", &compat) {
        Some(member) => {
            offsets.task_compat = member.offset_bits / 8;
            offsets.task_compat_mask = architecture.compat_mask;
        }
        None => {
            let member = format!("task_struct.{}", compat.join("."));
            note(false, &member, Fact::CompatCalls);
        }
    }
    let places = [
        (&mut offsets.regs_call, Fact::Calls),
        (&mut offsets.regs_arg0, Fact::MountArguments),
        (&mut offsets.regs_arg1, Fact::MountArguments),
        (&mut offsets.regs_arg2, Fact::MountArguments),
        (&mut offsets.regs_arg3, Fact::RootWrites),
        (&mut offsets.regs_compat_arg0, Fact::CompatCalls),
        (&mut offsets.regs_compat_arg1, Fact::CompatCalls),
        (&mut offsets.regs_compat_arg2, Fact::CompatCalls),
        (&mut offsets.regs_compat_arg3, Fact::CompatCalls),
        (&mut offsets.regs_function0, Fact::Calls),
        (&mut offsets.regs_function1, Fact::Calls),
        (&mut offsets.regs_function2, Fact::Calls),
        (&mut offsets.regs_function3, Fact::Calls),
    ];
    for ((offset, fact), (name, further)) in places.into_iter().zip(architecture.registers) {
        match btf.member("pt_regs", &[name]) {
            Some(member) => *offset = member.offset_bits / 8 + further,
            None => note(false, &format!("pt_regs.{name}"), fact),
        }
    }
    (offsets, missing)
}

/// The value of the bit with this offset in its byte.
fn secure_exec_mask(offset_bits: u32) -> u32 {
    let bit = offset_bits % 8;
    if cfg!(target_endian = "little") {
        1 << bit
    } else {
        0x80 >> bit
    }
}

#[cfg(test)]
mod tests;
