//! Reading the ring: at once after silence, in batches under load.
//!
//! Waking the reader is the dearest part of a record for the process that caused it. So while the
//! reader is awake it looks at the ring by its own clock, and the kernel side wakes it only if it
//! sleeps, or if the ring is a quarter full.

use std::io;
use std::time::Duration;

use aya::maps::{Array, MapData, RingBuf};
use tokio::io::unix::AsyncFd;

use super::load::RingEnd;

/// How often the reader looks at the ring while events come.
const TICK: Duration = Duration::from_millis(1);
/// How many times in a row it finds nothing before it sleeps.
const EMPTY_TICKS: u32 = 20;
/// The longest sleep. A record whose program saw the reader awake while the reader fell asleep
/// wakes nobody: this bounds how long it waits.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// The reading end of the ring.
pub struct Reader {
    ring: AsyncFd<RingBuf<MapData>>,
    asleep: Array<MapData, u32>,
    empty_ticks: u32,
    /// The programs know that the reader sleeps.
    armed: bool,
}

impl Reader {
    /// Takes over the reading end of the ring.
    ///
    /// # Errors
    /// The ring cannot be waited for.
    pub fn new(end: RingEnd) -> io::Result<Self> {
        // SAFETY: the map's file descriptor stays open and the same as long as the ring, which
        // owns it, is in here.
        let ring = unsafe { AsyncFd::register(end.ring) }?;
        Ok(Self {
            ring,
            asleep: end.reader_asleep,
            empty_ticks: 0,
            armed: false,
        })
    }

    /// Waits until it is worth looking at the ring. May be dropped at any time.
    ///
    /// # Errors
    /// The ring cannot be waited for.
    pub async fn wait(&mut self) -> io::Result<()> {
        if self.armed {
            let ready = self.ring.readable();
            if let Ok(guard) = tokio::time::timeout(LONGEST_SLEEP, ready).await {
                guard?.clear_ready();
            }
        } else if self.empty_ticks < EMPTY_TICKS {
            tokio::time::sleep(TICK).await;
        } else {
            // The caller looks once more: what came before the flag was set woke nobody.
            self.armed = self.asleep.set(0, 1, 0).is_ok();
        }
        Ok(())
    }

    /// Gives the records in the ring, `limit` at the most, to `each`; how many there were.
    pub fn drain(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        while count < limit {
            let Some(record) = self.ring.get_mut().next() else {
                break;
            };
            each(&record);
            count += 1;
        }
        if count == 0 {
            self.empty_ticks = self.empty_ticks.saturating_add(1);
            return 0;
        }
        self.empty_ticks = 0;
        if std::mem::take(&mut self.armed)
            && let Err(error) = self.asleep.set(0, 0, 0)
        {
            tracing::debug!(%error, "the programs take the reader for asleep");
        }
        count
    }
}
