//! Where alerts go: any number of outputs, each with a bounded queue and a worker of its own, so
//! that none holds up another or the reading of events.

pub mod alert;
mod counts;
mod queue;
mod stdout;
mod target;

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use thiserror::Error;

use alert::{Alert, Format, Style};
use counts::Counters;
pub use counts::{OutputCounts, lost};
use queue::Queue;
pub use target::{Target, TargetError};

/// Where alerts are to go, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The outputs, each once.
    pub targets: Vec<Target>,
    /// How standard output and files are written.
    pub format: Format,
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
    /// Opens the outputs and starts their workers.
    ///
    /// # Errors
    /// See [`OutputError`].
    pub fn start(settings: &Settings) -> Result<(Self, Workers), OutputError> {
        let mut outputs: Vec<Output> = Vec::new();
        let mut threads = Vec::new();
        for target in &settings.targets {
            let name = target.to_string();
            if outputs.iter().any(|output| output.name == name) {
                return Err(OutputError::Twice(name));
            }
            let counters = Arc::new(Counters::default());
            let form = match settings.format {
                Format::Text => Form::Text,
                Format::Json => Form::Json,
            };
            let (queue, work): (_, Box<dyn FnOnce() -> io::Result<()> + Send>) = match target {
                Target::Stdout => {
                    let queue = Arc::new(Queue::new(None));
                    let (from, counters) = (Arc::clone(&queue), Arc::clone(&counters));
                    (queue, Box::new(move || stdout::work(&from, &counters)))
                }
            };
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
        let mut made: [Option<Arc<str>>; 2] = [None, None];
        for output in &*self.outputs {
            let line = made[output.form as usize].get_or_insert_with(|| match output.form {
                Form::Text => alert.line(&self.text).into(),
                Form::Json => alert.line(&self.json).into(),
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

    /// Has files opened anew, after something else has renamed them.
    pub fn reopen(&self) {
        self.outputs.iter().for_each(|output| output.queue.reopen());
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
}
