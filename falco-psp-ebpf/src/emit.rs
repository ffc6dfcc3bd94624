//! Handing records to the ring, and the ledger of what became of each event.

use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use falco_psp_common::{
    ledger::{self, Fate},
    record::{FIXED_SIZE, Kind, MAX_RECORD},
};

use crate::{
    maps::{LEDGER, READER_ASLEEP, RING, RING_FILL},
    scratch::Scratch,
    setting,
};

/// Counts one event of `kind` that came to `fate`.
#[inline(always)]
pub(crate) fn count(kind: Kind, fate: Fate) {
    if let Some(counter) = LEDGER.get_ptr_mut(ledger::slot(kind, fate)) {
        // SAFETY: the counter is this CPU's own; the programs that count a kind do not interrupt
        // each other.
        unsafe { *counter += 1 };
    }
}

/// Sends the record in `scratch`, whose tails hold `tails` bytes, and counts what became of it.
/// True if the ring took it.
#[inline(always)]
pub(crate) fn send(kind: Kind, scratch: &mut Scratch, tails: usize) -> bool {
    let mut length = FIXED_SIZE + tails;
    if length > MAX_RECORD {
        length = MAX_RECORD;
    }
    scratch.fixed.length = length as u32;
    // SAFETY: from the fixed part to its end a scratch is longer than the longest record.
    let bytes =
        unsafe { core::slice::from_raw_parts((&raw const scratch.fixed).cast::<u8>(), length) };
    let sent = RING.output::<[u8]>(bytes, wake_up()).is_ok();
    count(kind, if sent { Fate::Sent } else { Fate::RingFull });
    sent
}

/// Wake-ups are the dearest part of a record, so the reader is woken only if it sleeps, or if the
/// ring fills faster than the reader's own tick empties it.
#[inline(always)]
fn wake_up() -> u64 {
    if let Some(asleep) = READER_ASLEEP.get_ptr_mut(0) {
        // SAFETY: a 4 byte value of an array map, which lives as long as the program. Two CPUs may
        // both find 1 and both wake the reader: that does no harm.
        let asleep = unsafe { core::ptr::replace(asleep, 0) };
        if asleep != 0 {
            return u64::from(BPF_RB_FORCE_WAKEUP);
        }
    }
    let fill = RING.query(u64::from(BPF_RB_AVAIL_DATA));
    if let Some(most) = RING_FILL.get_ptr_mut(0) {
        // SAFETY: the number is this CPU's own. A program that interrupts this one here may have
        // its larger number replaced: the figure is for people.
        unsafe { *most = (*most).max(fill) };
    }
    if fill > setting!(wake_fill) {
        return u64::from(BPF_RB_FORCE_WAKEUP);
    }
    u64::from(BPF_RB_NO_WAKEUP)
}
