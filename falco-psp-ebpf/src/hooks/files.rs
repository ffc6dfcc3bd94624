//! A system call returned that a read-only root file system would have refused.
//!
//! Where the call left an open file, that file tells all. A call that takes a path leaves nothing to
//! look at: its path is passed on as a hint, and the agent finds out which mount it leads to.

use falco_psp_common::{
    ledger::Fate,
    record::{Kind, MAX_NAME, MAX_PATH_ARGUMENT, MAX_PATH_LEVELS, call_class, flags, tail},
};

use crate::{
    call::Call,
    emit, filter, offset,
    posture::{Posture, path_hashes},
    read::{Address, Object, follow, read, read_user},
    scratch::{Memory, Scratch, Tails},
    setting,
    task::Task,
};

/// Bits of the flags of an open without any of which it changes nothing: O_WRONLY, O_RDWR, O_CREAT
/// (`include/uapi/asm-generic/fcntl.h`; the same on x86_64 and arm64).
const MAY_CHANGE: u64 = 0o103;
/// `FMODE_WRITER`: the file holds the right to write to its mount (`include/linux/fs.h`).
const WRITER: u32 = 1 << 16;
/// `FMODE_CREATED`: this open has created the file.
const CREATED: u32 = 1 << 20;
/// `AF_UNIX`: the path of the socket follows behind it in `sockaddr_un`.
const UNIX: u16 = 1;
/// `AT_FDCWD`.
const CURRENT_DIRECTORY: u32 = (-100_i32).cast_unsigned();

/// Whether a call of these classes may have changed a file, by what costs least to look at.
#[inline(always)]
pub(super) fn may_change(call: Call, result: i64) -> bool {
    let flags = match call.class() {
        call_class::OPEN_FLAGS1 => call.argument1(),
        call_class::OPEN_FLAGS2 => call.argument2(),
        _ => Some(MAY_CHANGE),
    };
    // What failed has changed nothing, and may have failed for any reason.
    result >= 0 && flags.is_some_and(|flags| flags & MAY_CHANGE != 0)
}

/// What was changed.
struct Changed {
    /// The file, or the directory from which the argument leads on; 0 for an absolute path.
    dentry: Address,
    /// The path argument; 0 if the file is known.
    argument: Address,
    /// Tell it from others: itself, and the directory that it is in.
    hashes: (u64, u64),
    /// The mount that it is on.
    mount: Address,
}

/// Tells what was changed, if it may be on the mount that is the task's root.
#[inline(always)]
pub(super) fn record(task: &Task, call: Call, scratch: &mut Scratch) -> Option<()> {
    let fs = task.object.follow(offset!(task_fs))?;
    let root = fs.load::<u64>(offset!(fs_root_mnt))?;
    let Some(changed) = find(task, fs, root, call, scratch)? else {
        emit::count(Kind::File, Fate::Filtered);
        return Some(());
    };
    let doer = task.doer(&mut scratch.address);
    let [cgroup_id, container] = doer.words;
    let container = Posture::of_words(&[Kind::File as u64, cgroup_id, container]);
    let [dentry, argument, whole, directory, mount] = scratch.forget([
        changed.dentry,
        changed.argument,
        changed.hashes.0,
        changed.hashes.1,
        changed.mount,
    ]);
    let posture = Posture::of_words(&[container, whole, directory]);
    let directory = Posture::of_words(&[container, directory]);
    if filter::sent_before(posture) || filter::is_full(directory) {
        emit::count(Kind::File, Fate::Deduplicated);
        return Some(());
    }
    scratch.fixed.kind = Kind::File as u16;
    scratch.fixed.capability = 0;
    let mut tails = task.begin(scratch, doer, posture)?;
    let fixed = &mut tails.scratch().fixed;
    if mount != root {
        fixed.flags |= flags::OTHER_MOUNT;
    }
    let mount_object = mount.wrapping_sub(u64::from(offset!(mount_mnt)));
    fixed.mount_id = read(mount_object, offset!(mount_mnt_id))?;
    if dentry != 0 && mount == root {
        append_names(dentry, fs, &mut tails);
    }
    if argument != 0 {
        tails.string::<MAX_PATH_ARGUMENT>(tail::ARGUMENTS, Memory::User, argument);
    }
    let used = tails.used();
    if emit::send(Kind::File, tails.scratch(), used) {
        filter::remember(posture);
        filter::fill(directory);
    }
    Some(())
}

/// What was changed; `Some(None)` if it is not on the mount at `root`, `None` if memory could not be
/// read.
#[inline(always)]
fn find(
    task: &Task,
    fs: Object,
    root: Address,
    call: Call,
    scratch: &mut Scratch,
) -> Option<Option<Changed>> {
    let class = call.class();
    let current = u64::from(CURRENT_DIRECTORY);
    // What has no path is the file itself.
    let (directory, argument) = match class {
        call_class::PATH0 => (current, call.argument0()?),
        call_class::PATH1 | call_class::BIND => (current, call.argument1()?),
        call_class::AT0 => (call.argument0()?, call.argument1()?),
        call_class::AT1 => (call.argument1()?, call.argument2()?),
        call_class::AT2 => (call.argument2()?, call.argument3()?),
        call_class::DESCRIPTOR0 => (call.argument0()?, 0),
        call_class::RING => {
            // The first of a container is all that there is to tell.
            return Some(Some(Changed {
                dentry: 0,
                argument: 0,
                hashes: (u64::from(class), u64::from(class)),
                mount: root,
            }));
        }
        _ => (scratch.fixed.result.cast_unsigned(), 0),
    };
    let [class, directory, mut argument] = scratch.forget([class.into(), directory, argument]);
    let (class, directory) = (class as u8, directory as u32);
    if class == call_class::BIND {
        if read_user::<u16>(argument)? != UNIX {
            return Some(None);
        }
        argument += size_of::<u16>() as u64;
    }
    if argument == 0 {
        return of_file(task.file(directory)?, root, class);
    }
    let (first, whole, inside) = path_hashes(&mut scratch.key, argument)?;
    if class == call_class::BIND && first == 0 {
        // The kernel's own name space, or none: no file.
        return Some(None);
    }
    let dentry = if first == b'/' {
        0
    } else if directory == CURRENT_DIRECTORY {
        if fs.load::<u64>(offset!(fs_pwd_mnt))? != root {
            return Some(None);
        }
        fs.load::<u64>(offset!(fs_pwd_dentry))?
    } else {
        let file = task.file(directory)?;
        if follow(file, offset!(file_mnt))? != root {
            return Some(None);
        }
        follow(file, offset!(file_dentry))?
    };
    let (own, above) = match dentry {
        0 => (0, 0),
        dentry => hashes(dentry)?,
    };
    Some(Some(Changed {
        dentry,
        argument,
        hashes: (
            Posture::of_words(&[whole, own, above]),
            Posture::of_words(&[inside, own, above]),
        ),
        mount: root,
    }))
}

#[inline(always)]
fn of_file(file: Address, root: Address, class: u8) -> Option<Option<Changed>> {
    let mount = follow(file, offset!(file_mnt))?;
    let is_open = matches!(
        class,
        call_class::OPEN | call_class::OPEN_FLAGS1 | call_class::OPEN_FLAGS2
    );
    // A file that is no regular one can be written to on a read-only mount.
    if is_open && read::<u32>(file, offset!(file_mode))? & (WRITER | CREATED) == 0 {
        return Some(None);
    }
    let dentry = follow(file, offset!(file_dentry))?;
    let hashes = if mount == root {
        hashes(dentry)?
    } else if is_open && setting!(other_mounts) != 0 {
        // Of another mount it is told once that it was written to.
        (mount, mount)
    } else {
        return Some(None);
    };
    Some(Some(Changed {
        dentry,
        argument: 0,
        hashes,
        mount,
    }))
}

/// The hashes of a directory entry and of the one above it. The kernel's hash of a name is mixed with
/// the address of the directory (`full_name_hash`), so that these two tell the entry from others.
#[inline(always)]
fn hashes(dentry: Address) -> Option<(u64, u64)> {
    let parent = follow(dentry, offset!(dentry_parent))?;
    Some((
        read(dentry, offset!(dentry_hash))?,
        read(parent, offset!(dentry_hash))?,
    ))
}

/// Appends the names from `dentry` up to the task's root.
#[inline(always)]
fn append_names(dentry: Address, fs: Object, tails: &mut Tails<'_>) {
    let Some(root) = fs.load::<u64>(offset!(fs_root_dentry)) else {
        return;
    };
    let mut dentry = dentry;
    for _ in 0..MAX_PATH_LEVELS {
        let Some(parent) = follow(dentry, offset!(dentry_parent)) else {
            return;
        };
        if dentry == root || dentry == parent {
            return;
        }
        if let Some(name) = follow(dentry, offset!(dentry_name)) {
            tails.string::<MAX_NAME>(tail::PATH, Memory::Kernel, name);
        }
        dentry = parent;
    }
    if dentry != root {
        tails.scratch().fixed.flags |= flags::PATH_CUT;
    }
}

impl Task {
    /// The open file behind a descriptor.
    #[inline(always)]
    fn file(&self, descriptor: u32) -> Option<Address> {
        let files = self.object.follow(offset!(task_files))?;
        let table = files.follow(offset!(files_fdt))?;
        let array = table.load::<u64>(offset!(fdtable_fd))?;
        follow(array + 8 * u64::from(descriptor), 0)
    }
}
