//! The system calls that are recorded, by number and by name.

use falco_psp_common::record::call_class;

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

macro_rules! calls {
    ($($class:ident: $($number:ident $name:literal),+;)*) => {
        &[$($(Call {
            number: libc::$number.unsigned_abs() as u32,
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
        SYS_mount_setattr "mount_setattr";
};

/// The name of a recorded call.
pub fn name(number: u32) -> Option<&'static str> {
    let call = CALLS.iter().find(|call| call.number == number);
    call.map(|call| call.name)
}

/// The table that tells the kernel side which calls to record: those whose name `wanted` takes.
pub fn table(wanted: impl Fn(&str) -> bool) -> [u8; call_class::TABLE] {
    let mut table = [call_class::NONE; call_class::TABLE];
    for call in CALLS.iter().filter(|call| wanted(call.name)) {
        if let Some(class) = table.get_mut(call.number as usize) {
            *class = call.class;
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
        for call in CALLS {
            assert_eq!(table[call.number as usize], call.class, "{}", call.name);
            assert_eq!(name(call.number), Some(call.name));
        }
        let recorded = table.iter().filter(|class| **class != call_class::NONE);
        assert_eq!(recorded.count(), CALLS.len());
    }

    #[test]
    fn only_wanted_calls_are_recorded() {
        let table = table(|name| name == "setuid");
        let recorded = table.iter().filter(|class| **class != call_class::NONE);
        assert_eq!(recorded.count(), 1);
    }
}
