//! The body of a request: read, inflated and checked within bounds of size, time and memory.

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::batch::{Batch, Faults, Origin};
use super::body::{self, BodyError};

/// Memory is accounted in units of this many bytes.
const UNIT: usize = 1 << 10;
/// Bodies up to this size are checked on the spot, larger ones on another thread.
const SMALL: usize = 64 << 10;
/// Bytes that are inflated at once.
const INFLATE_STEP: usize = 256 << 10;

/// Why a body is refused.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is of another type.
    Type(String),
    /// It is packed in a way that is not understood.
    Encoding(String),
    /// It is too long; the bound.
    TooLong(usize),
    /// It did not come whole.
    Cut(String),
    /// It cannot be inflated.
    Gzip(String),
    /// It holds no audit events.
    Malformed(BodyError),
    /// There is too much to do.
    NoMemory,
}

/// The memory for all bodies that were not yet dealt with.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<Semaphore>);

impl Memory {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / UNIT)))
    }
}

/// The part of the memory that one body has.
#[derive(Debug)]
struct Share {
    memory: Memory,
    permit: Option<OwnedSemaphorePermit>,
}

impl Share {
    fn of(memory: &Memory) -> Self {
        Self {
            memory: memory.clone(),
            permit: None,
        }
    }

    /// Makes sure of room for `bytes` in all. Does not wait: two that wait for each other would
    /// wait for ever, and the API server comes again.
    fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let held = self
            .permit
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = bytes.div_ceil(UNIT).saturating_sub(held);
        if missing == 0 {
            return Ok(());
        }
        let missing = u32::try_from(missing).map_err(|_| Refusal::NoMemory)?;
        let more = Arc::clone(&self.memory.0).try_acquire_many_owned(missing);
        let more = more.map_err(|_| Refusal::NoMemory)?;
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}

/// Whether the headers are those of a body that can be understood; `true` if it is compressed.
pub(super) fn check_headers(headers: &HeaderMap) -> Result<bool, Refusal> {
    let text = |name| {
        headers
            .get(name)
            .map(|value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).to_lowercase())
            .unwrap_or_default()
    };
    let content_type = text(header::CONTENT_TYPE);
    if !content_type.starts_with("application/json") {
        return Err(Refusal::Type(content_type));
    }
    match &*text(header::CONTENT_ENCODING) {
        "" | "identity" => Ok(false),
        "gzip" | "x-gzip" => Ok(true),
        other => Err(Refusal::Encoding(other.to_owned())),
    }
}

/// Reads a body and finds its events.
pub(super) async fn read(
    body: Incoming,
    is_gzip: bool,
    limit: usize,
    memory: &Memory,
    client: SocketAddr,
) -> Result<Batch, Refusal> {
    let mut share = Share::of(memory);
    let raw = collect(body, limit, &mut share).await?;
    if !is_gzip && raw.len() <= SMALL {
        return into_batch(raw, share, client);
    }
    let work = move || {
        let raw = match is_gzip {
            true => inflate(raw, limit, &mut share)?,
            false => raw,
        };
        into_batch(raw, share, client)
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // The runtime is going down.
        Err(_) => Err(Refusal::NoMemory),
    }
}

async fn collect(mut body: Incoming, limit: usize, share: &mut Share) -> Result<Bytes, Refusal> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(Refusal::TooLong(limit));
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::Cut(reason(&error)))?;
        // Trailers tell nothing.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let length = whole.len() + data.len();
        if length > limit {
            return Err(Refusal::TooLong(limit));
        }
        share.grow(length)?;
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

fn reason(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn inflate(packed: Bytes, limit: usize, share: &mut Share) -> Result<Bytes, Refusal> {
    let mut input = MultiGzDecoder::new(&*packed);
    let mut whole = Vec::new();
    loop {
        let before = whole.len();
        share.grow(packed.len() + before + INFLATE_STEP)?;
        let read = input
            .by_ref()
            .take(INFLATE_STEP as u64)
            .read_to_end(&mut whole);
        read.map_err(|error| Refusal::Gzip(error.to_string()))?;
        if whole.len() > limit {
            return Err(Refusal::TooLong(limit));
        }
        if whole.len() == before {
            return Ok(whole.into());
        }
    }
}

fn into_batch(bytes: Bytes, share: Share, client: SocketAddr) -> Result<Batch, Refusal> {
    let events = body::split(&bytes).map_err(Refusal::Malformed)?;
    let origin = Origin::Webhook(client);
    Ok(Batch::new(
        bytes,
        events,
        Faults::default(),
        origin,
        share.permit,
    ))
}
