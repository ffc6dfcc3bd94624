//! The system calls of 32-bit programs on a 64-bit kernel, which have numbers of their own.

use falco_psp_common::record::{COMPAT_CALL, call_class};

/// From this number on a call has the same one everywhere (Linux 5.1,
/// `include/uapi/asm-generic/unistd.h`).
const SAME: usize = 424;

#[cfg(target_arch = "x86_64")]
macro_rules! numbers {
    ($($name:ident $($number:literal)+),+ $(,)?) => {
        &[$((libc::$name, &[$($number),+])),+]
    };
}

/// Of each call that is recorded, or asks for capabilities, those of i386 that do the same
/// (`arch/x86/entry/syscalls/syscall_32.tbl`): there are several where ids, sizes or times have
/// become longer. `ipc` is there for shared memory, the only one of its calls that asks for something
/// it does not need.
#[cfg(target_arch = "x86_64")]
const CALLS: &[(libc::c_long, &[u16])] = numbers! {
    SYS_fork 2, SYS_read 3, SYS_write 4, SYS_open 5, SYS_close 6, SYS_creat 8, SYS_link 9,
    SYS_unlink 10, SYS_execve 11, SYS_chdir 12, SYS_mknod 14, SYS_chmod 15, SYS_lchown 16 198,
    SYS_stat 18 106 195, SYS_mount 21, SYS_umount2 22 52, SYS_setuid 23 213, SYS_ptrace 26,
    SYS_alarm 27, SYS_utime 30, SYS_access 33, SYS_kill 37, SYS_rename 38, SYS_mkdir 39,
    SYS_rmdir 40, SYS_pipe 42, SYS_brk 45, SYS_setgid 46 214, SYS_acct 51, SYS_ioctl 54,
    SYS_fcntl 55 221, SYS_chroot 61, SYS_setreuid 70 203, SYS_setregid 71 204, SYS_sethostname 74,
    SYS_setrlimit 75, SYS_settimeofday 79, SYS_setgroups 81 206, SYS_symlink 83,
    SYS_lstat 84 107 196, SYS_readlink 85, SYS_swapon 87, SYS_reboot 88, SYS_mmap 90 192,
    SYS_munmap 91, SYS_truncate 92 193, SYS_ftruncate 93 194, SYS_fchmod 94, SYS_fchown 95 207,
    SYS_getpriority 96, SYS_setpriority 97, SYS_statfs 99 268, SYS_ioperm 101, SYS_syslog 103,
    SYS_iopl 110, SYS_vhangup 111, SYS_swapoff 115, SYS_shmget 117 395, SYS_fsync 118,
    SYS_clone 120, SYS_setdomainname 121, SYS_modify_ldt 123, SYS_adjtimex 124, SYS_mprotect 125,
    SYS_init_module 128, SYS_delete_module 129, SYS_quotactl 131, SYS_fchdir 133,
    SYS_personality 136, SYS_setfsuid 138 215, SYS_setfsgid 139 216, SYS_readv 145, SYS_writev 146,
    SYS_mlock 150, SYS_mlockall 152, SYS_sched_setparam 154, SYS_sched_setscheduler 156,
    SYS_mremap 163, SYS_setresuid 164 208, SYS_nfsservctl 169, SYS_setresgid 170 210,
    SYS_prctl 172, SYS_pread64 180, SYS_pwrite64 181, SYS_chown 182 212, SYS_capset 185,
    SYS_sendfile 187 239, SYS_vfork 190, SYS_pivot_root 217, SYS_madvise 219, SYS_getdents64 220,
    SYS_setxattr 226, SYS_lsetxattr 227, SYS_fsetxattr 228, SYS_getxattr 229, SYS_lgetxattr 230,
    SYS_fgetxattr 231, SYS_listxattr 232, SYS_llistxattr 233, SYS_flistxattr 234,
    SYS_removexattr 235, SYS_lremovexattr 236, SYS_fremovexattr 237, SYS_tkill 238,
    SYS_futex 240 422, SYS_sched_setaffinity 241, SYS_lookup_dcookie 253, SYS_remap_file_pages 257,
    SYS_timer_create 259, SYS_clock_settime 264 404, SYS_tgkill 270, SYS_utimes 271, SYS_mbind 274,
    SYS_mq_open 277, SYS_kexec_load 283, SYS_add_key 286, SYS_request_key 287, SYS_keyctl 288,
    SYS_ioprio_set 289, SYS_inotify_add_watch 292, SYS_migrate_pages 294, SYS_openat 295,
    SYS_mkdirat 296, SYS_mknodat 297, SYS_fchownat 298, SYS_futimesat 299, SYS_newfstatat 300,
    SYS_unlinkat 301, SYS_renameat 302, SYS_linkat 303, SYS_symlinkat 304, SYS_readlinkat 305,
    SYS_fchmodat 306, SYS_faccessat 307, SYS_unshare 310, SYS_splice 313, SYS_move_pages 317,
    SYS_utimensat 320 412, SYS_timerfd_create 322, SYS_fallocate 324, SYS_timerfd_settime 325 411,
    SYS_pipe2 331, SYS_preadv 333, SYS_pwritev 334, SYS_perf_event_open 336, SYS_fanotify_init 338,
    SYS_fanotify_mark 339, SYS_prlimit64 340, SYS_name_to_handle_at 341, SYS_open_by_handle_at 342,
    SYS_clock_adjtime 343 405, SYS_syncfs 344, SYS_sendmmsg 345, SYS_setns 346,
    SYS_process_vm_readv 347, SYS_process_vm_writev 348, SYS_kcmp 349, SYS_finit_module 350,
    SYS_sched_setattr 351, SYS_renameat2 353, SYS_seccomp 354, SYS_memfd_create 356, SYS_bpf 357,
    SYS_execveat 358, SYS_socket 359, SYS_socketpair 360, SYS_bind 361, SYS_connect 362,
    SYS_listen 363, SYS_accept4 364, SYS_getsockopt 365, SYS_setsockopt 366, SYS_sendto 369,
    SYS_sendmsg 370, SYS_recvfrom 371, SYS_recvmsg 372, SYS_shutdown 373, SYS_userfaultfd 374,
    SYS_mlock2 376, SYS_copy_file_range 377, SYS_preadv2 378, SYS_pwritev2 379, SYS_statx 383,
    SYS_semget 393, SYS_semctl 394, SYS_shmctl 396, SYS_shmat 397, SYS_msgget 399, SYS_msgctl 402,
};
/// Those of 32-bit arm are not known here.
#[cfg(not(target_arch = "x86_64"))]
const CALLS: &[(libc::c_long, &[u16])] = &[];

/// For each number of a 32-bit call that of the 64-bit one, or [`call_class::NO_CALL`].
pub fn table() -> [u16; call_class::TABLE] {
    let mut table = [call_class::NO_CALL; call_class::TABLE];
    if CALLS.is_empty() {
        return table;
    }
    for (number, same) in (0..).zip(&mut table).skip(SAME) {
        *same = number;
    }
    for (native, numbers) in CALLS {
        let Ok(native) = u16::try_from(*native) else {
            continue;
        };
        for number in *numbers {
            if let Some(same) = table.get_mut(usize::from(*number)) {
                *same = native;
            }
        }
    }
    table
}

/// The number of a 32-bit call that has no 64-bit one here, from what a record says.
pub fn unnamed(call: u32) -> Option<u32> {
    (call & COMPAT_CALL != 0).then_some(call & !COMPAT_CALL)
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    #[cfg(target_arch = "x86_64")]
    use super::super::calls::{CALLS as RECORDED, FILE_CALLS, OLDER_FILE_CALLS};
    use super::*;

    #[test]
    fn numbers_are_those_of_the_call_with_the_same_name() {
        let table = table();
        let native = |call: libc::c_long| u16::try_from(call).unwrap();
        assert_eq!(table[23], native(libc::SYS_setuid));
        assert_eq!(table[213], native(libc::SYS_setuid));
        assert_eq!(table[5], native(libc::SYS_open));
        assert_eq!(table[11], native(libc::SYS_execve));
        assert_eq!(table[192], native(libc::SYS_mmap));
        assert_eq!(table[437], native(libc::SYS_openat2));
        // `break`, which does nothing.
        assert_eq!(table[17], call_class::NO_CALL);
    }

    #[test]
    fn every_recorded_call_has_a_32_bit_one() {
        let table = table();
        for call in RECORDED.iter().chain(FILE_CALLS).chain(OLDER_FILE_CALLS) {
            let mut numbers = table.iter();
            assert!(
                numbers.any(|number| u32::from(*number) == call.number),
                "{}",
                call.name
            );
        }
    }

    #[test]
    fn no_number_stands_twice() {
        let mut all: Vec<u16> = CALLS
            .iter()
            .flat_map(|(_, numbers)| *numbers)
            .copied()
            .collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
