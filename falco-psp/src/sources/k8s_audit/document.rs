//! One JSON document, seen in pieces: where are the events in it?
//!
//! Follows the brackets only; whether the events are well-formed shows when they are read. Needs
//! no more of the document in memory than the event at hand.

use memchr::memchr3;

use super::batch::Span;

/// Brackets that may be open at once.
const MAX_DEPTH: usize = 1_000;
/// How a line begins that is an event, as the API server writes it.
const EVENT_LINE: &[u8] = br#"{"kind":"Event","apiVersion":"audit.k8s.io/"#;

/// How far a document has been followed. All places are offsets in the buffer.
#[derive(Debug)]
pub(super) struct Document {
    /// The closing brackets that are due.
    due: Vec<u8>,
    /// How deep the events lie; `None` as long as the document may be one event itself.
    list: Option<usize>,
    in_string: bool,
    /// The last byte that is neither white space nor within a string.
    last: u8,
    /// Where the event at hand begins, and its line.
    event: Option<(usize, u64)>,
    /// Where the document begins, if that is still in the buffer.
    begin: Option<usize>,
    /// Where the line at hand begins, if that is still in the buffer and not before `floor`.
    line_begin: Option<usize>,
    /// Where the last event ends; nothing before is looked at again.
    floor: usize,
}

/// Why the following of a document paused or ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pause {
    /// The buffer is at its end.
    MoreNeeded,
    /// The document is complete, and so is its last line.
    Done,
    /// It is no JSON, or holds no events.
    Broken(String),
}

/// What goes on around a document.
pub(super) struct Surroundings<'a> {
    /// The input.
    pub(super) buffer: &'a [u8],
    /// How far it has been looked at.
    pub(super) at: usize,
    /// The line there.
    pub(super) line: u64,
    /// Bytes that an event may have.
    pub(super) limit: usize,
    /// Where events go.
    pub(super) events: &'a mut Vec<Span>,
    /// Events that are too long, by the line where they begin.
    pub(super) too_long: &'a mut Vec<u64>,
}

impl Document {
    /// A document that begins at `begin`.
    pub(super) fn new(begin: usize) -> Self {
        Self {
            due: Vec::new(),
            list: None,
            in_string: false,
            last: 0,
            event: None,
            begin: Some(begin),
            line_begin: Some(begin),
            floor: begin,
        }
    }

    /// Where the bytes begin that are still needed, when the document was followed to `at`.
    pub(super) fn needed_from(&self, at: usize) -> usize {
        self.event.map_or(at, |(start, _)| start.min(at))
    }

    /// Takes note that `gone` bytes were taken from the front of the buffer.
    pub(super) fn shift(&mut self, gone: usize) {
        self.event = self.event.map(|(start, line)| (start - gone, line));
        self.line_begin = self.line_begin.and_then(|begin| begin.checked_sub(gone));
        self.begin = self.begin.and_then(|begin| begin.checked_sub(gone));
        self.floor = self.floor.saturating_sub(gone);
    }

    /// Where the line at hand begins, if it may be looked at again as the begin of a document.
    pub(super) fn other_line(&self) -> Option<usize> {
        self.line_begin.filter(|line| self.begin != Some(*line))
    }

    /// Whether every bracket is closed.
    pub(super) fn is_complete(&self) -> bool {
        self.due.is_empty() && !self.in_string
    }

    /// Follows the document to its end, or to that of the buffer.
    pub(super) fn follow(&mut self, around: &mut Surroundings<'_>) -> Pause {
        while let Some(&byte) = around.buffer.get(around.at) {
            if self.in_string {
                match self.string(around) {
                    Some(pause) => return pause,
                    None => continue,
                }
            }
            if byte == b'{' && self.line_begin == Some(around.at) && self.is_in_event() {
                // An event that was cut off, though what follows might be a value in it.
                let rest = around.buffer.get(around.at..).unwrap_or_default();
                if rest.starts_with(EVENT_LINE) {
                    return Pause::Broken("the next event begins before its end".to_owned());
                }
                if EVENT_LINE.starts_with(rest) {
                    return Pause::MoreNeeded;
                }
            }
            match byte {
                b'\n' => {
                    around.line += 1;
                    around.at += 1;
                    self.line_begin = Some(around.at).filter(|begin| *begin >= self.floor);
                    if self.due.is_empty() {
                        return Pause::Done;
                    }
                    continue;
                }
                b' ' | b'\t' | b'\r' => {
                    around.at += 1;
                    continue;
                }
                b'{' | b'[' => {
                    if let Err(why) = self.open(byte, around) {
                        return Pause::Broken(why);
                    }
                }
                b'}' | b']' => {
                    if let Err(why) = self.close(byte, around) {
                        return Pause::Broken(why);
                    }
                }
                _ if self.due.is_empty() => {
                    return Pause::Broken("something else after the end of the JSON".to_owned());
                }
                b',' | b':' => {}
                _ if self.is_in_list() => {
                    return Pause::Broken("an array whose elements are no objects".to_owned());
                }
                b'"' => self.in_string = true,
                _ => {}
            }
            self.last = byte;
            around.at += 1;
        }
        if let Some((start, line)) = self.event
            && around.at - start > around.limit
        {
            self.event = None;
            around.too_long.push(line);
        }
        Pause::MoreNeeded
    }

    /// Whether the place is between the events of a list.
    fn is_in_list(&self) -> bool {
        self.list == Some(self.due.len()) && self.due.last() == Some(&b']')
    }

    /// Whether the place is within brackets, but not between the events of a list.
    fn is_in_event(&self) -> bool {
        !self.due.is_empty() && !self.is_in_list()
    }

    /// Goes to the end of a string.
    fn string(&mut self, around: &mut Surroundings<'_>) -> Option<Pause> {
        let rest = around.buffer.get(around.at..).unwrap_or_default();
        let Some(found) = memchr3(b'"', b'\\', b'\n', rest) else {
            around.at = around.buffer.len();
            return None;
        };
        match (rest.get(found), rest.get(found + 1)) {
            (Some(b'"'), _) => {
                self.in_string = false;
                around.at += found + 1;
                None
            }
            (Some(b'\\'), None) => {
                // Which character is escaped shows with more of the input.
                around.at += found;
                Some(Pause::MoreNeeded)
            }
            (Some(b'\\'), Some(next)) if *next != b'\n' => {
                around.at += found + 2;
                None
            }
            _ => Some(Pause::Broken("the line ends within a string".to_owned())),
        }
    }

    fn open(&mut self, byte: u8, around: &Surroundings<'_>) -> Result<(), String> {
        let depth = self.due.len();
        let is_value = match self.due.last() {
            None => true,
            Some(b']') => matches!(self.last, b'[' | b','),
            Some(_) => self.last == b':',
        };
        if !is_value {
            return Err(format!("{:?} where none can be", char::from(byte)));
        }
        if depth == MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} brackets in one another"));
        }
        match (byte, depth) {
            (b'{', 0) => {
                self.list = None;
                self.event = Some((around.at, around.line));
            }
            (_, 0) => self.list = Some(1),
            (b'[', 1) if self.list.is_none() && self.follows_items(around) => {
                self.list = Some(2);
                self.event = None;
            }
            _ if self.is_in_list() => {
                if byte == b'[' {
                    return Err("an array whose elements are no objects".to_owned());
                }
                self.event = Some((around.at, around.line));
            }
            _ => {}
        }
        self.due.push(if byte == b'{' { b'}' } else { b']' });
        Ok(())
    }

    /// Whether the key before this place is `items`.
    fn follows_items(&self, around: &Surroundings<'_>) -> bool {
        let before = around.buffer.get(..around.at).unwrap_or_default();
        before
            .trim_ascii_end()
            .strip_suffix(b":")
            .and_then(|before| before.trim_ascii_end().strip_suffix(b"\"items\""))
            .is_some_and(|before| !before.ends_with(b"\\"))
    }

    fn close(&mut self, byte: u8, around: &mut Surroundings<'_>) -> Result<(), String> {
        if self.due.pop() != Some(byte) {
            return Err(format!("{:?} where none can be", char::from(byte)));
        }
        if self.due.len() != self.list.unwrap_or(0) {
            return Ok(());
        }
        let Some((start, line)) = self.event.take() else {
            return Ok(());
        };
        let end = around.at + 1;
        self.floor = end;
        self.line_begin = None;
        if end - start > around.limit {
            around.too_long.push(line);
        } else {
            around.events.push(Span {
                start,
                end,
                number: line,
            });
        }
        Ok(())
    }
}
