//! System calls by number: what those are called that ask for capabilities, and what the kernel
//! asks for in them although they do not need it.

use falco_psp_common::capability;
use falco_psp_common::record::call_class;

use super::compat;

macro_rules! names {
    ($($name:ident)+) => {
        &[$((libc::$name, stringify!($name))),+]
    };
}

/// Calls of every architecture.
const GENERIC: &[(libc::c_long, &str)] = names! {
    SYS_accept SYS_accept4 SYS_acct SYS_add_key SYS_adjtimex SYS_bind SYS_bpf SYS_brk SYS_capset
    SYS_chdir SYS_chroot SYS_clock_adjtime SYS_clock_settime SYS_clone SYS_clone3 SYS_close
    SYS_connect SYS_copy_file_range SYS_delete_module SYS_execve SYS_execveat SYS_faccessat
    SYS_faccessat2 SYS_fallocate SYS_fanotify_init SYS_fanotify_mark SYS_fchdir SYS_fchmod
    SYS_fchmodat SYS_fchown SYS_fchownat SYS_fcntl SYS_fgetxattr SYS_finit_module SYS_flistxattr
    SYS_fremovexattr SYS_fsconfig SYS_fsetxattr SYS_fsmount SYS_fsopen SYS_fspick SYS_fsync
    SYS_ftruncate SYS_futex SYS_getdents64 SYS_getpriority SYS_getsockopt SYS_getxattr
    SYS_init_module SYS_inotify_add_watch SYS_io_uring_enter SYS_io_uring_register
    SYS_io_uring_setup SYS_ioctl SYS_ioprio_set SYS_kcmp SYS_kexec_load SYS_keyctl SYS_kill
    SYS_lgetxattr SYS_linkat SYS_listen SYS_listxattr SYS_llistxattr SYS_lookup_dcookie
    SYS_lremovexattr SYS_lsetxattr SYS_madvise SYS_mbind SYS_memfd_create SYS_migrate_pages
    SYS_mkdirat SYS_mknodat SYS_mlock SYS_mlock2 SYS_mlockall SYS_mmap SYS_mount
    SYS_mount_setattr SYS_move_mount SYS_move_pages SYS_mprotect SYS_mq_open SYS_mremap
    SYS_msgctl SYS_msgget SYS_munmap SYS_name_to_handle_at SYS_newfstatat SYS_nfsservctl
    SYS_open_by_handle_at SYS_open_tree SYS_openat SYS_openat2 SYS_perf_event_open
    SYS_personality SYS_pidfd_getfd SYS_pidfd_open SYS_pidfd_send_signal SYS_pipe2
    SYS_pivot_root SYS_prctl SYS_pread64 SYS_preadv SYS_preadv2 SYS_prlimit64
    SYS_process_madvise SYS_process_vm_readv SYS_process_vm_writev SYS_ptrace SYS_pwrite64
    SYS_pwritev SYS_pwritev2 SYS_quotactl SYS_read SYS_readlinkat SYS_readv SYS_reboot
    SYS_recvfrom SYS_recvmsg SYS_remap_file_pages SYS_removexattr SYS_renameat2
    SYS_request_key SYS_sched_setaffinity SYS_sched_setattr SYS_sched_setparam
    SYS_sched_setscheduler SYS_seccomp SYS_semctl SYS_semget SYS_sendfile SYS_sendmmsg
    SYS_sendmsg SYS_sendto SYS_setdomainname SYS_setfsgid SYS_setfsuid SYS_setgid
    SYS_setgroups SYS_sethostname SYS_setns SYS_setpriority SYS_setregid SYS_setresgid
    SYS_setresuid SYS_setreuid SYS_setrlimit SYS_setsockopt SYS_settimeofday SYS_setuid
    SYS_setxattr SYS_shmat SYS_shmctl SYS_shmget SYS_shutdown SYS_socket SYS_socketpair
    SYS_splice SYS_statfs SYS_statx SYS_swapoff SYS_swapon SYS_symlinkat SYS_syncfs SYS_syslog
    SYS_tgkill SYS_timer_create SYS_timerfd_create SYS_timerfd_settime SYS_tkill SYS_truncate
    SYS_umount2 SYS_unlinkat SYS_unshare SYS_userfaultfd SYS_utimensat SYS_vhangup SYS_write
    SYS_writev
};

/// Calls that only older architectures have.
#[cfg(target_arch = "x86_64")]
const OLDER: &[(libc::c_long, &str)] = names! {
    SYS_access SYS_alarm SYS_chmod SYS_chown SYS_creat SYS_fork SYS_futimesat SYS_ioperm SYS_iopl
    SYS_lchown SYS_link SYS_lstat SYS_mkdir SYS_mknod SYS_modify_ldt SYS_open SYS_pipe
    SYS_readlink SYS_rename SYS_renameat SYS_rmdir SYS_stat SYS_symlink SYS_unlink SYS_utime
    SYS_utimes SYS_vfork
};
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[(libc::c_long, &str)] = &[];

/// A call's name, or `syscall` and its number.
pub fn name(number: u32) -> String {
    if let Some(number) = compat::unnamed(number) {
        return format!("32-bit syscall {number}");
    }
    let mut all = GENERIC.iter().chain(OLDER);
    let known = all.find(|(known, _)| *known == libc::c_long::from(number));
    match known {
        Some((_, name)) => name.trim_start_matches("SYS_").to_owned(),
        None => format!("syscall {number}"),
    }
}

/// Memory is accounted for in these: the kernel asks for CAP_SYS_ADMIN, which may use its last
/// reserve (`cap_vm_enough_memory` in `security/commoncap.c`); a tmpfs is memory, too. Or extended
/// attributes are listed, trusted ones if it is there (`simple_xattr_list` and others).
const ACCOUNTED: [&str; 40] = [
    "mmap",
    "brk",
    "mremap",
    "mprotect",
    "munmap",
    "madvise",
    "execve",
    "execveat",
    "clone",
    "clone3",
    "fork",
    "vfork",
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "pwritev2",
    "read",
    "pread64",
    "readv",
    "preadv",
    "preadv2",
    "sendfile",
    "splice",
    "copy_file_range",
    "ftruncate",
    "truncate",
    "fallocate",
    "memfd_create",
    "shmget",
    "shmat",
    "open",
    "openat",
    "openat2",
    "creat",
    "io_uring_enter",
    "remap_file_pages",
    "listxattr",
    "llistxattr",
    "flistxattr",
];

/// A file system's reserved blocks, or a limit that is exceeded: the kernel asks for
/// CAP_SYS_RESOURCE, and mostly for nothing (`ext4_has_free_clusters`, `ignore_hardlimit` of
/// `fs/quota/dquot.c`, `copy_process`).
const RESERVED: [&str; 26] = [
    "clone",
    "clone3",
    "fork",
    "vfork",
    "execve",
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "pwritev2",
    "sendfile",
    "splice",
    "copy_file_range",
    "ftruncate",
    "truncate",
    "fallocate",
    "open",
    "openat",
    "openat2",
    "creat",
    "mkdir",
    "mkdirat",
    "rename",
    "renameat2",
    "pipe",
    "pipe2",
];

/// For each call, the capabilities that the kernel asks for in it although it does not need them.
pub fn incidental() -> [u64; call_class::TABLE] {
    let mut table = [0; call_class::TABLE];
    for (number, name) in GENERIC.iter().chain(OLDER) {
        let name = name.trim_start_matches("SYS_");
        let asked = [
            (ACCOUNTED.contains(&name), capability::SYS_ADMIN),
            (RESERVED.contains(&name), capability::SYS_RESOURCE),
            // Only whether its memory counts against the user's limit.
            (name == "io_uring_setup", capability::IPC_LOCK),
        ];
        let entry = usize::try_from(*number)
            .ok()
            .and_then(|at| table.get_mut(at));
        if let Some(entry) = entry {
            for (_, capability) in asked.into_iter().filter(|(asked, _)| *asked) {
                *entry |= 1_u64 << capability;
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_names() {
        let number = |call: libc::c_long| u32::try_from(call).unwrap();
        assert_eq!(name(number(libc::SYS_setuid)), "setuid");
        assert_eq!(name(number(libc::SYS_fchownat)), "fchownat");
        assert_eq!(name(1_000_000_000), "syscall 1000000000");
        assert_eq!(name(1 << 31 | 102), "32-bit syscall 102");
    }

    #[test]
    fn what_every_process_trips_over_is_incidental() {
        let table = incidental();
        let asked = |call: libc::c_long, capability: u32| {
            table[usize::try_from(call).unwrap()] >> capability & 1 == 1
        };
        assert!(asked(libc::SYS_mmap, capability::SYS_ADMIN));
        assert!(asked(libc::SYS_clone, capability::SYS_RESOURCE));
        assert!(!asked(libc::SYS_mount, capability::SYS_ADMIN));
        assert!(!asked(libc::SYS_prlimit64, capability::SYS_RESOURCE));
        assert!(!asked(libc::SYS_setuid, capability::SYS_ADMIN));
        // No name in the lists is misspelt.
        for call in ACCOUNTED.iter().chain(&RESERVED) {
            let mut all = GENERIC.iter().chain(OLDER);
            let is_known = all.any(|(_, name)| name.strip_prefix("SYS_") == Some(call));
            assert!(is_known || cfg!(not(target_arch = "x86_64")), "{call}");
        }
    }
}
