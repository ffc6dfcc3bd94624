//! Decoding records: every length is checked, every number that stands for something is tried.

use bytes::Buf;
use falco_psp_common::record::{
    FIXED_SIZE, Fixed, Kind, MAX_PATH_ARGUMENT, capability_set, flags, id, namespace, tail,
};
use thiserror::Error;

use crate::event::{Capabilities, CommandLine, Ids};

/// A record that makes no sense.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Shorter than its fixed part.
    #[error("{0} bytes are too few for a record")]
    Short(usize),
    /// A kind that this agent does not know.
    #[error("unknown kind of record {0}")]
    Kind(u16),
    /// The lengths in it do not add up.
    #[error("a record of {actual} bytes says it has {stated}")]
    Length {
        /// Bytes that there are.
        actual: usize,
        /// Bytes that the record speaks of.
        stated: usize,
    },
}

/// A record, still in the ring's memory.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// What it tells of.
    pub kind: Kind,
    /// The part that every record has.
    pub fixed: Fixed,
    groups: &'a [u8],
    cgroup: &'a [u8],
    path: &'a [u8],
    arguments: &'a [u8],
    fs_type: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads a record from the bytes of one ring entry.
    ///
    /// # Errors
    /// See [`DecodeError`]. Bytes behind the record's stated length are no error: the ring rounds
    /// up.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let Some((mut head, mut rest)) = bytes.split_at_checked(FIXED_SIZE) else {
            return Err(DecodeError::Short(bytes.len()));
        };
        let fixed = decode_fixed(&mut head);
        let kind = Kind::try_from(fixed.kind).map_err(DecodeError::Kind)?;
        let tails: usize = fixed.tails.iter().map(|length| usize::from(*length)).sum();
        let stated = FIXED_SIZE + tails;
        if fixed.length as usize != stated || stated > bytes.len() {
            return Err(DecodeError::Length {
                actual: bytes.len(),
                stated: stated.max(fixed.length as usize),
            });
        }
        let mut tail = |which: usize| {
            let (tail, after) = rest
                .split_at_checked(usize::from(fixed.tails[which]))
                .unwrap_or_default();
            rest = after;
            tail
        };
        Ok(Self {
            kind,
            fixed,
            groups: tail(tail::GROUPS),
            cgroup: tail(tail::CGROUP),
            path: tail(tail::PATH),
            arguments: tail(tail::ARGUMENTS),
            fs_type: tail(tail::FS_TYPE),
        })
    }

    /// A record without tails, whatever its lengths say.
    #[cfg(test)]
    pub(crate) fn decode_fixed_only(bytes: &[u8; FIXED_SIZE]) -> Self {
        let mut head = &bytes[..];
        Self {
            kind: Kind::Exec,
            fixed: decode_fixed(&mut head),
            groups: &[],
            cgroup: &[],
            path: &[],
            arguments: &[],
            fs_type: &[],
        }
    }

    /// The supplementary groups.
    pub fn supplementary_groups(&self) -> Vec<u32> {
        let groups = self.groups.as_chunks::<4>().0;
        groups
            .iter()
            .map(|group| u32::from_ne_bytes(*group))
            .collect()
    }

    /// The control group's path, from the root; `None` if the record has none.
    pub fn cgroup_path(&self) -> Option<String> {
        if self.cgroup.is_empty() {
            return None;
        }
        let names = strings(self.cgroup);
        Some(
            names
                .rev()
                .fold(String::new(), |path, name| path + "/" + &name),
        )
    }

    /// The executed program, or the source of a mount.
    pub fn path(&self) -> Option<String> {
        strings(self.path).next()
    }

    /// The arguments of the executed program; `None` if they could not be read. A list that was
    /// cut ends with `...`.
    pub fn arguments(&self) -> Option<CommandLine> {
        if self.arguments.is_empty() {
            return None;
        }
        let mut arguments: CommandLine = strings(self.arguments).collect();
        if self.has(flags::ARGUMENTS_CUT) {
            arguments.push("...");
        }
        Some(arguments)
    }

    /// The path that a [`Kind::File`] is about, from the task's root, and whether it was given as a
    /// path: then it may lead through links, and to another mount. `None` of another kind.
    pub fn file_path(&self) -> Option<(String, bool)> {
        let mut argument = strings(self.arguments).next().unwrap_or_default();
        let by_name = !self.arguments.is_empty();
        if self.arguments.len() >= MAX_PATH_ARGUMENT {
            argument += "...";
        }
        if argument.starts_with('/') {
            return Some((argument, by_name));
        }
        let names = strings(self.path).rev().filter(|name| !name.is_empty());
        let start = match self.has(flags::PATH_CUT) {
            true => "/...".to_owned(),
            false => String::new(),
        };
        let mut path = names.fold(start, |path, name| path + "/" + &name);
        if !argument.is_empty() {
            path = path + "/" + &argument;
        }
        if path.is_empty() {
            path.push('/');
        }
        (self.kind == Kind::File).then_some((path, by_name))
    }

    /// The target of a mount.
    pub fn target(&self) -> Option<String> {
        strings(self.arguments).next()
    }

    /// The file system type of a mount.
    pub fn fs_type(&self) -> Option<String> {
        strings(self.fs_type).next()
    }

    /// Whether all bits of `flag` are set.
    pub fn has(&self, flag: u16) -> bool {
        self.fixed.flags & flag == flag
    }

    /// The user ids.
    pub fn users(&self) -> Ids {
        let ids = self.fixed.ids;
        Ids {
            real: ids[id::UID],
            effective: ids[id::EUID],
            saved: ids[id::SUID],
            filesystem: ids[id::FSUID],
        }
    }

    /// The group ids.
    pub fn groups(&self) -> Ids {
        let ids = self.fixed.ids;
        Ids {
            real: ids[id::GID],
            effective: ids[id::EGID],
            saved: ids[id::SGID],
            filesystem: ids[id::FSGID],
        }
    }

    /// The capability sets.
    pub fn capabilities(&self) -> Capabilities {
        let sets = self.fixed.capabilities;
        Capabilities {
            effective: sets[capability_set::EFFECTIVE],
            permitted: sets[capability_set::PERMITTED],
            inheritable: sets[capability_set::INHERITABLE],
            bounding: sets[capability_set::BOUNDING],
            ambient: sets[capability_set::AMBIENT],
        }
    }

    /// The inode number of the mount namespace.
    pub fn mnt_ns(&self) -> u32 {
        self.fixed.namespaces[namespace::MNT]
    }

    /// Whether the exec gave the process privileges that it did not have: what the kernel itself
    /// asks in `cap_bprm_creds_from_file` (security/commoncap.c), read off the result.
    pub fn gained_privileges(&self) -> bool {
        let (users, groups) = (self.users(), self.groups());
        let capabilities = self.capabilities();
        let set_id = users.effective != users.real || groups.effective != groups.real;
        let file_capabilities =
            users.real != 0 && capabilities.permitted & !capabilities.ambient != 0;
        self.kind == Kind::Exec && self.has(flags::SECURE_EXEC) && (set_id || file_capabilities)
    }

    /// The task's short name.
    pub fn comm(&self) -> String {
        strings(&self.fixed.comm).next().unwrap_or_default()
    }
}

/// The texts in `bytes`, each ended by a NUL byte or the end. What is not UTF-8 is replaced.
fn strings(bytes: &[u8]) -> impl DoubleEndedIterator<Item = String> {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    let texts = bytes.split(|byte| *byte == 0);
    texts.map(|text| String::from_utf8_lossy(text).into_owned())
}

/// `head` has `FIXED_SIZE` bytes, so that no read can fail.
fn decode_fixed(head: &mut &[u8]) -> Fixed {
    Fixed {
        time_ns: head.get_u64_ne(),
        start_ns: head.get_u64_ne(),
        capabilities: std::array::from_fn(|_| head.get_u64_ne()),
        result: head.get_i64_ne(),
        posture: head.get_u64_ne(),
        cgroup_id: head.get_u64_ne(),
        length: head.get_u32_ne(),
        pid: head.get_u32_ne(),
        tid: head.get_u32_ne(),
        parent_pid: head.get_u32_ne(),
        virtual_pid: head.get_u32_ne(),
        call: head.get_u32_ne(),
        ids: std::array::from_fn(|_| head.get_u32_ne()),
        namespaces: std::array::from_fn(|_| head.get_u32_ne()),
        program_mnt_ns: head.get_u32_ne(),
        parent_mnt_ns: head.get_u32_ne(),
        seccomp_mode: head.get_u32_ne(),
        kind: head.get_u16_ne(),
        flags: head.get_u16_ne(),
        tails: std::array::from_fn(|_| head.get_u16_ne()),
        capability: head.get_u16_ne(),
        mount_id: head.get_u32_ne(),
        padding: std::array::from_fn(|_| head.get_u16_ne()),
        comm: std::array::from_fn(|_| head.get_u8()),
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use proptest::prelude::*;

    use super::*;

    /// The bytes of an exec record with these tails.
    fn record(tails: [&[u8]; tail::COUNT]) -> Vec<u8> {
        let mut bytes = vec![0; FIXED_SIZE];
        let length = FIXED_SIZE + tails.iter().map(|tail| tail.len()).sum::<usize>();
        let stated = u32::try_from(length).unwrap().to_ne_bytes();
        bytes[offset_of!(Fixed, length)..][..4].copy_from_slice(&stated);
        let at = offset_of!(Fixed, tails);
        for (index, tail) in tails.iter().enumerate() {
            let length = u16::try_from(tail.len()).unwrap().to_ne_bytes();
            bytes[at + 2 * index..][..2].copy_from_slice(&length);
            bytes.extend(*tail);
        }
        bytes[offset_of!(Fixed, comm)..][..3].copy_from_slice(b"cat");
        bytes
    }

    #[test]
    fn reads_all_parts() {
        let groups = [5_u32.to_ne_bytes(), 70_000_u32.to_ne_bytes()].concat();
        let bytes = record([
            &groups,
            b"c0ffee\0pod1\0kubepods\0",
            b"/bin/cat\0",
            b"cat\0/etc/passwd\0\0",
            b"",
        ]);
        let record = Record::decode(&bytes).unwrap();
        assert_eq!(record.kind, Kind::Exec);
        assert_eq!(record.supplementary_groups(), [5, 70_000]);
        assert_eq!(record.cgroup_path().unwrap(), "/kubepods/pod1/c0ffee");
        assert_eq!(record.path().unwrap(), "/bin/cat");
        assert_eq!(record.arguments().unwrap().text(), "cat /etc/passwd ");
        assert_eq!(record.comm(), "cat");
        assert_eq!(record.fs_type().as_deref(), Some(""));
    }

    #[test]
    fn paths_of_files_are_put_together() {
        let path = |names: &[u8], argument: &[u8], flag: u16| {
            let mut bytes = record([b"", b"", names, argument, b""]);
            let kind = (Kind::File as u16).to_ne_bytes();
            bytes[offset_of!(Fixed, kind)..][..2].copy_from_slice(&kind);
            bytes[offset_of!(Fixed, flags)..][..2].copy_from_slice(&flag.to_ne_bytes());
            Record::decode(&bytes).unwrap().file_path().unwrap()
        };
        let plain = |path: &str, by_name| (path.to_owned(), by_name);
        assert_eq!(path(b"c\0b\0a\0", b"", 0), plain("/a/b/c", false));
        assert_eq!(path(b"b\0a\0", b"../c\0", 0), plain("/a/b/../c", true));
        assert_eq!(path(b"b\0a\0", b"/c\0", 0), plain("/c", true));
        assert_eq!(path(b"", b"c\0", 0), plain("/c", true));
        assert_eq!(path(b"", b"", 0), plain("/", false));
        assert_eq!(path(b"b\0", b"", flags::PATH_CUT), plain("/.../b", false));
        let long = [&[b'x'; MAX_PATH_ARGUMENT - 1][..], b"\0"].concat();
        assert!(path(b"", &long, 0).0.ends_with("x..."));
    }

    #[test]
    fn what_is_absent_is_absent() {
        let bytes = record([b"", b"", b"", b"", b""]);
        let record = Record::decode(&bytes).unwrap();
        assert_eq!(record.cgroup_path(), None);
        assert_eq!(record.arguments(), None);
        assert!(record.supplementary_groups().is_empty());
    }

    #[test]
    fn refuses_cut_records_and_unknown_kinds() {
        let bytes = record([b"", b"", b"/bin/cat\0", b"", b""]);
        assert_eq!(
            Record::decode(&bytes[..100]).unwrap_err(),
            DecodeError::Short(100)
        );
        let cut = Record::decode(&bytes[..bytes.len() - 1]).unwrap_err();
        assert!(matches!(cut, DecodeError::Length { .. }), "{cut}");
        let mut unknown = bytes.clone();
        unknown[offset_of!(Fixed, kind)..][..2].copy_from_slice(&77_u16.to_ne_bytes());
        assert_eq!(Record::decode(&unknown).unwrap_err(), DecodeError::Kind(77));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(record) = Record::decode(&bytes) {
                let _ = (record.path(), record.arguments(), record.cgroup_path());
            }
        }

        #[test]
        fn a_record_with_wrong_lengths_is_refused_or_read(at in 0..FIXED_SIZE, byte: u8) {
            let mut bytes = record([&[1, 0, 0, 0], b"a\0b\0", b"/x\0", b"y\0", b""]);
            bytes[at] = byte;
            if let Ok(record) = Record::decode(&bytes) {
                let _ = (record.path(), record.arguments(), record.cgroup_path());
                prop_assert!(record.fixed.length as usize <= bytes.len());
            }
        }
    }
}
