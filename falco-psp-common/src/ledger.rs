//! The ledger of events: what the hooks saw and what became of it, counted per CPU.
//!
//! For each kind, `seen` equals the sum of all the other fates: an event that is not accounted
//! for is a bug.

use crate::record::Kind;

/// What became of an event that a hook saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Fate {
    /// The hook ran; counted first, before anything else is decided.
    Seen = 0,
    /// Not in a container.
    Filtered = 1,
    /// The same posture of the same container has been sent before.
    Deduplicated = 2,
    /// Handed to the ring.
    Sent = 3,
    /// Lost: no room in the ring.
    RingFull = 4,
    /// Lost: the kernel's memory could not be read.
    ReadFailed = 5,
    /// A check of a capability that the call does not need.
    Incidental = 6,
}

impl Fate {
    /// All fates, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Seen,
        Self::Filtered,
        Self::Deduplicated,
        Self::Sent,
        Self::RingFull,
        Self::ReadFailed,
        Self::Incidental,
    ];
}

/// Slots of the ledger: one for each kind and fate.
pub const SLOTS: u32 = (Kind::ALL.len() * Fate::ALL.len()) as u32;

/// The slot of a kind and a fate.
#[inline(always)]
pub const fn slot(kind: Kind, fate: Fate) -> u32 {
    kind as u32 * Fate::ALL.len() as u32 + fate as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_fate_has_its_own_slot() {
        let mut used = [false; SLOTS as usize];
        for kind in Kind::ALL {
            for fate in Fate::ALL {
                let slot = &mut used[slot(kind, fate) as usize];
                assert!(!*slot);
                *slot = true;
            }
        }
        assert!(used.iter().all(|used| *used));
    }
}
