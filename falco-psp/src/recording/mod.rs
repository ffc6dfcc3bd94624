//! Recordings: what happened, kept so that it can be judged again by any policy.
//!
//! A recording is a gzip file of JSON lines. Each line is a [`Frame`]; the first is
//! [`Frame::Start`], which names the version of the format. It is written as a row of gzip members,
//! one a second, so that a file which was cut short reads up to the cut, and `zcat` shows it.
//!
//! A later version reads what this one writes: fields may be added, and mean "unknown" where they
//! are not there; none is removed or changes its meaning without a new [`VERSION`].
//!
//! What may be secret is left out: see [`redact`].

mod frame;
mod reader;
pub mod redact;
mod words;
mod writer;

pub use frame::{
    AuditEvent, AuditFrame, AuditOrigin, End, Frame, MadeBy, Observed, Start, VERSION,
};
pub use reader::{ReadError, Reader};
pub use words::Word;
pub(crate) use words::{call, capability, propagation};
pub use writer::{RecordError, Recorder, Recording, Written};
