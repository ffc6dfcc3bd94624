//! The look-ups: a thread of its own asks the runtime, so that whatever the runtime does, events
//! are judged.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::facts::{self, RuntimeFacts};
use super::grpc::{CallError, Connection};
use super::messages::{
    ContainerFilter, ContainerStatusRequest, ListContainersRequest, ListContainersResponse,
    PodSandboxStatusRequest, PodSandboxStatusResponse,
};
use super::{Choice, socket};
use crate::container::Gap;

const CONTAINER_STATUS: &str = "/runtime.v1.RuntimeService/ContainerStatus";
const LIST_CONTAINERS: &str = "/runtime.v1.RuntimeService/ListContainers";
const POD_SANDBOX_STATUS: &str = "/runtime.v1.RuntimeService/PodSandboxStatus";

/// How long a runtime may take for one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Look-ups that are under way at the same time.
const MAX_UNDER_WAY: usize = 16;
/// After how long a failed look-up is tried again; doubled each time, up to the longest.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(10);
/// How long nobody connects after a runtime was found down.
const DOWN: Duration = Duration::from_millis(500);
/// How often a container that the runtime does not know is asked for: it may be about to.
const MAX_UNKNOWN: u32 = 3;

/// What came of asking for a container.
pub type Outcome = Result<Box<RuntimeFacts>, Gap>;

/// What came of asking for a container.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The container's id.
    pub id: String,
    /// What the runtime tells, or why it tells nothing.
    pub outcome: Outcome,
}

enum Order {
    Ask(String),
    Forget(String),
}

/// The look-ups. Dropped, they end.
#[derive(Debug)]
pub struct Lookups {
    orders: UnboundedSender<Order>,
    answers: UnboundedReceiver<Answer>,
}

impl Lookups {
    /// Starts the thread that asks the runtime; `None` if none is to be asked.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(choice: Option<Choice>) -> io::Result<Option<Self>> {
        if choice == Some(Choice::None) {
            return Ok(None);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (orders, to_do) = mpsc::unbounded_channel();
        let (answered, answers) = mpsc::unbounded_channel();
        let worker = Worker::new(choice, answered);
        thread::Builder::new()
            .name("metadata".to_owned())
            .spawn(move || runtime.block_on(worker.run(to_do)))?;
        Ok(Some(Self { orders, answers }))
    }

    /// Asks for a container. There will be an answer, and others until the runtime knows it.
    pub fn ask(&self, id: &str) {
        // Fails only if the thread is gone; then nothing is answered, and nobody waits for long.
        let _ = self.orders.send(Order::Ask(id.to_owned()));
    }

    /// Asks no longer for a container.
    pub fn forget(&self, id: &str) {
        let _ = self.orders.send(Order::Forget(id.to_owned()));
    }

    /// The next answer; `None` if there will be no more.
    pub async fn next(&mut self) -> Option<Answer> {
        self.answers.recv().await
    }

    /// The next answer, if there is one by now.
    pub fn ready(&mut self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}

/// What the thread has in hand.
struct Worker {
    choice: Option<Choice>,
    answered: UnboundedSender<Answer>,
    connection: Option<Connection>,
    /// Until when a runtime that was down is taken for down.
    down: Option<(Instant, Gap)>,
    /// Those that were never asked for go before those that failed.
    fresh: VecDeque<String>,
    again: BinaryHeap<Reverse<(Instant, String)>>,
    /// How often each was asked for. What is not in here is no longer of interest.
    tries: HashMap<String, u32>,
    under_way: HashSet<String>,
    tasks: JoinSet<(String, Result<RuntimeFacts, Failure>)>,
}

/// Why a look-up failed.
#[derive(Debug)]
enum Failure {
    Silent,
    Call(CallError),
}

impl Failure {
    fn gap(&self) -> Gap {
        match self {
            Self::Silent => Gap::RuntimeSilent,
            Self::Call(CallError::NotFound(_)) => Gap::UnknownToRuntime,
            Self::Call(CallError::Connect(_)) => Gap::RuntimeDown,
            Self::Call(CallError::Http2(error)) if is_closed(error) => Gap::RuntimeDown,
            Self::Call(
                CallError::Http2(_) | CallError::Refused { .. } | CallError::Nonsense(_),
            ) => Gap::BadAnswer,
        }
    }
}

/// Whether the other side has ended the connection, rather than misused it.
fn is_closed(error: &h2::Error) -> bool {
    error.is_io() || (error.is_go_away() && error.is_remote())
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl Worker {
    fn new(choice: Option<Choice>, answered: UnboundedSender<Answer>) -> Self {
        Self {
            choice,
            answered,
            connection: None,
            down: None,
            fresh: VecDeque::new(),
            again: BinaryHeap::new(),
            tries: HashMap::new(),
            under_way: HashSet::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Works until nobody gives orders any more.
    async fn run(mut self, mut orders: UnboundedReceiver<Order>) {
        loop {
            while self.tasks.len() < MAX_UNDER_WAY
                && let Some(id) = self.next_due()
            {
                self.look_up(id).await;
            }
            let next = self.again.peek().map(|Reverse((when, _))| *when);
            let is_full = self.tasks.len() >= MAX_UNDER_WAY;
            let due = async {
                match next {
                    Some(next) if !is_full => sleep_until(next).await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Ask(id)) => {
                        if self.tries.insert(id.clone(), 0).is_none() {
                            self.fresh.push_back(id);
                        }
                    }
                    Some(Order::Forget(id)) => {
                        self.tries.remove(&id);
                    }
                    None => return,
                },
                Some(done) = self.tasks.join_next() => {
                    if let Ok((id, result)) = done {
                        self.under_way.remove(&id);
                        self.conclude(id, result);
                    }
                }
                () = due => {}
            }
        }
    }

    /// The next container to ask for, if it is time.
    fn next_due(&mut self) -> Option<String> {
        while let Some(id) = self.fresh.pop_front() {
            if self.tries.contains_key(&id) {
                return Some(id);
            }
        }
        let now = Instant::now();
        while let Some(Reverse((when, _))) = self.again.peek() {
            if *when > now {
                return None;
            }
            let Reverse((_, id)) = self.again.pop()?;
            if self.tries.contains_key(&id) && !self.under_way.contains(&id) {
                return Some(id);
            }
        }
        None
    }

    async fn look_up(&mut self, id: String) {
        match self.connect().await {
            Ok(connection) => {
                self.under_way.insert(id.clone());
                self.tasks.spawn(async move {
                    let result = look_up(&connection, &id).await;
                    (id, result)
                });
            }
            Err(gap) => self.fail(id, gap),
        }
    }

    /// The connection, made anew where there is none.
    async fn connect(&mut self) -> Result<Connection, Gap> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        if let Some((until, gap)) = self.down
            && Instant::now() < until
        {
            return Err(gap);
        }
        let result = match socket::find(self.choice.as_ref()) {
            None => Err(Gap::NoRuntime),
            Some(path) => connect(path).await,
        };
        match &result {
            Ok(connection) => {
                self.connection = Some(connection.clone());
                self.down = None;
            }
            Err(gap) => self.down = Some((Instant::now() + DOWN, *gap)),
        }
        result
    }

    fn conclude(&mut self, id: String, result: Result<RuntimeFacts, Failure>) {
        match result {
            Ok(facts) => {
                self.tries.remove(&id);
                self.answer(id, Ok(Box::new(facts)));
            }
            Err(failure) => {
                tracing::debug!(id, ?failure, "the container runtime does not tell");
                let gap = failure.gap();
                if let (Failure::Call(CallError::Http2(_)), Some(tries @ 0)) =
                    (&failure, self.tries.get_mut(&id))
                {
                    // A runtime that was restarted has closed the connection: once more.
                    *tries = 1;
                    self.connection = None;
                    self.fresh.push_back(id);
                    return;
                }
                if gap != Gap::UnknownToRuntime {
                    // It may be the connection that is no good any more.
                    self.connection = None;
                }
                self.fail(id, gap);
            }
        }
    }

    fn fail(&mut self, id: String, gap: Gap) {
        let Some(tries) = self.tries.get_mut(&id) else {
            return;
        };
        let delay = FIRST_RETRY
            .saturating_mul(1 << (*tries).min(8))
            .min(LONGEST_RETRY);
        *tries += 1;
        if gap == Gap::UnknownToRuntime && *tries >= MAX_UNKNOWN {
            self.tries.remove(&id);
        } else {
            let when = Instant::now() + delay;
            self.again.push(Reverse((when, id.clone())));
        }
        self.answer(id, Err(gap));
    }

    fn answer(&self, id: String, outcome: Outcome) {
        // Fails only if nobody wants to know any more.
        let _ = self.answered.send(Answer { id, outcome });
    }
}

async fn connect(path: PathBuf) -> Result<Connection, Gap> {
    match timeout(CALL_TIMEOUT, Connection::open(&path)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => {
            tracing::debug!(path = %path.display(), %error, "no connection to the container runtime");
            Err(Failure::Call(error).gap())
        }
        Err(_) => Err(Gap::RuntimeSilent),
    }
}

/// Asks for a container, and for its pod's sandbox.
async fn look_up(connection: &Connection, id: &str) -> Result<RuntimeFacts, Failure> {
    let question = ContainerStatusRequest {
        container_id: id.to_owned(),
        verbose: true,
    };
    let container = match in_time(connection.call(CONTAINER_STATUS, &question)).await {
        Ok(container) => container,
        Err(Failure::Call(CallError::NotFound(why))) => {
            // It may be a sandbox itself.
            return match sandbox(connection, id).await {
                Ok(sandbox) => Ok(RuntimeFacts::of_sandbox(sandbox)),
                Err(Failure::Call(CallError::NotFound(_))) => Err(CallError::NotFound(why).into()),
                Err(error) => Err(error),
            };
        }
        Err(error) => return Err(error),
    };
    let sandbox_id = match facts::sandbox_id(&container) {
        Some(id) => Some(id),
        None => listed_sandbox(connection, id).await?,
    };
    let sandbox = match sandbox_id {
        Some(id) => match sandbox(connection, &id).await {
            Ok(sandbox) => Some(sandbox),
            Err(Failure::Call(CallError::NotFound(_))) => None,
            Err(error) => return Err(error),
        },
        None => None,
    };
    RuntimeFacts::of_container(container, sandbox)
        .ok_or_else(|| CallError::Nonsense("no container in it".to_owned()).into())
}

async fn sandbox(connection: &Connection, id: &str) -> Result<PodSandboxStatusResponse, Failure> {
    let question = PodSandboxStatusRequest {
        pod_sandbox_id: id.to_owned(),
        verbose: true,
    };
    in_time(connection.call(POD_SANDBOX_STATUS, &question)).await
}

/// The sandbox's id from the list, for runtimes that do not add it to the status.
async fn listed_sandbox(connection: &Connection, id: &str) -> Result<Option<String>, Failure> {
    let question = ListContainersRequest {
        filter: Some(ContainerFilter { id: id.to_owned() }),
    };
    let list: ListContainersResponse = in_time(connection.call(LIST_CONTAINERS, &question)).await?;
    let mut containers = list.containers.into_iter();
    let found = containers.find(|container| container.id == id);
    Ok(found
        .map(|container| container.pod_sandbox_id)
        .filter(|id| !id.is_empty()))
}

async fn in_time<T>(call: impl Future<Output = Result<T, CallError>>) -> Result<T, Failure> {
    match timeout(CALL_TIMEOUT, call).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Failure::Silent),
    }
}

#[cfg(test)]
mod tests;
