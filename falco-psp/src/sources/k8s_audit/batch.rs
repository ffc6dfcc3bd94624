//! What a source hands over: bytes, and where the events in them are.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

/// Faults of a batch that are told in words; the rest is counted.
const TOLD_FAULTS: usize = 16;

/// Where a batch came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A log file, by the name that the user gave.
    File(Arc<Path>),
    /// A request, by the address of the client.
    Webhook(SocketAddr),
}

/// Where one event is in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first byte.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
    /// The line on which it begins (file), or which event of the body it is (webhook); from 1.
    pub number: u64,
}

/// Input that is no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub message: String,
}

/// What is wrong with a piece of input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    told: Vec<Fault>,
    count: u64,
}

impl Faults {
    pub(crate) fn add(&mut self, line: u64, message: impl Into<String>) {
        self.count += 1;
        if self.told.len() < TOLD_FAULTS {
            self.told.push(Fault {
                line,
                message: message.into(),
            });
        }
    }

    /// The first of them.
    pub fn told(&self) -> &[Fault] {
        &self.told
    }

    /// How many there are, told or not.
    pub fn count(&self) -> u64 {
        self.count
    }
}

/// A piece of input with the events in it.
#[derive(Debug)]
pub struct Batch {
    bytes: Bytes,
    events: Vec<Span>,
    faults: Faults,
    origin: Origin,
    /// The batch's share of the memory that the source may use; free again when it is dropped.
    _share: Option<OwnedSemaphorePermit>,
}

impl Batch {
    pub(crate) fn new(
        bytes: Bytes,
        events: Vec<Span>,
        faults: Faults,
        origin: Origin,
        share: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            bytes,
            events,
            faults,
            origin,
            _share: share,
        }
    }

    /// The events, in their order.
    pub fn events(&self) -> impl ExactSizeIterator<Item = RawEvent<'_>> {
        self.events.iter().map(|span| RawEvent {
            json: self.bytes.slice(span.start..span.end),
            place: self.origin.place(span.number),
        })
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there is no event, as when all of the input is at fault.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// What of the input is no event.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Where it came from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The place of a fault, to be shown.
    pub fn place(&self, fault: &Fault) -> Place<'_> {
        self.origin.place(fault.line)
    }
}

/// One event as it came.
#[derive(Clone, Debug)]
pub struct RawEvent<'a> {
    /// Its JSON.
    pub json: Bytes,
    /// Where it came from.
    pub place: Place<'a>,
}

/// Where an event came from: shown as `audit.log:17` or `event 3 of a request of 10.0.0.1:4711`.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    origin: &'a Origin,
    number: u64,
}

impl Origin {
    /// The place of an event or a fault, by its number.
    pub fn place(&self, number: u64) -> Place<'_> {
        Place {
            origin: self,
            number,
        }
    }
}

impl Place<'_> {
    /// The line (file), or which event of the body it is (webhook); from 1.
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            Origin::File(path) if path.as_os_str() == "-" => {
                write!(f, "standard input:{}", self.number)
            }
            Origin::File(path) => write!(f, "{}:{}", path.display(), self.number),
            Origin::Webhook(client) => {
                write!(f, "event {} of a request of {client}", self.number)
            }
        }
    }
}
