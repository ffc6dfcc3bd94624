//! The kernel side's ledger: what became of every event that a hook saw.

use std::fmt;

use aya::maps::{MapData, MapError, PerCpuArray};
use falco_psp_common::ledger::{Fate, slot};
use falco_psp_common::record::Kind;
use serde::{Deserialize, Serialize};

/// Counts of one kind of event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// What the hook saw.
    pub seen: u64,
    /// Not in a container.
    pub filtered: u64,
    /// Checks of capabilities that their calls do not need.
    pub incidental: u64,
    /// Repeats of a posture that has been sent.
    pub deduplicated: u64,
    /// Handed to the ring.
    pub sent: u64,
    /// No room in the ring.
    pub ring_full: u64,
    /// Kernel memory that could not be read.
    pub read_failed: u64,
}

impl Counts {
    /// Events that no rule will ever see.
    pub fn lost(&self) -> u64 {
        self.ring_full + self.read_failed
    }

    /// The counts of two kernel sides together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            seen: self.seen + other.seen,
            filtered: self.filtered + other.filtered,
            incidental: self.incidental + other.incidental,
            deduplicated: self.deduplicated + other.deduplicated,
            sent: self.sent + other.sent,
            ring_full: self.ring_full + other.ring_full,
            read_failed: self.read_failed + other.read_failed,
        }
    }

    /// Events that are in no column: 0, or the ledger is wrong. (While the hooks run, events on
    /// their way show here.)
    pub fn unaccounted(&self) -> i128 {
        let untold = self.filtered + self.incidental + self.deduplicated + self.lost();
        let told = untold + self.sent;
        i128::from(self.seen) - i128::from(told)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seen {}, filtered {}, ", self.seen, self.filtered)?;
        // Only of capabilities.
        if self.incidental > 0 {
            write!(f, "incidental {}, ", self.incidental)?;
        }
        write!(
            f,
            "deduplicated {}, sent {}, lost {}",
            self.deduplicated,
            self.sent,
            self.lost()
        )
    }
}

/// Reads the ledger: the counts of each kind.
///
/// # Errors
/// The map cannot be read.
pub fn read(map: &PerCpuArray<MapData, u64>) -> Result<Vec<(Kind, Counts)>, MapError> {
    let sum =
        |kind, fate| -> Result<u64, MapError> { Ok(map.get(&slot(kind, fate), 0)?.iter().sum()) };
    Kind::ALL
        .into_iter()
        .map(|kind| {
            let counts = Counts {
                seen: sum(kind, Fate::Seen)?,
                filtered: sum(kind, Fate::Filtered)?,
                incidental: sum(kind, Fate::Incidental)?,
                deduplicated: sum(kind, Fate::Deduplicated)?,
                sent: sum(kind, Fate::Sent)?,
                ring_full: sum(kind, Fate::RingFull)?,
                read_failed: sum(kind, Fate::ReadFailed)?,
            };
            Ok((kind, counts))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_in_one_column() {
        let counts = Counts {
            seen: 14,
            filtered: 1,
            incidental: 4,
            deduplicated: 2,
            sent: 3,
            ring_full: 1,
            read_failed: 2,
        };
        assert_eq!(counts.unaccounted(), 1);
        assert_eq!(
            counts.to_string(),
            "seen 14, filtered 1, incidental 4, deduplicated 2, sent 3, lost 3"
        );
    }
}
