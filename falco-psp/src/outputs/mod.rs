//! Where alerts go: any number of outputs, each with a bounded queue and a worker of its own, so
//! that none holds up another or the reading of events.

pub mod alert;
mod counts;
mod file;
mod http;
pub mod options;
mod queue;
mod sink;
mod spool;
mod stdout;
mod syslog;
mod target;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thiserror::Error;

use alert::{Alert, Format, Style};
use counts::Counters;
pub use counts::{OutputCounts, lost};
use file::AlertFile;
pub use file::Rotation;
use http::Worker;
pub use http::{HttpSettings, TlsError};
use queue::Queue;
use spool::Spool;
pub use syslog::Address;
use syslog::Syslog;
pub use target::{Target, TargetError, Url};

/// How long a source that can wait waits for an output that takes nothing at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long an output may take to give up what it has not delivered.
const HURRY: Duration = Duration::from_secs(1);

/// Where alerts are to go, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The outputs, each once.
    pub targets: Vec<Target>,
    /// How standard output and files are written.
    pub format: Format,
    /// When files are rotated.
    pub rotation: Rotation,
    /// What http receivers have in common.
    pub http: HttpSettings,
    /// Where alerts wait for them.
    pub spool: Option<SpoolSettings>,
}

/// Where alerts wait on disk for http receivers.
#[derive(Clone, Debug)]
pub struct SpoolSettings {
    /// The folder; each receiver has one in it.
    pub folder: PathBuf,
    /// How large each of these may be.
    pub max_bytes: u64,
}

/// Why an output cannot be used.
#[derive(Debug, Error)]
pub enum OutputError {
    /// There are no more threads to be had.
    #[error("cannot start a thread for the output {name}: {why}")]
    Thread {
        /// Which output.
        name: String,
        /// Why not.
        why: io::Error,
    },
    /// A file cannot be opened.
    #[error("cannot write alerts to {}: {why}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// A receiver cannot be verified.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is no place to wait.
    #[error("cannot use the spool {}: {why}", .path.display())]
    Spool {
        /// Its folder.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// An option without an output that needs it.
    #[error("{option} is for {outputs} outputs, and there is none: add --output {outputs}://…")]
    Unused {
        /// The option.
        option: &'static str,
        /// The outputs that it is for.
        outputs: &'static str,
    },
    /// The same output twice.
    #[error("the output {0} is given twice")]
    Twice(String),
}

/// The outputs of a run. Clones tell the same outputs.
#[derive(Clone, Debug)]
pub struct Outputs {
    outputs: Arc<[Output]>,
    text: Arc<Style>,
    json: Arc<Style>,
}

/// One output, as those see it who tell alerts.
#[derive(Debug)]
struct Output {
    name: String,
    form: Form,
    queue: Arc<Queue>,
    counters: Arc<Counters>,
}

/// What an output wants of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Json,
    Syslog,
}

/// The threads that deliver.
#[derive(Debug)]
pub struct Workers {
    outputs: Outputs,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Default for Outputs {
    /// No outputs: whatever is told goes nowhere.
    fn default() -> Self {
        Self::of(Vec::new())
    }
}

impl Outputs {
    /// None: alerts are only counted.
    pub fn none() -> Self {
        Self {
            outputs: Arc::from([]),
            text: Arc::new(Style::new(Format::Text)),
            json: Arc::new(Style::new(Format::Json)),
        }
    }

    /// Opens the outputs and starts their workers.
    ///
    /// # Errors
    /// See [`OutputError`].
    pub fn start(settings: &Settings) -> Result<(Self, Workers), OutputError> {
        settings.check()?;
        let mut outputs: Vec<Output> = Vec::new();
        let mut threads = Vec::new();
        for target in &settings.targets {
            let name = target.to_string();
            if outputs.iter().any(|output| output.name == name) {
                return Err(OutputError::Twice(name));
            }
            let counters = Arc::new(Counters::default());
            let patience = (*target != Target::Stdout).then_some(PATIENCE);
            let queue = Arc::new(Queue::new(patience));
            let form = match target {
                Target::Http(_) => Form::Json,
                Target::Syslog(_) => Form::Syslog,
                Target::Stdout | Target::File(_) => match settings.format {
                    Format::Text => Form::Text,
                    Format::Json => Form::Json,
                },
            };
            let work = settings.worker(target, &name, Arc::clone(&queue), Arc::clone(&counters))?;
            let thread = thread::Builder::new().name("output".to_owned());
            threads.push(thread.spawn(work).map_err(|why| OutputError::Thread {
                name: name.clone(),
                why,
            })?);
            outputs.push(Output {
                name,
                form,
                queue,
                counters,
            });
        }
        let outputs = Self::of(outputs);
        let workers = Workers {
            outputs: outputs.clone(),
            threads,
        };
        Ok((outputs, workers))
    }

    fn of(outputs: Vec<Output>) -> Self {
        Self {
            outputs: outputs.into(),
            text: Arc::new(Style::new(Format::Text)),
            json: Arc::new(Style::new(Format::Json)),
        }
    }

    /// Queues an alert for every output. Where the queue is full or the output is gone, it is
    /// counted as dropped.
    pub fn tell(&self, alert: &Alert) {
        self.give(alert, Queue::push);
    }

    /// Queues an alert for every output, and waits while a queue is full: for a source that can
    /// wait. It waits for standard output as long as that takes; for other outputs while they
    /// deliver anything at all.
    pub fn tell_all(&self, alert: &Alert) {
        self.give(alert, Queue::push_patiently);
    }

    fn give(&self, alert: &Alert, push: impl Fn(&Queue, Arc<str>) -> bool) {
        let mut made: [Option<Arc<str>>; 3] = [None, None, None];
        for output in &*self.outputs {
            let line = made[output.form as usize].get_or_insert_with(|| match output.form {
                Form::Text => alert.line(&self.text).into(),
                Form::Json => alert.line(&self.json).into(),
                Form::Syslog => syslog::message(alert, &self.text).into(),
            });
            if !push(&output.queue, Arc::clone(line)) {
                output.counters.dropped(1);
            }
        }
    }

    /// What became of the alerts so far, output by output.
    pub fn counts(&self) -> Vec<OutputCounts> {
        let outputs = self.outputs.iter();
        outputs
            .map(|output| output.counters.read(&output.name, output.queue.len()))
            .collect()
    }

    /// Waits until every output has room for many alerts, or delivers nothing: for a source that can
    /// hold back its next batch, beside others that cannot wait.
    pub async fn calm(&self) {
        for output in &*self.outputs {
            output.queue.calm().await;
        }
    }

    /// Has files opened anew, after something else has renamed them.
    pub fn reopen(&self) {
        self.outputs.iter().for_each(|output| output.queue.reopen());
    }
}

/// What the thread of an output does.
type Work = Box<dyn FnOnce() -> io::Result<()> + Send>;

impl Settings {
    fn check(&self) -> Result<(), OutputError> {
        let any = |wanted: fn(&Url) -> bool| {
            let mut targets = self.targets.iter();
            targets.any(|target| matches!(target, Target::Http(url) if wanted(url)))
        };
        let unused = |option, outputs| Err(OutputError::Unused { option, outputs });
        match self {
            _ if self.spool.is_some() && !any(|_| true) => unused("--spool-dir", "http"),
            _ if self.http.ca.is_some() && !any(|url| url.tls) => unused("--output-ca", "https"),
            _ => Ok(()),
        }
    }

    /// Opens an output.
    fn worker(
        &self,
        target: &Target,
        name: &str,
        queue: Arc<Queue>,
        counters: Arc<Counters>,
    ) -> Result<Work, OutputError> {
        let name = name.to_owned();
        Ok(match target {
            Target::Stdout => Box::new(move || stdout::work(&queue, &counters)),
            Target::File(path) => {
                let file = AlertFile::open(path, self.rotation);
                let mut file = file.map_err(|why| OutputError::File {
                    path: path.clone(),
                    why,
                })?;
                Box::new(move || {
                    sink::work(&queue, &counters, &mut file, &name);
                    Ok(())
                })
            }
            Target::Syslog(address) => {
                let mut syslog = Syslog::new(address.clone());
                Box::new(move || {
                    sink::work(&queue, &counters, &mut syslog, &name);
                    Ok(())
                })
            }
            Target::Http(url) => {
                let spool = self.spool.as_ref().map(|spool| spool.open(url));
                let worker = Worker::new(name, url.clone(), &self.http, spool.transpose()?)?;
                Box::new(move || worker.work(&queue, &counters))
            }
        })
    }
}

impl SpoolSettings {
    /// Opens the spool of a receiver: a folder whose name can be read, and is the receiver's alone.
    fn open(&self, url: &Url) -> Result<Spool, OutputError> {
        let whole = format!("{} {} {}", url.tls, url.authority, url.path);
        let readable = url
            .authority
            .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let name = format!("{readable}-{:08x}", crc32fast::hash(whole.as_bytes()));
        let path = self.folder.join(name);
        Spool::open(&path, self.max_bytes).map_err(|why| OutputError::Spool { path, why })
    }
}

impl Workers {
    /// Takes no more alerts, and waits until all are delivered or given up; what became of them.
    ///
    /// # Errors
    /// Standard output could not be written.
    pub fn finish(self) -> (Vec<OutputCounts>, io::Result<()>) {
        let outputs = &self.outputs.outputs;
        outputs.iter().for_each(|output| output.queue.close());
        let mut written = Ok(());
        for thread in self.threads {
            let ended = thread.join();
            let ended = ended.unwrap_or_else(|_| Err(io::Error::other("the thread is gone")));
            written = written.and(ended);
        }
        (self.outputs.counts(), written)
    }

    /// The same, but gives up what is not delivered when `impatient` ends: what a spool keeps waits
    /// for the next run, the rest counts as dropped.
    ///
    /// # Errors
    /// Standard output could not be written.
    pub async fn finish_unless(
        self,
        impatient: impl Future<Output = ()>,
    ) -> (Vec<OutputCounts>, io::Result<()>) {
        let outputs = self.outputs.clone();
        let gone = || {
            (
                outputs.counts(),
                Err(io::Error::other("the thread is gone")),
            )
        };
        let mut finishing = tokio::task::spawn_blocking(move || self.finish());
        tokio::select! {
            finished = &mut finishing => return finished.unwrap_or_else(|_| gone()),
            () = impatient => {}
        }
        let all = outputs.outputs.iter();
        all.clone().for_each(|output| output.queue.hurry());
        match tokio::time::timeout(HURRY, finishing).await {
            Ok(finished) => finished.unwrap_or_else(|_| gone()),
            // One of them is in the middle of a write that nobody reads: it ends with the process.
            Err(_) => {
                for output in all {
                    output.counters.dropped(output.queue.abandon());
                }
                (outputs.counts(), Ok(()))
            }
        }
    }
}
