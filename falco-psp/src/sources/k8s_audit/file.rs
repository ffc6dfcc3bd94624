//! An audit log: a file or standard input, plain or compressed by gzip.
//!
//! Read on a thread of its own, as files cannot be waited for. `--follow` looks for more every
//! quarter of a second, and notices that the log was rotated or truncated.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use flate2::bufread::MultiGzDecoder;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::batch::{Batch, Origin};
use super::frames::Framer;

/// Bytes that one event may have. The API server takes objects of 3 MiB.
pub const MAX_EVENT: usize = 16 << 20;
/// How often a followed log is looked at.
const POLL: Duration = Duration::from_millis(250);
/// How long the reading thread may take to stop; standard input may never do.
const STOP_TIME: Duration = Duration::from_secs(1);
/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Why a log cannot be read.
#[derive(Debug, Error)]
pub enum LogError {
    /// It cannot be opened.
    #[error("cannot open the audit log {}: {why}", .path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// It cannot be read on.
    #[error("cannot read the audit log {} after line {line}: {why}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// How far it was read.
        line: u64,
        /// Why not.
        why: io::Error,
    },
    /// It is compressed, so nothing will be added to it.
    #[error("cannot follow {}: it is compressed; leave out --follow", .path.display())]
    FollowGzip {
        /// Which.
        path: PathBuf,
    },
    /// Standard input is read to its end anyway.
    #[error("cannot follow standard input; leave out --follow")]
    FollowStdin,
    /// The system gives no thread.
    #[error("cannot start a thread to read the audit log: {0}")]
    Thread(io::Error),
}

/// What is to be read, and how.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The file; `-` is standard input.
    pub path: PathBuf,
    /// Whether to go on at the end of the file.
    pub follow: bool,
    /// Bytes that one event may have.
    pub max_event: usize,
}

impl LogOptions {
    /// The log at `path`, read to its end.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            follow: false,
            max_event: MAX_EVENT,
        }
    }
}

/// An open audit log.
pub struct AuditLog {
    path: Arc<Path>,
    input: Input,
    framer: Framer,
    ended: bool,
}

enum Input {
    /// Read to its end.
    Stream(Box<dyn Read + Send>),
    /// A file that is followed.
    Followed(Followed),
}

impl AuditLog {
    /// Opens a log.
    ///
    /// # Errors
    /// The file cannot be opened or cannot be followed.
    pub fn open(options: &LogOptions) -> Result<Self, LogError> {
        let path: Arc<Path> = Arc::from(&*options.path);
        let open = |why| LogError::Open {
            path: options.path.clone(),
            why,
        };
        let is_stdin = options.path.as_os_str() == "-";
        let input = match (is_stdin, options.follow) {
            (true, true) => return Err(LogError::FollowStdin),
            (true, false) => Input::Stream(inflated(io::stdin()).map_err(open)?),
            (false, false) => {
                let file = open_file(&path).map_err(open)?;
                Input::Stream(inflated(file).map_err(open)?)
            }
            (false, true) => {
                let followed = Followed::open(&path).map_err(open)?;
                if followed.is_gzip().map_err(open)? {
                    let path = options.path.clone();
                    return Err(LogError::FollowGzip { path });
                }
                Input::Followed(followed)
            }
        };
        Ok(Self {
            path,
            input,
            framer: Framer::new(options.max_event),
            ended: false,
        })
    }

    /// The next events; `None` at the end of the log, or for now if it is followed.
    ///
    /// # Errors
    /// The file cannot be read on.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, LogError> {
        while !self.ended {
            let count = match &mut self.input {
                Input::Stream(stream) => {
                    let count = self.framer.fill(CHUNK, |room| read_some(stream, room));
                    self.ended = matches!(count, Ok(0));
                    count
                }
                Input::Followed(followed) => {
                    match self
                        .framer
                        .fill(CHUNK, |room| read_some(&mut followed.file, room))
                    {
                        Ok(0) => match followed.look_again(&self.path) {
                            Ok(Change::None) => return Ok(None),
                            Ok(Change::Another) => {
                                // What has no line end will get none.
                                let rest = self.cut(true);
                                self.framer.restart();
                                if rest.is_some() {
                                    return Ok(rest);
                                }
                                continue;
                            }
                            Err(error) => Err(error),
                        },
                        Ok(count) => {
                            followed.position += count as u64;
                            Ok(count)
                        }
                        Err(error) => Err(error),
                    }
                }
            };
            if let Err(why) = count {
                self.ended = true;
                return Err(LogError::Read {
                    path: self.path.to_path_buf(),
                    line: self.framer.line() - 1,
                    why,
                });
            }
            let batch = self.cut(self.ended);
            if batch.is_some() {
                return Ok(batch);
            }
        }
        Ok(None)
    }

    /// What is left of a followed log when nobody will wait for the end of its last line.
    pub fn finish(&mut self) -> Option<Batch> {
        self.ended = true;
        self.cut(true)
    }

    fn cut(&mut self, end: bool) -> Option<Batch> {
        let cut = self.framer.cut(end)?;
        let origin = Origin::File(Arc::clone(&self.path));
        Some(Batch::new(cut.bytes, cut.events, cut.faults, origin, None))
    }

    /// Reads the log and hands over its events; returns at its end, or soon after `shutdown`.
    /// A followed log ends by `shutdown` only, or when nobody receives.
    ///
    /// # Errors
    /// The file cannot be read on; what was read before has been handed over.
    pub async fn serve(
        self,
        sender: mpsc::Sender<Batch>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), LogError> {
        // The thread gets no sender of its own: should standard input hold it for ever, the
        // receiver still sees the end.
        let (batches, mut read) = mpsc::channel(2);
        let (done, mut ended) = oneshot::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("audit-log".to_owned())
            .spawn(move || {
                let result = self.run(&batches, &stopped);
                drop(batches);
                // Nobody listens if serving was given up.
                let _ = done.send(result);
            })
            .map_err(LogError::Thread)?;
        let forward = async {
            while let Some(batch) = read.recv().await {
                if sender.send(batch).await.is_err() {
                    break;
                }
            }
        };
        tokio::pin!(forward, shutdown);
        tokio::select! {
            () = &mut forward => {}
            () = shutdown => {
                stop.store(true, Ordering::Relaxed);
                thread.thread().unpark();
                if tokio::time::timeout(STOP_TIME, forward).await.is_err() {
                    return Ok(());
                }
            }
        }
        // Also when nobody receives any more.
        stop.store(true, Ordering::Relaxed);
        thread.thread().unpark();
        match tokio::time::timeout(STOP_TIME, &mut ended).await {
            Ok(Ok(result)) => result,
            _ => Ok(()),
        }
    }

    fn run(mut self, batches: &mpsc::Sender<Batch>, stop: &AtomicBool) -> Result<(), LogError> {
        let mut looked_again = false;
        loop {
            let stopping = stop.load(Ordering::Relaxed);
            match self.next_batch()? {
                Some(batch) => {
                    if batches.blocking_send(batch).is_err() {
                        return Ok(());
                    }
                    // A followed log is read up to its end; any other is left where it is.
                    if stopping && matches!(self.input, Input::Stream(_)) {
                        return Ok(());
                    }
                }
                None if self.ended => return Ok(()),
                // That the log was rotated shows only at the second look.
                None if stopping && !looked_again => looked_again = true,
                None if stopping => {
                    if let Some(batch) = self.finish() {
                        // The receiver may have gone.
                        let _ = batches.blocking_send(batch);
                    }
                    return Ok(());
                }
                None => thread::park_timeout(POLL),
            }
        }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::from(io::ErrorKind::IsADirectory));
    }
    Ok(file)
}

/// The input, inflated if it is compressed.
fn inflated(input: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    let mut input = BufReader::with_capacity(64 << 10, input);
    if input.fill_buf()?.starts_with(&GZIP_MAGIC) {
        return Ok(Box::new(MultiGzDecoder::new(input)));
    }
    Ok(Box::new(input))
}

fn read_some(input: &mut impl Read, room: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(room) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// A file that is followed.
struct Followed {
    file: File,
    /// Device and inode.
    identity: (u64, u64),
    /// How far it was read.
    position: u64,
    /// The path led to another file when the end was last reached.
    rotated: bool,
}

enum Change {
    /// Still the same file, and at its end.
    None,
    /// What follows is the begin of another log.
    Another,
}

impl Followed {
    fn open(path: &Path) -> io::Result<Self> {
        let file = open_file(path)?;
        let metadata = file.metadata()?;
        Ok(Self {
            file,
            identity: (metadata.dev(), metadata.ino()),
            position: 0,
            rotated: false,
        })
    }

    fn is_gzip(&self) -> io::Result<bool> {
        use std::os::unix::fs::FileExt as _;
        let mut begin = [0; 2];
        Ok(self.file.read_at(&mut begin, 0)? == begin.len() && begin == GZIP_MAGIC)
    }

    /// Looks whether the file at whose end we are was truncated, or another took its name.
    fn look_again(&mut self, path: &Path) -> io::Result<Change> {
        if self.file.metadata()?.len() < self.position {
            use std::io::Seek as _;
            self.file.rewind()?;
            self.position = 0;
            return Ok(Change::Another);
        }
        let is_other = match fs::metadata(path) {
            Ok(metadata) => (metadata.dev(), metadata.ino()) != self.identity,
            // Between the renaming of the old file and the making of the new one.
            Err(_) => false,
        };
        // The writer may still hold the old file, so its end is looked at once more.
        if is_other && !std::mem::replace(&mut self.rotated, true) {
            return Ok(Change::None);
        }
        if !is_other {
            self.rotated = false;
            return Ok(Change::None);
        }
        match Self::open(path) {
            Ok(next) => {
                *self = next;
                Ok(Change::Another)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Change::None),
            Err(error) => Err(error),
        }
    }
}
