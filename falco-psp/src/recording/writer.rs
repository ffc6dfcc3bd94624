//! Writing a recording: what is recorded waits in memory, and a thread of its own compresses and
//! writes it each second.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value as Json;
use serde_json::value::to_raw_value;
use thiserror::Error;

use super::frame::{AuditEvent, AuditFrame, AuditOrigin, End, Frame, Observed, Start};
use super::redact::Redactor;
use crate::container::Container;
use crate::event::{Repeats, SyscallEvent};
use crate::sources::k8s_audit::Batch;
use crate::sources::k8s_audit::batch::Origin;

/// How often what waits is written.
const TICK: Duration = Duration::from_secs(1);
/// From so many bytes on it is written at once.
const MUCH: usize = 1 << 20;
/// More bytes do not wait.
const MOST: usize = 64 << 20;

/// Why there is no recording.
#[derive(Debug, Error)]
pub enum RecordError {
    /// There is such a file already.
    #[error("{} exists already: move it away, or name another file", .0.display())]
    Exists(PathBuf),
    /// The file cannot be made or written.
    #[error("cannot write the recording {}: {why}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// There are no more threads to be had.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// Takes what is to be recorded. Clones write the same recording.
#[derive(Clone, Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
    redactor: Arc<Redactor>,
}

/// A recording that is being made.
#[derive(Debug)]
pub struct Recording {
    recorder: Recorder,
    path: PathBuf,
    thread: JoinHandle<io::Result<u64>>,
}

/// What was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The file.
    pub path: PathBuf,
    /// Events.
    pub events: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Events that are not in it.
    pub unrecorded: u64,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            events,
            bytes,
            unrecorded,
        } = self;
        write!(
            f,
            "recorded to {}: {events} events, {bytes} bytes",
            path.display()
        )?;
        match unrecorded {
            0 => Ok(()),
            _ => write!(
                f,
                "; {unrecorded} EVENTS ARE NOT IN IT: the disk was slower"
            ),
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to write, or room again.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// What was last told of each container.
    containers: HashMap<String, Arc<Container>>,
    events: u64,
    /// Events that found no room; those of them that the recording does not yet tell of.
    unrecorded: u64,
    untold: u64,
    is_closed: bool,
    has_failed: bool,
}

impl Recording {
    /// Begins a recording in a new file.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn start(path: &Path, redactor: Redactor) -> Result<Self, RecordError> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            // It shows command lines.
            .mode(0o600)
            .open(path);
        let file = file.map_err(|why| match why.kind() {
            io::ErrorKind::AlreadyExists => RecordError::Exists(path.to_owned()),
            _ => RecordError::Write {
                path: path.to_owned(),
                why,
            },
        })?;
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        let shown = path.display().to_string();
        let thread = thread::Builder::new().name("recording".to_owned());
        let thread = thread.spawn(move || work(&for_thread, file, &shown));
        Ok(Self {
            recorder: Recorder {
                shared,
                redactor: Arc::new(redactor),
            },
            path: path.to_owned(),
            thread: thread.map_err(RecordError::Thread)?,
        })
    }

    /// What takes what is to be recorded.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Writes what waits, and ends.
    ///
    /// # Errors
    /// Not all could be written.
    pub fn finish(self) -> Result<Written, RecordError> {
        self.recorder.shared.lock().is_closed = true;
        self.recorder.shared.changed.notify_all();
        let ended = self.thread.join();
        let ended = ended.unwrap_or_else(|_| Err(io::Error::other("the thread is gone")));
        let bytes = ended.map_err(|why| RecordError::Write {
            path: self.path.clone(),
            why,
        })?;
        let state = self.recorder.shared.lock();
        Ok(Written {
            path: self.path,
            events: state.events,
            bytes,
            unrecorded: state.unrecorded,
        })
    }
}

impl Recorder {
    /// Records what the recording is of.
    pub fn start(&self, start: Start) {
        self.shared.lock().push(&Frame::Start(start));
    }

    /// Records what a process of a container did. What finds no room is counted.
    pub fn event(&self, event: &SyscallEvent, posture: u64) {
        let SyscallEvent {
            number: _,
            time_ns,
            activity,
            process,
            container,
        } = event;
        let mut state = self.shared.lock();
        if state.is_full(1) {
            return;
        }
        state.tell_container(container);
        let mut process = Cow::Borrowed(&**process);
        let arguments = process.arguments.as_ref();
        if let Some(redacted) = arguments.and_then(|line| self.redactor.command_line(line)) {
            process.to_mut().arguments = Some(redacted);
        }
        state.push(&Frame::Event(Observed {
            time_ns: *time_ns,
            container: Cow::Borrowed(&container.id),
            activity: Cow::Borrowed(activity),
            process,
            posture,
        }));
        state.events += 1;
        self.shared.wake(&state);
    }

    /// Records that the kernel saw a state again after it was told.
    pub fn repeated(&self, repeats: Repeats) {
        self.shared.lock().push(&Frame::Repeated(repeats));
    }

    /// Records that containers are gone.
    pub fn gone(&self, gone: &[Arc<Container>]) {
        if gone.is_empty() {
            return;
        }
        let mut state = self.shared.lock();
        for container in gone {
            state.tell_container(container);
            state.containers.remove(&container.id);
        }
        let ids = gone.iter().map(|container| Cow::Borrowed(&*container.id));
        state.push(&Frame::Gone(ids.collect()));
    }

    /// Records that events were lost.
    pub fn lost(&self, time_ns: u64, events: u64) {
        self.shared.lock().push(&Frame::Lost { time_ns, events });
    }

    /// Records audit events. Waits while there is no room: their source can wait.
    pub fn audit(&self, batch: &Batch) {
        let events: Vec<AuditEvent> = batch
            .events()
            .map(|raw| self.audit_event(raw.place.number(), &raw.json))
            .collect();
        let faults = batch.faults();
        let told = faults.told().iter();
        let count = events.len() as u64;
        let frame = Frame::Audit(AuditFrame {
            origin: match batch.origin() {
                Origin::File(path) => AuditOrigin::File(path.to_string_lossy()),
                Origin::Webhook(client) => AuditOrigin::Client(*client),
            },
            faults: told
                .map(|fault| (fault.line, Cow::Borrowed(&*fault.message)))
                .collect(),
            malformed: faults.count(),
            events,
        });
        let mut state = self.shared.lock();
        while state.waiting.len() >= MOST && !state.has_failed {
            let waited = self.shared.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        if state.is_full(count) {
            return;
        }
        state.push(&frame);
        state.events += count;
        self.shared.wake(&state);
    }

    fn audit_event(&self, number: u64, json: &[u8]) -> AuditEvent {
        let redacted = serde_json::from_slice(json).and_then(|mut event: Json| {
            self.redactor.audit_event(&mut event);
            to_raw_value(&event)
        });
        let (event, fault) = match redacted {
            Ok(event) => (Some(event), None),
            // What cannot be read, no secret can be left out of.
            Err(error) => (None, Some(error.to_string())),
        };
        AuditEvent {
            number,
            event,
            fault,
        }
    }

    /// Records how the run ended, with what is known of the containers that still run.
    pub fn end<'a>(&self, containers: impl Iterator<Item = &'a Arc<Container>>, end: End) {
        let mut state = self.shared.lock();
        for container in containers {
            state.tell_container(container);
        }
        state.push(&Frame::End(end));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the thread if there is much to write.
    fn wake(&self, state: &State) {
        if state.waiting.len() >= MUCH {
            self.changed.notify_all();
        }
    }
}

impl State {
    /// Whether there is no room for events; they are counted then.
    fn is_full(&mut self, events: u64) -> bool {
        if self.waiting.len() >= MOST {
            self.unrecorded += events;
            self.untold += events;
            return true;
        }
        if self.untold > 0 {
            let untold = std::mem::take(&mut self.untold);
            self.push(&Frame::Unrecorded(untold));
        }
        false
    }

    /// Tells what is known of a container, if that is new.
    fn tell_container(&mut self, container: &Arc<Container>) {
        let known = self.containers.get(&container.id);
        let is_told =
            known.is_some_and(|known| Arc::ptr_eq(known, container) || known == container);
        if !is_told {
            self.push(&Frame::Container(Cow::Borrowed(container)));
            self.containers
                .insert(container.id.clone(), Arc::clone(container));
        }
    }

    fn push(&mut self, frame: &Frame<'_>) {
        let before = self.waiting.len();
        // Maps have texts as keys and writing to memory does not fail.
        if let Err(error) = serde_json::to_writer(&mut self.waiting, frame) {
            tracing::error!(%error, "a frame cannot be written");
            self.waiting.truncate(before);
            self.unrecorded += 1;
            return;
        }
        self.waiting.push(b'\n');
    }
}

/// Writes what waits until there will be no more; the length of the file.
fn work(shared: &Shared, mut file: File, shown: &str) -> io::Result<u64> {
    let mut length = 0;
    loop {
        let (taken, is_last) = {
            let state = shared.lock();
            let waited = shared.changed.wait_timeout_while(state, TICK, |state| {
                !state.is_closed && state.waiting.len() < MUCH
            });
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            (std::mem::take(&mut state.waiting), state.is_closed)
        };
        shared.changed.notify_all();
        if !taken.is_empty() {
            let mut member = GzEncoder::new(Vec::new(), Compression::fast());
            member.write_all(&taken)?;
            drop(taken);
            append(shared, &mut file, &mut length, &member.finish()?, shown)?;
        }
        if is_last {
            file.sync_data()?;
            return Ok(length);
        }
    }
}

/// Writes a member at the end of the file, and tries again as long as the run goes on: a disk that
/// is full may have room later. A part of a member is not left there, for what follows it could not
/// be read.
fn append(
    shared: &Shared,
    file: &mut File,
    length: &mut u64,
    member: &[u8],
    shown: &str,
) -> io::Result<()> {
    loop {
        let Err(error) = file.write_all(member) else {
            *length += member.len() as u64;
            shared.lock().has_failed = false;
            return Ok(());
        };
        file.set_len(*length)?;
        file.seek(SeekFrom::Start(*length))?;
        let mut state = shared.lock();
        if !std::mem::replace(&mut state.has_failed, true) {
            tracing::warn!(file = shown, %error, "the recording cannot be written; it is tried again");
        }
        shared.changed.notify_all();
        let waited = shared
            .changed
            .wait_timeout_while(state, TICK, |state| !state.is_closed);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.is_closed {
            return Err(error);
        }
    }
}
