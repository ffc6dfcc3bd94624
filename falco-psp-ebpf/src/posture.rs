//! The hash of a task's state: two records with the same hash tell the same.
//!
//! The loops here run a fixed number of times and do not branch on data: that keeps the number of
//! paths small which the verifier has to walk.

use aya_ebpf::helpers::generated::{
    bpf_probe_read_kernel, bpf_probe_read_kernel_str, bpf_probe_read_user_str,
};

use crate::{
    read::{Address, bounded},
    scratch::Scratch,
};

/// The hash of a state that is not compared: it has more groups or a longer path than a [`Key`]
/// holds.
pub(crate) const NEVER_EQUAL: u64 = 0;

/// Supplementary groups that count, at the most.
const MAX_GROUPS: u32 = 16;
/// Words of the path that count, at the most.
const PATH_WORDS: usize = 32;

/// What counts for a posture and has no fixed length; zero where unused.
#[repr(C)]
pub(crate) struct Key {
    groups: [u64; MAX_GROUPS as usize / 2],
    path: [u64; PATH_WORDS],
}

/// A running hash of 64-bit words: FNV-1a with the high bits mixed in. Two states of one hash
/// would hide one of them, at odds of 2⁻⁶⁴ a pair.
#[derive(Clone, Copy)]
pub(crate) struct Posture {
    /// Words go into these in turn: a processor works at several at once.
    lanes: [u64; LANES],
    comparable: bool,
}

const LANES: usize = 4;
/// That of FNV-1a, and others, so that no two words can be exchanged.
const SEEDS: [u64; LANES] = [
    0xcbf2_9ce4_8422_2325,
    0x9e37_79b9_7f4a_7c15,
    0xd6e8_feb8_6659_fd93,
    0xa076_1d64_78bd_642f,
];

#[inline(always)]
fn mix(hash: u64, word: u64) -> u64 {
    let mixed = (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    mixed ^ (mixed >> 29)
}

impl Posture {
    /// The hash of the fixed part of the record in `scratch`.
    #[inline(always)]
    pub(crate) fn of(scratch: &Scratch) -> Self {
        let fixed = &scratch.fixed;
        let mut posture = Self {
            lanes: SEEDS,
            comparable: true,
        };
        posture.add(fixed.cgroup_id);
        for set in fixed.capabilities {
            posture.add(set);
        }
        for pair in fixed.ids.as_chunks::<2>().0 {
            posture.add_pair(pair[0], pair[1]);
        }
        let [mnt, pid, net, ipc, user] = fixed.namespaces;
        posture.add_pair(mnt, pid);
        posture.add_pair(net, ipc);
        posture.add_pair(user, fixed.program_mnt_ns);
        posture.add_pair(fixed.parent_mnt_ns, fixed.seccomp_mode);
        posture.add(
            u64::from(fixed.kind) << 48 | u64::from(fixed.flags) << 32 | u64::from(fixed.call),
        );
        posture.add(fixed.result.cast_unsigned());
        posture
    }

    /// The hash of some words.
    #[inline(always)]
    pub(crate) fn of_words(words: &[u64]) -> u64 {
        let mut hash = SEEDS[0];
        for word in words {
            hash = mix(hash, *word);
        }
        hash
    }

    #[inline(always)]
    fn add(&mut self, word: u64) {
        let [first, second, third, fourth] = self.lanes;
        self.lanes = [second, third, fourth, mix(first, word)];
    }

    #[inline(always)]
    fn add_pair(&mut self, first: u32, second: u32) {
        self.add(u64::from(first) << 32 | u64::from(second));
    }

    /// Adds the task's short name.
    #[inline(always)]
    pub(crate) fn add_comm(&mut self, comm: &[u8; 16]) {
        for half in comm.as_chunks::<8>().0 {
            self.add(u64::from_ne_bytes(*half));
        }
    }

    /// Adds `count` group ids at `gids`.
    #[inline(always)]
    pub(crate) fn add_groups(&mut self, scratch: &mut Scratch, gids: Address, count: u32) {
        const SIZE: usize = 4 * MAX_GROUPS as usize;
        const { assert!(SIZE < size_of::<Key>() - SIZE) };
        let Scratch { key, address, .. } = scratch;
        self.comparable &= count <= MAX_GROUPS;
        self.add(u64::from(count));
        if count == 0 {
            return;
        }
        key.groups = [0; MAX_GROUPS as usize / 2];
        let size = bounded::<SIZE>(4 * count as usize, address);
        // SAFETY: the key has room for `MAX_GROUPS` ids; the helper checks the source.
        let result = unsafe {
            bpf_probe_read_kernel(key.groups.as_mut_ptr().cast(), size, gids as *const _)
        };
        self.comparable &= result == 0;
        for word in key.groups {
            self.add(word);
        }
    }

    /// Adds the path at `path`.
    #[inline(always)]
    pub(crate) fn add_path(&mut self, key: &mut Key, path: Address) {
        const SIZE: u32 = 8 * PATH_WORDS as u32;
        key.path = [0; PATH_WORDS];
        // SAFETY: the key has room for `SIZE` bytes; the helper checks the source.
        let length = unsafe {
            bpf_probe_read_kernel_str(key.path.as_mut_ptr().cast(), SIZE, path as *const _)
        };
        self.comparable &= length > 0 && length < i64::from(SIZE);
        for word in key.path {
            self.add(word);
        }
    }

    /// The hash, or [`NEVER_EQUAL`].
    #[inline(always)]
    pub(crate) fn value(self) -> u64 {
        if self.comparable {
            self.lanes.into_iter().reduce(mix).unwrap_or(NEVER_EQUAL)
        } else {
            NEVER_EQUAL
        }
    }
}

/// The highest bit of each byte that is a slash.
#[inline(always)]
fn slashes(word: u64) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let zeros = word ^ u64::from_ne_bytes([b'/'; 8]);
    // Only of a zero byte neither the sum nor the byte itself has that bit.
    !((zeros & LOW).wrapping_add(LOW) | zeros | LOW)
}

/// Of the path at `path` in the task's memory: its first byte, and the hashes of the whole
/// and of what is up to its last slash. Of a longer one only as much counts as a [`Key`] holds.
/// `None` if it cannot be read.
#[inline(always)]
pub(crate) fn path_hashes(key: &mut Key, path: Address) -> Option<(u8, u64, u64)> {
    const SIZE: u32 = 8 * PATH_WORDS as u32;
    key.path = [0; PATH_WORDS];
    // SAFETY: the key has room for `SIZE` bytes; the helper checks the source.
    let length =
        unsafe { bpf_probe_read_user_str(key.path.as_mut_ptr().cast(), SIZE, path as *const _) };
    if length < 0 {
        return None;
    }
    let (mut whole, mut directory) = (SEEDS[0], 0_u64);
    for word in &key.path {
        // The first byte in the lowest.
        let word = word.to_le();
        let slashes = slashes(word);
        // Every byte up to the last slash.
        let mut before = slashes;
        before |= before >> 8;
        before |= before >> 16;
        before |= before >> 32;
        let before = (before >> 7).wrapping_mul(0xff);
        // All bits if there is a slash, none otherwise: as a branch it would double the paths.
        let has_slash = 0_u64.wrapping_sub((slashes | slashes.wrapping_neg()) >> 63);
        directory = (directory & !has_slash) | (mix(whole, word & before) & has_slash);
        whole = mix(whole, word);
    }
    Some((key.path[0].to_ne_bytes()[0], whole, directory))
}
