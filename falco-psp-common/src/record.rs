//! A record: one event as it crosses the ring.
//!
//! A record is a [`Fixed`] part followed by its tails, each as long as `Fixed::tails` says and in
//! that order, without padding between them. `Fixed::length` is the length of the whole. All
//! integers are in the byte order of the machine.

/// What a record tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// A program was executed: the posture right after.
    Exec = 0,
    /// A call that changes credentials returned.
    Credentials = 1,
    /// A call of the mount family returned.
    Mount = 2,
    /// The kernel was asked in a call whether the task has a capability.
    Capability = 3,
    /// A call returned that a read-only root file system would have refused.
    File = 4,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 5] = [
        Self::Exec,
        Self::Credentials,
        Self::Mount,
        Self::Capability,
        Self::File,
    ];

    /// The kind's name in summaries.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Credentials => "credentials",
            Self::Mount => "mount",
            Self::Capability => "capability",
            Self::File => "file",
        }
    }
}

impl TryFrom<u16> for Kind {
    type Error = u16;

    fn try_from(number: u16) -> Result<Self, u16> {
        Self::ALL
            .into_iter()
            .find(|kind| *kind as u16 == number)
            .ok_or(number)
    }
}

/// Bits of [`Fixed::flags`].
pub mod flags {
    /// The task has no_new_privs set.
    pub const NO_NEW_PRIVS: u16 = 1 << 0;
    /// The kernel ran the program in secure-execution mode (`linux_binprm.secureexec`).
    pub const SECURE_EXEC: u16 = 1 << 1;
    /// The task has more supplementary groups than the record.
    pub const GROUPS_CUT: u16 = 1 << 2;
    /// The argument list is longer than the record's.
    pub const ARGUMENTS_CUT: u16 = 1 << 3;
    /// Whether `NO_NEW_PRIVS` holds could not be read on this kernel.
    pub const NO_NEW_PRIVS_UNKNOWN: u16 = 1 << 4;
    /// The path has more names than the record.
    pub const PATH_CUT: u16 = 1 << 5;
    /// A file on another mount than the task's root.
    pub const OTHER_MOUNT: u16 = 1 << 6;
}

/// Index of a namespace in [`Fixed::namespaces`].
pub mod namespace {
    /// Mounts.
    pub const MNT: usize = 0;
    /// Process ids: the innermost namespace that the task is in.
    pub const PID: usize = 1;
    /// Network.
    pub const NET: usize = 2;
    /// System V IPC and POSIX message queues.
    pub const IPC: usize = 3;
    /// Users: that of the task's credentials.
    pub const USER: usize = 4;
    /// How many there are.
    pub const COUNT: usize = 5;
}

/// Index of an id in [`Fixed::ids`]; the order of the kernel's `struct cred`.
pub mod id {
    /// Real user.
    pub const UID: usize = 0;
    /// Real group.
    pub const GID: usize = 1;
    /// Saved user.
    pub const SUID: usize = 2;
    /// Saved group.
    pub const SGID: usize = 3;
    /// Effective user.
    pub const EUID: usize = 4;
    /// Effective group.
    pub const EGID: usize = 5;
    /// File system user.
    pub const FSUID: usize = 6;
    /// File system group.
    pub const FSGID: usize = 7;
    /// How many there are.
    pub const COUNT: usize = 8;
}

/// Index of a capability set in [`Fixed::capabilities`]; the order of `struct cred`.
pub mod capability_set {
    /// Inheritable.
    pub const INHERITABLE: usize = 0;
    /// Permitted.
    pub const PERMITTED: usize = 1;
    /// Effective.
    pub const EFFECTIVE: usize = 2;
    /// Bounding.
    pub const BOUNDING: usize = 3;
    /// Ambient.
    pub const AMBIENT: usize = 4;
    /// How many there are.
    pub const COUNT: usize = 5;
}

/// Index of a tail in [`Fixed::tails`].
pub mod tail {
    /// Supplementary groups: 4 bytes each.
    pub const GROUPS: usize = 0;
    /// Names of the task's control group and its ancestors, from the innermost outwards, each
    /// ended by a NUL byte. Only where the agent may need it to know the container.
    pub const CGROUP: usize = 1;
    /// Exec: the path given to exec, ended by NUL. Mount: the source argument. File: the names of
    /// the file, or of the directory from which the argument leads on, and of the directories above
    /// it, from the innermost outwards, each ended by NUL.
    pub const PATH: usize = 2;
    /// Exec: the arguments, each ended by NUL. Mount: the target argument. File: the path argument,
    /// if it was changed by name.
    pub const ARGUMENTS: usize = 3;
    /// Mount: the file system type argument.
    pub const FS_TYPE: usize = 4;
    /// How many there are.
    pub const COUNT: usize = 5;
}

/// Supplementary groups in a record, at the most.
pub const MAX_GROUPS: usize = 64;
/// Levels of control groups in a record, at the most.
pub const MAX_CGROUP_LEVELS: usize = 8;
/// Bytes of one control group's name, with its NUL, at the most.
pub const MAX_CGROUP_NAME: usize = 128;
/// Names of a path in a record of [`Kind::File`], at the most.
pub const MAX_PATH_LEVELS: usize = 16;
/// Bytes of one name of such a path, with its NUL, at the most; the kernel's are no longer.
pub const MAX_NAME: usize = 256;
/// Bytes of the path argument in a record of [`Kind::File`], with its NUL, at the most.
pub const MAX_PATH_ARGUMENT: usize = 256;
/// Bytes of a path, with its NUL, at the most.
pub const MAX_PATH: usize = 1024;
/// Bytes of the arguments, at the most.
pub const MAX_ARGUMENTS: usize = 2048;

/// The part that every record has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Fixed {
    /// When: nanoseconds since boot (`CLOCK_BOOTTIME`).
    pub time_ns: u64,
    /// When the process started: nanoseconds since boot.
    pub start_ns: u64,
    /// The capability sets, see [`capability_set`].
    pub capabilities: [u64; capability_set::COUNT],
    /// What the call returned; 0 for an exec. Of a [`Kind::Capability`]: 0 if the capability was
    /// there, else the negated errno.
    pub result: i64,
    /// Hash of the posture: the same for the same state of the same container.
    pub posture: u64,
    /// Id of the task's control group (`kernfs_node.id`), unique while the machine runs; 0 if it
    /// could not be read.
    pub cgroup_id: u64,
    /// Length of the whole record in bytes.
    pub length: u32,
    /// Process id on the host.
    pub pid: u32,
    /// Thread id on the host.
    pub tid: u32,
    /// Process id of the parent on the host.
    pub parent_pid: u32,
    /// Process id inside the innermost pid namespace.
    pub virtual_pid: u32,
    /// Number of the system call, of a 32-bit one that of the 64-bit call which does the same, or
    /// see [`COMPAT_CALL`]; 0 for an exec.
    pub call: u32,
    /// The ids, see [`id`].
    pub ids: [u32; id::COUNT],
    /// Inode numbers of the namespaces, see [`namespace`].
    pub namespaces: [u32; namespace::COUNT],
    /// Inode number of the mount namespace that the running program was loaded from, or executed
    /// in where no mount holds it (a memfd, for example); 0 if that is not known.
    pub program_mnt_ns: u32,
    /// Inode number of the parent's mount namespace; 0 if it is not known.
    pub parent_mnt_ns: u32,
    /// 0 off, 1 strict, 2 filter.
    pub seccomp_mode: u32,
    /// [`Kind`] as a number.
    pub kind: u16,
    /// Bits of [`flags`].
    pub flags: u16,
    /// Lengths of the tails in bytes, see [`tail`].
    pub tails: [u16; tail::COUNT],
    /// The number of the capability that was asked for, of a [`Kind::Capability`].
    pub capability: u16,
    /// Id of the mount that the file is on, of a [`Kind::File`] (`mount.mnt_id`): mostly the task's root.
    pub mount_id: u32,
    /// Nothing: rounds the size up to a multiple of 8.
    pub padding: [u16; 2],
    /// The task's short name.
    pub comm: [u8; 16],
}

/// Size of [`Fixed`] in bytes.
pub const FIXED_SIZE: usize = 208;
const _: () = assert!(size_of::<Fixed>() == FIXED_SIZE && align_of::<Fixed>() == 8);

/// Size of the longest record.
pub const MAX_RECORD: usize = FIXED_SIZE + 4 * MAX_GROUPS + MAX_TAILS;
/// Bytes of the tails behind the groups, at the most: those of an exec, or of a file.
const MAX_TAILS: usize = max(
    MAX_CGROUP_LEVELS * MAX_CGROUP_NAME + MAX_PATH + MAX_ARGUMENTS,
    MAX_PATH_LEVELS * MAX_NAME + MAX_PATH_ARGUMENT,
);

const fn max(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

/// Bit of [`Fixed::call`]: the number of a 32-bit call that no 64-bit call is known for.
pub const COMPAT_CALL: u32 = 1 << 31;

/// Index of a number in what the kernel side notes of a check that came again after it was sent.
pub mod repeats {
    /// How often.
    pub const TIMES: usize = 0;
    /// When last: nanoseconds since boot, up to a jiffy early.
    pub const LAST_NS: usize = 1;
    /// The process id of the last on the host; above it, the lower half of the jiffy of `LAST_NS`.
    pub const PID: usize = 2;
    /// How many numbers there are.
    pub const COUNT: usize = 3;
}

/// Class of a system call in the table that tells the kernel side which calls to record.
pub mod call_class {
    /// Not recorded.
    pub const NONE: u8 = 0;
    /// Recorded as [`super::Kind::Credentials`].
    pub const CREDENTIALS: u8 = 1;
    /// Recorded as [`super::Kind::Mount`].
    pub const MOUNT: u8 = 2;
    /// Recorded as [`super::Kind::File`], from here on: opened a file, with the flags in the second
    /// argument.
    pub const OPEN_FLAGS1: u8 = 3;
    /// Opened a file, with the flags in the third argument.
    pub const OPEN_FLAGS2: u8 = 4;
    /// Opened a file, with its flags elsewhere.
    pub const OPEN: u8 = 5;
    /// Changed the file whose descriptor is the first argument.
    pub const DESCRIPTOR0: u8 = 6;
    /// Changed what the first argument names.
    pub const PATH0: u8 = 7;
    /// Changed what the second argument names.
    pub const PATH1: u8 = 8;
    /// Changed what the second argument names, from the directory in the first.
    pub const AT0: u8 = 9;
    /// Changed what the third argument names, from the directory in the second.
    pub const AT1: u8 = 10;
    /// Changed what the fourth argument names, from the directory in the third.
    pub const AT2: u8 = 11;
    /// Bound a socket to the address in the second argument.
    pub const BIND: u8 = 12;
    /// Made an io_uring, by which files can be changed without a call.
    pub const RING: u8 = 13;
    /// Bit of an entry: a 32-bit call with this number may be recorded.
    pub const COMPAT: u8 = 1 << 7;
    /// Entries of the table: higher call numbers are not recorded.
    pub const TABLE: usize = 512;
    /// In the table of 32-bit calls: no 64-bit call is the same.
    pub const NO_CALL: u16 = u16::MAX;
}
