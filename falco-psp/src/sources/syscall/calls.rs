//! The system calls that are recorded, by number and by name.

use falco_psp_common::record::call_class;

use super::compat;
use crate::event::{ROOT_WRITE, VOLUME_WRITE};

// The same numbers everywhere (`include/uapi/asm-generic/unistd.h`, `syscall_64.tbl`), not all of them
// known to libc.
const SYS_FCHMODAT2: libc::c_long = 452;
/// Since Linux 6.13.
const SYS_SETXATTRAT: libc::c_long = 463;
/// Since Linux 6.13.
const SYS_REMOVEXATTRAT: libc::c_long = 466;
/// Since Linux 6.15.
const SYS_OPEN_TREE_ATTR: libc::c_long = 467;
/// Since Linux 6.17.
const SYS_FILE_SETATTR: libc::c_long = 469;

/// A recorded system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its number on this architecture.
    pub number: u32,
    /// Its name, as in `evt.type`.
    pub name: &'static str,
    /// Its [`call_class`].
    pub class: u8,
}

macro_rules! number {
    (SYS_FCHMODAT2) => {
        SYS_FCHMODAT2
    };
    (SYS_SETXATTRAT) => {
        SYS_SETXATTRAT
    };
    (SYS_REMOVEXATTRAT) => {
        SYS_REMOVEXATTRAT
    };
    (SYS_OPEN_TREE_ATTR) => {
        SYS_OPEN_TREE_ATTR
    };
    (SYS_FILE_SETATTR) => {
        SYS_FILE_SETATTR
    };
    ($number:ident) => {
        libc::$number
    };
}

macro_rules! calls {
    ($($class:ident: $($number:ident $name:literal),+;)*) => {
        &[$($(Call {
            number: number!($number).unsigned_abs() as u32,
            name: $name,
            class: call_class::$class,
        }),+),*]
    };
}

/// All recorded system calls. Credentials: what changes ids, groups or capability sets. Mounts:
/// what changes the mount table.
pub const CALLS: &[Call] = calls! {
    CREDENTIALS:
        SYS_setuid "setuid", SYS_setgid "setgid", SYS_setreuid "setreuid", SYS_setregid "setregid",
        SYS_setresuid "setresuid", SYS_setresgid "setresgid", SYS_setfsuid "setfsuid",
        SYS_setfsgid "setfsgid", SYS_setgroups "setgroups", SYS_capset "capset";
    MOUNT:
        SYS_mount "mount", SYS_umount2 "umount2", SYS_pivot_root "pivot_root",
        SYS_move_mount "move_mount", SYS_open_tree "open_tree", SYS_fsmount "fsmount",
        SYS_mount_setattr "mount_setattr", SYS_OPEN_TREE_ATTR "open_tree_attr";
};

/// The calls that a read-only root file system would refuse where they are about it. What needs a file
/// that was opened for writing before is told by its opening.
pub const FILE_CALLS: &[Call] = calls! {
    OPEN_FLAGS2: SYS_openat "openat", SYS_open_by_handle_at "open_by_handle_at";
    OPEN: SYS_openat2 "openat2";
    DESCRIPTOR0:
        SYS_fchmod "fchmod", SYS_fchown "fchown", SYS_fsetxattr "fsetxattr",
        SYS_fremovexattr "fremovexattr";
    PATH0:
        SYS_truncate "truncate", SYS_setxattr "setxattr", SYS_lsetxattr "lsetxattr",
        SYS_removexattr "removexattr", SYS_lremovexattr "lremovexattr";
    AT0:
        SYS_mkdirat "mkdirat", SYS_mknodat "mknodat", SYS_unlinkat "unlinkat",
        SYS_fchmodat "fchmodat", SYS_FCHMODAT2 "fchmodat2", SYS_fchownat "fchownat",
        SYS_utimensat "utimensat", SYS_SETXATTRAT "setxattrat",
        SYS_REMOVEXATTRAT "removexattrat", SYS_FILE_SETATTR "file_setattr";
    AT1: SYS_symlinkat "symlinkat";
    AT2: SYS_linkat "linkat", SYS_renameat2 "renameat2";
    BIND: SYS_bind "bind";
    RING: SYS_io_uring_setup "io_uring_setup";
};

/// Those of them that only older architectures have.
#[cfg(target_arch = "x86_64")]
pub const OLDER_FILE_CALLS: &[Call] = calls! {
    OPEN_FLAGS1: SYS_open "open";
    OPEN: SYS_creat "creat";
    PATH0:
        SYS_mkdir "mkdir", SYS_rmdir "rmdir", SYS_mknod "mknod", SYS_unlink "unlink",
        SYS_chmod "chmod", SYS_chown "chown", SYS_lchown "lchown", SYS_utime "utime",
        SYS_utimes "utimes";
    PATH1: SYS_rename "rename", SYS_link "link", SYS_symlink "symlink";
    AT0: SYS_futimesat "futimesat";
    AT2: SYS_renameat "renameat";
};
/// Those of them that only older architectures have.
#[cfg(not(target_arch = "x86_64"))]
pub const OLDER_FILE_CALLS: &[Call] = &[];

/// Whether this is the number of the call that makes an io_uring.
pub fn makes_io_uring(number: u32) -> bool {
    name(number) == Some("io_uring_setup")
}

/// Whether a call of [`FILE_CALLS`] changes what a link leads to, and not the link.
pub fn follows_links(name: &str) -> bool {
    matches!(
        name,
        "truncate"
            | "setxattr"
            | "removexattr"
            | "chmod"
            | "chown"
            | "fchmodat"
            | "fchmodat2"
            | "fchownat"
            | "utime"
            | "utimes"
            | "utimensat"
            | "futimesat"
    )
}

/// The name of a recorded call.
pub fn name(number: u32) -> Option<&'static str> {
    let files = FILE_CALLS.iter().chain(OLDER_FILE_CALLS);
    let call = CALLS.iter().chain(files).find(|call| call.number == number);
    call.map(|call| call.name)
}

/// The table that tells the kernel side which calls to record: those whose name `wanted` takes, and
/// those that change files if it takes [`ROOT_WRITE`] or [`VOLUME_WRITE`].
pub fn table(wanted: impl Fn(&str) -> bool) -> [u8; call_class::TABLE] {
    let mut table = [call_class::NONE; call_class::TABLE];
    let files = FILE_CALLS.iter().chain(OLDER_FILE_CALLS);
    let of_files = wanted(ROOT_WRITE) || wanted(VOLUME_WRITE);
    let files = files.filter(|_| of_files);
    for call in CALLS.iter().filter(|call| wanted(call.name)).chain(files) {
        if let Some(class) = table.get_mut(call.number as usize) {
            *class = call.class;
        }
    }
    for (number, native) in compat::table().into_iter().enumerate() {
        let native = table.get(usize::from(native));
        if native.is_some_and(|class| class & !call_class::COMPAT != call_class::NONE) {
            table[number] |= call_class::COMPAT;
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_fits_the_table_and_has_one_name() {
        let table = table(|_| true);
        for call in CALLS.iter().chain(FILE_CALLS).chain(OLDER_FILE_CALLS) {
            let class = table[call.number as usize] & !call_class::COMPAT;
            assert_eq!(class, call.class, "{}", call.name);
            assert_eq!(name(call.number), Some(call.name));
        }
        let recorded = table.iter().filter(|class| is_recorded(**class));
        let all = CALLS.len() + FILE_CALLS.len() + OLDER_FILE_CALLS.len();
        assert_eq!(recorded.count(), all);
    }

    #[test]
    fn only_wanted_calls_are_recorded() {
        let table = table(|name| name == "setuid");
        let recorded = table.iter().filter(|class| is_recorded(**class));
        assert_eq!(recorded.count(), 1);
    }

    fn is_recorded(class: u8) -> bool {
        class & !call_class::COMPAT != call_class::NONE
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn numbers_of_wanted_32_bit_calls_are_marked() {
        let table = table(|name| name == "setuid");
        let marked = (0..call_class::TABLE).filter(|at| table[*at] & call_class::COMPAT != 0);
        assert_eq!(marked.collect::<Vec<_>>(), [23, 213]);
    }
}
