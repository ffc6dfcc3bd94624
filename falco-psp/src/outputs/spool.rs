//! A bounded queue on disk, for what a receiver does not take yet. What a process leaves in it,
//! the next one delivers.
//!
//! A folder of segments, each a head and then records: a byte for what became of it, length and
//! CRC-32 of the alert, and the alert. The byte is all that is ever written again, so a process
//! may end at any moment and the next one still knows what was delivered and what may have been.
//! When there is no room, the newest is refused: what was taken in stays, in order, without holes.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Begins every segment; the id of the boot in which it was written follows.
const MAGIC: &[u8; 8] = b"FPSPOOL1";
/// Bytes of a boot's id, a UUID.
const BOOT_ID: usize = 36;
const SEGMENT_HEAD: u64 = (MAGIC.len() + BOOT_ID) as u64;
/// State, length, CRC-32.
const RECORD_HEAD: u64 = 1 + 4 + 4;
/// No alert is longer; a length that says so is none.
const MAX_RECORD: u32 = 64 << 20;
const SUFFIX: &str = "alerts";

/// What became of a record.
mod state {
    pub(super) const WAITS: u8 = b'W';
    /// Sent, and no answer known.
    pub(super) const SENT: u8 = b'S';
    pub(super) const DONE: u8 = b'D';
}

/// Alerts on disk, in order.
#[derive(Debug)]
pub(super) struct Spool {
    folder: PathBuf,
    /// Held as long as the spool is used.
    _lock: File,
    boot_id: [u8; BOOT_ID],
    segments: VecDeque<Segment>,
    /// Bytes of all segments, and how many they may be.
    bytes: u64,
    max_bytes: u64,
    waiting: u64,
    next_number: u64,
    /// Records found damaged.
    damaged: u64,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    file: File,
    length: u64,
    /// Where the first record is that is not done.
    at: u64,
    /// The machine was restarted since, and what was written last may never have reached the disk.
    is_doubtful: bool,
    /// Written by this process.
    is_own: bool,
}

/// The alert that is next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Front {
    pub(super) alert: Vec<u8>,
    /// Whether it may have been delivered before.
    pub(super) sent_before: bool,
}

struct Head {
    state: u8,
    length: u32,
    crc: u32,
}

impl Spool {
    /// Opens the folder, or makes it, and finds what is in it.
    pub(super) fn open(folder: &Path, max_bytes: u64) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let lock = File::create(folder.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| io::Error::other("another process uses it"))?;
        let mut boot_id = [b'-'; BOOT_ID];
        // Without it nothing is doubtful; Linux always has it.
        let known = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        for (to, from) in boot_id.iter_mut().zip(known) {
            *to = from;
        }
        let mut spool = Self {
            folder: folder.to_owned(),
            _lock: lock,
            boot_id,
            segments: VecDeque::new(),
            bytes: 0,
            max_bytes,
            waiting: 0,
            next_number: 0,
            damaged: 0,
        };
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|suffix| suffix == SUFFIX) {
                paths.push(path);
            }
        }
        paths.sort();
        for path in paths {
            let number = path
                .file_stem()
                .and_then(|stem| stem.to_str()?.parse().ok());
            spool.next_number = spool.next_number.max(number.map_or(0, |n: u64| n + 1));
            spool.find(path)?;
        }
        Ok(spool)
    }

    /// Finds what is in a segment of an earlier process.
    fn find(&mut self, path: PathBuf) -> io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let length = file.metadata()?.len();
        let mut head = [0; SEGMENT_HEAD as usize];
        if length < SEGMENT_HEAD
            || file.read_exact_at(&mut head, 0).is_err()
            || !head.starts_with(MAGIC)
        {
            // Made at the moment that the process ended, or no segment: nothing of it can be read.
            self.damaged += u64::from(length > SEGMENT_HEAD);
            return fs::remove_file(path);
        }
        let mut segment = Segment {
            path,
            file,
            length,
            at: SEGMENT_HEAD,
            is_doubtful: head[MAGIC.len()..] != self.boot_id,
            is_own: false,
        };
        let (mut at, mut first, mut waiting) = (SEGMENT_HEAD, None, 0);
        while at < segment.length {
            let Some(head) = segment.head(at)? else {
                self.damaged += 1;
                segment.file.set_len(at)?;
                segment.length = at;
                break;
            };
            if head.state != state::DONE {
                if segment.alert(at, &head)?.is_some() {
                    first.get_or_insert(at);
                    waiting += 1;
                } else {
                    self.damaged += 1;
                    segment.file.write_all_at(&[state::DONE], at)?;
                }
            }
            at += head.size();
        }
        match first {
            None => fs::remove_file(&segment.path),
            Some(first) => {
                segment.at = first;
                self.waiting += waiting;
                self.bytes += segment.length;
                self.segments.push_back(segment);
                Ok(())
            }
        }
    }

    /// How many alerts wait.
    pub(super) fn len(&self) -> u64 {
        self.waiting
    }

    /// How many records of an earlier process were damaged.
    pub(super) fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Whether there is no room for so long an alert even in an empty spool.
    pub(super) fn never_fits(&self, length: usize) -> bool {
        let length = length as u64;
        length > u64::from(MAX_RECORD) || SEGMENT_HEAD + RECORD_HEAD + length > self.max_bytes
    }

    /// Takes an alert in, if there is room; whether it did.
    pub(super) fn push(&mut self, alert: &[u8]) -> io::Result<bool> {
        let Ok(length) = u32::try_from(alert.len()) else {
            return Ok(false);
        };
        let more = RECORD_HEAD + u64::from(length);
        let segment_max = (self.max_bytes / 16).max(4096);
        let fits_last = self
            .segments
            .back()
            .is_some_and(|last| last.is_own && last.length < segment_max);
        let needed = if fits_last { more } else { more + SEGMENT_HEAD };
        if length > MAX_RECORD || self.bytes + needed > self.max_bytes {
            return Ok(false);
        }
        if !fits_last {
            let segment = self.new_segment()?;
            self.segments.push_back(segment);
            self.bytes += SEGMENT_HEAD;
        }
        let Some(last) = self.segments.back_mut() else {
            return Ok(false);
        };
        let mut record = Vec::with_capacity(more as usize);
        record.push(state::WAITS);
        record.extend(length.to_le_bytes());
        record.extend(crc32fast::hash(alert).to_le_bytes());
        record.extend(alert);
        if let Err(why) = last.file.write_all_at(&record, last.length) {
            last.file.set_len(last.length)?;
            return Err(why);
        }
        last.length += more;
        self.bytes += more;
        self.waiting += 1;
        Ok(true)
    }

    fn new_segment(&mut self) -> io::Result<Segment> {
        let name = format!("{:020}.{SUFFIX}", self.next_number);
        let path = self.folder.join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        self.next_number += 1;
        let mut head = MAGIC.to_vec();
        head.extend(self.boot_id);
        if let Err(why) = file.write_all_at(&head, 0) {
            fs::remove_file(&path)?;
            return Err(why);
        }
        Ok(Segment {
            path,
            file,
            length: SEGMENT_HEAD,
            at: SEGMENT_HEAD,
            is_doubtful: false,
            is_own: true,
        })
    }

    /// The alert that is next.
    pub(super) fn front(&mut self) -> io::Result<Option<Front>> {
        loop {
            let is_last = self.segments.len() == 1;
            let Some(segment) = self.segments.front_mut() else {
                return Ok(None);
            };
            while segment.at < segment.length {
                let Some(head) = segment.head(segment.at)? else {
                    return Err(io::Error::other("something else has written into it"));
                };
                if head.state != state::DONE
                    && let Some(alert) = segment.alert(segment.at, &head)?
                {
                    let sent_before = head.state == state::SENT || segment.is_doubtful;
                    return Ok(Some(Front { alert, sent_before }));
                }
                segment.at += head.size();
            }
            self.bytes -= segment.length;
            if segment.is_own && is_last {
                // Nothing waits: the next alert finds an empty segment.
                segment.file.set_len(SEGMENT_HEAD)?;
                (segment.length, segment.at) = (SEGMENT_HEAD, SEGMENT_HEAD);
                self.bytes += SEGMENT_HEAD;
                return Ok(None);
            }
            fs::remove_file(&segment.path)?;
            self.segments.pop_front();
        }
    }

    /// Notes that the alert that is next is being sent: should the process end before it is known
    /// what came of that, the next one knows that it may have been delivered.
    pub(super) fn sending(&mut self) -> io::Result<()> {
        self.mark(state::SENT)
    }

    /// Notes that the receiver has certainly not taken the alert that is next.
    pub(super) fn not_taken(&mut self) -> io::Result<()> {
        self.mark(state::WAITS)
    }

    /// The alert that is next needs nothing more.
    pub(super) fn done(&mut self) -> io::Result<()> {
        self.mark(state::DONE)?;
        self.waiting = self.waiting.saturating_sub(1);
        Ok(())
    }

    fn mark(&mut self, state: u8) -> io::Result<()> {
        match self.segments.front() {
            Some(segment) => segment.file.write_all_at(&[state], segment.at),
            None => Ok(()),
        }
    }
}

impl Segment {
    /// The head of the record there; `None` if there is none, or less than a whole record.
    fn head(&self, at: u64) -> io::Result<Option<Head>> {
        let left = self.length - at;
        let mut bytes = [0; RECORD_HEAD as usize];
        if left < RECORD_HEAD {
            return Ok(None);
        }
        self.file.read_exact_at(&mut bytes, at)?;
        let [state, l0, l1, l2, l3, c0, c1, c2, c3] = bytes;
        let head = Head {
            state,
            length: u32::from_le_bytes([l0, l1, l2, l3]),
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
        };
        let known = matches!(state, state::WAITS | state::SENT | state::DONE);
        let right = known && head.length <= MAX_RECORD && head.size() <= left;
        Ok(right.then_some(head))
    }

    /// The alert of a record; `None` if it is not what was written.
    fn alert(&self, at: u64, head: &Head) -> io::Result<Option<Vec<u8>>> {
        let mut alert = vec![0; head.length as usize];
        self.file.read_exact_at(&mut alert, at + RECORD_HEAD)?;
        Ok((crc32fast::hash(&alert) == head.crc).then_some(alert))
    }
}

impl Head {
    fn size(&self) -> u64 {
        RECORD_HEAD + u64::from(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u64 = 1 << 20;

    fn all(spool: &mut Spool) -> Vec<(String, bool)> {
        let mut all = Vec::new();
        while let Some(front) = spool.front().unwrap() {
            all.push((String::from_utf8(front.alert).unwrap(), front.sent_before));
            spool.done().unwrap();
        }
        all
    }

    fn segments(folder: &Path) -> Vec<PathBuf> {
        let paths = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some()).collect();
        paths.sort();
        paths
    }

    #[test]
    fn the_next_process_finds_what_is_left_and_what_was_under_way() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path(), MAX).unwrap();
        for alert in ["a", "b", "c"] {
            assert!(spool.push(alert.as_bytes()).unwrap());
        }
        spool.front().unwrap();
        spool.sending().unwrap();
        spool.done().unwrap();
        spool.front().unwrap();
        spool.sending().unwrap();
        drop(spool);
        let mut spool = Spool::open(folder.path(), MAX).unwrap();
        assert_eq!((spool.len(), spool.damaged()), (2, 0));
        assert!(spool.push(b"d").unwrap());
        let left = [("b", true), ("c", false), ("d", false)];
        assert_eq!(all(&mut spool), left.map(|(a, b)| (a.to_owned(), b)));
        assert_eq!(spool.len(), 0);
    }

    #[test]
    fn a_truncated_or_changed_record_is_counted_and_the_others_are_given() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path(), MAX).unwrap();
        for alert in ["first", "second", "third"] {
            spool.push(alert.as_bytes()).unwrap();
        }
        drop(spool);
        let path = &segments(folder.path())[0];
        let mut bytes = fs::read(path).unwrap();
        bytes.pop();
        let second = SEGMENT_HEAD + RECORD_HEAD + 5 + RECORD_HEAD;
        bytes[second as usize] ^= 1;
        fs::write(path, bytes).unwrap();
        let mut spool = Spool::open(folder.path(), MAX).unwrap();
        assert_eq!((spool.len(), spool.damaged()), (1, 2));
        assert_eq!(all(&mut spool), [("first".to_owned(), false)]);
    }

    #[test]
    fn the_disk_is_bounded_and_the_newest_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let max = 256 << 10;
        let mut spool = Spool::open(folder.path(), max).unwrap();
        let mut taken = 0;
        while spool.push(format!("{taken:01000}").as_bytes()).unwrap() {
            taken += 1;
        }
        let sizes = segments(folder.path()).into_iter();
        let bytes: u64 = sizes.map(|path| fs::metadata(path).unwrap().len()).sum();
        assert!((max - 2048..=max).contains(&bytes), "{bytes}");
        let given = all(&mut spool);
        assert_eq!(given.len(), taken);
        assert!(
            given
                .iter()
                .enumerate()
                .all(|(n, (alert, _))| *alert == format!("{n:01000}"))
        );
        assert_eq!(spool.bytes, SEGMENT_HEAD);
        assert!(spool.push(b"again").unwrap());
    }

    #[test]
    fn after_a_restart_of_the_machine_everything_may_have_been_sent() {
        let folder = tempfile::tempdir().unwrap();
        Spool::open(folder.path(), MAX).unwrap().push(b"a").unwrap();
        let path = &segments(folder.path())[0];
        let mut bytes = fs::read(path).unwrap();
        bytes[MAGIC.len()] ^= 1;
        fs::write(path, bytes).unwrap();
        let mut spool = Spool::open(folder.path(), MAX).unwrap();
        assert_eq!(all(&mut spool), [("a".to_owned(), true)]);
    }

    #[test]
    fn two_processes_do_not_share_a_spool() {
        let folder = tempfile::tempdir().unwrap();
        let _spool = Spool::open(folder.path(), MAX).unwrap();
        let why = Spool::open(folder.path(), MAX).unwrap_err();
        assert_eq!(why.to_string(), "another process uses it");
    }
}
