//! A stream of bytes, cut into events.
//!
//! A log has one event a line, and that is found at the speed of memory. A line that does not end
//! what it begins, an array and an EventList are followed bracket by bracket, so they may be of
//! any size. What is broken costs no more than itself: the next line that begins a document
//! is read again.

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memmem};

use super::batch::{Faults, Span};
use super::document::{Document, Pause, Surroundings};

/// How much of a line tells whether it is a list.
const HEAD: usize = 512;

/// Cuts a stream of bytes into events.
#[derive(Debug)]
pub(super) struct Framer {
    buffer: BytesMut,
    /// How far the buffer has been looked at.
    at: usize,
    /// Where the line at hand begins; meaningless within a document.
    begin: usize,
    line: u64,
    limit: usize,
    mode: Mode,
    events: Vec<Span>,
    too_long: Vec<u64>,
    faults: Faults,
}

#[derive(Debug)]
enum Mode {
    /// At the begin of a line, or within one of which there is no end yet.
    Lines,
    /// Within a document that may have many lines.
    Document(Document),
    /// In a line of no use.
    Skip {
        /// Whether the lines after it are of use only from the begin of a document.
        resync: bool,
    },
    /// At the begin of a line, after something broken.
    Resync,
}

/// Events, the bytes in which they are, and what was no event.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) bytes: Bytes,
    pub(super) events: Vec<Span>,
    pub(super) faults: Faults,
}

impl Framer {
    /// A stream of events that have `limit` bytes at most.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            at: 0,
            begin: 0,
            line: 1,
            limit,
            mode: Mode::Lines,
            events: Vec::new(),
            too_long: Vec::new(),
            faults: Faults::default(),
        }
    }

    /// Reads up to `size` more bytes with `read`, which tells how many there were.
    pub(super) fn fill<E>(
        &mut self,
        size: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let before = self.buffer.len();
        self.buffer.resize(before + size, 0);
        let count = read(self.buffer.get_mut(before..).unwrap_or_default());
        let kept = *count.as_ref().unwrap_or(&0);
        self.buffer.truncate(before + kept.min(size));
        count
    }

    /// Begins anew, with the first line of another stream.
    pub(super) fn restart(&mut self) {
        *self = Self::new(self.limit);
    }

    /// The line that was reached.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Gives what has become complete; at the `end` of the stream also what has no line end.
    pub(super) fn cut(&mut self, end: bool) -> Option<Cut> {
        while self.step(end) {}
        if end {
            self.close();
        }
        for line in self.too_long.drain(..) {
            let message = format!("an event longer than {} bytes", self.limit);
            self.faults.add(line, message);
        }
        let done = match &self.mode {
            Mode::Lines => self.begin,
            Mode::Document(document) => document.needed_from(self.at),
            Mode::Skip { .. } | Mode::Resync => self.at,
        };
        let bytes = self.buffer.split_to(done).freeze();
        self.at -= done;
        self.begin = self.begin.saturating_sub(done);
        if let Mode::Document(document) = &mut self.mode {
            document.shift(done);
        }
        if self.events.is_empty() && self.faults.count() == 0 {
            return None;
        }
        Some(Cut {
            bytes,
            events: std::mem::take(&mut self.events),
            faults: std::mem::take(&mut self.faults),
        })
    }

    /// Goes on by a line or a document; `false` when the buffer is at its end.
    fn step(&mut self, end: bool) -> bool {
        match &mut self.mode {
            Mode::Lines => self.line_step(end),
            Mode::Document(_) => self.document_step(),
            Mode::Skip { resync } => {
                let resync = *resync;
                let rest = self.buffer.get(self.at..).unwrap_or_default();
                let Some(found) = memchr(b'\n', rest) else {
                    self.at = self.buffer.len();
                    return false;
                };
                self.at += found + 1;
                self.begin = self.at;
                self.line += 1;
                self.mode = if resync { Mode::Resync } else { Mode::Lines };
                true
            }
            Mode::Resync => match self.buffer.get(self.at) {
                None => false,
                Some(b'{' | b'[') => {
                    self.begin = self.at;
                    self.mode = Mode::Lines;
                    true
                }
                Some(_) => {
                    self.mode = Mode::Skip { resync: true };
                    true
                }
            },
        }
    }

    fn line_step(&mut self, end: bool) -> bool {
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        let line_end = match memchr(b'\n', rest) {
            Some(found) => self.at + found,
            None if end && self.begin < self.buffer.len() => self.buffer.len(),
            None => {
                self.at = self.buffer.len();
                let so_far = self.buffer.get(self.begin..).unwrap_or_default();
                if so_far.len() > HEAD && is_list(so_far) {
                    self.begin_document();
                    return true;
                }
                if so_far.len() > self.limit {
                    self.too_long.push(self.line);
                    self.mode = Mode::Skip { resync: false };
                }
                return false;
            }
        };
        let whole = self.buffer.get(self.begin..line_end).unwrap_or_default();
        let text = whole.trim_ascii();
        let indent = whole.len() - whole.trim_ascii_start().len();
        match (text.first(), text.last()) {
            (None, _) => {}
            (Some(b'{'), Some(b'}')) if !is_list(text) => {
                if text.len() > self.limit {
                    self.too_long.push(self.line);
                } else {
                    let start = self.begin + indent;
                    self.events.push(Span {
                        start,
                        end: start + text.len(),
                        number: self.line,
                    });
                }
            }
            (Some(b'{' | b'['), _) => {
                self.begin_document();
                return true;
            }
            _ => self
                .faults
                .add(self.line, "neither an event nor a list of events"),
        }
        // The end of the input is not the end of a line.
        let is_line = line_end < self.buffer.len();
        self.at = line_end + usize::from(is_line);
        self.line += u64::from(is_line);
        self.begin = self.at;
        is_line
    }

    fn begin_document(&mut self) {
        self.at = self.begin;
        self.mode = Mode::Document(Document::new(self.begin));
    }

    fn document_step(&mut self) -> bool {
        let Mode::Document(document) = &mut self.mode else {
            return false;
        };
        let mut around = Surroundings {
            buffer: &self.buffer,
            at: self.at,
            line: self.line,
            limit: self.limit,
            events: &mut self.events,
            too_long: &mut self.too_long,
        };
        let pause = document.follow(&mut around);
        (self.at, self.line) = (around.at, around.line);
        match pause {
            Pause::MoreNeeded => return false,
            Pause::Done => {
                self.begin = self.at;
                self.mode = Mode::Lines;
            }
            Pause::Broken(why) => {
                self.faults.add(self.line, why);
                // The line at hand may begin a document, if it did not begin this one.
                self.mode = match document.other_line() {
                    Some(begin) => {
                        self.at = begin;
                        Mode::Resync
                    }
                    None => Mode::Skip { resync: true },
                };
            }
        }
        true
    }

    /// The stream is at its end.
    fn close(&mut self) {
        if let Mode::Document(document) = &self.mode
            && !document.is_complete()
        {
            self.faults
                .add(self.line, "the input ends within an event or a list");
        }
        self.at = self.buffer.len();
        self.begin = self.at;
        self.mode = Mode::Lines;
    }
}

/// Whether a line begins an array or an EventList.
fn is_list(line: &[u8]) -> bool {
    let head = line.trim_ascii_start();
    // What the API server writes; no need to look further.
    if head.starts_with(br#"{"kind":"Event","#) {
        return false;
    }
    let head = head.get(..HEAD).unwrap_or(head);
    head.starts_with(b"[")
        || memmem::find(head, b"\"EventList\"").is_some()
        || memmem::find(head, b"\"items\"").is_some()
}
