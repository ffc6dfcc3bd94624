//! The bounded queue before an output: what is told goes in without waiting, or waits for room
//! where its source can wait; the output's worker takes it out.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Alerts that may wait before further ones are dropped and counted.
const MAX_LINES: usize = 16_384;
/// Bytes that may wait, as alerts about audit events can be long.
const MAX_BYTES: usize = 64 << 20;

/// How often a source that holds back looks again.
const CALM_TICK: Duration = Duration::from_millis(100);

/// Alerts on their way to one output.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Something came, or the queue was closed.
    came: Condvar,
    /// The same, for a worker that is a task.
    came_async: Notify,
    /// Something was taken out.
    room: Condvar,
    /// The same, for a source that is a task.
    room_async: Notify,
    /// How long a source waits for an output that takes nothing; `None`: until it does.
    patience: Option<Duration>,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Arc<str>>,
    bytes: usize,
    reopen: bool,
    closed: Option<Instant>,
    /// Whoever runs this does not want to wait for the rest.
    hurried: bool,
    /// Nobody takes anything out any more.
    abandoned: bool,
    /// A source has lost its patience, and nothing was taken out since.
    stuck: bool,
}

/// What a worker is to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Deliver this alert.
    Line(Arc<str>),
    /// Open the file anew.
    Reopen,
    /// End: nothing more comes.
    Closed,
}

impl Queue {
    pub(super) fn new(patience: Option<Duration>) -> Self {
        Self {
            state: Mutex::default(),
            came: Condvar::new(),
            came_async: Notify::new(),
            room: Condvar::new(),
            room_async: Notify::new(),
            patience,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an alert in, if there is room; whether it did.
    pub(super) fn push(&self, line: Arc<str>) -> bool {
        self.put(self.state(), line)
    }

    /// Puts an alert in, and waits for room; whether it did.
    pub(super) fn push_patiently(&self, line: Arc<str>) -> bool {
        let mut state = self.state();
        let start = Instant::now();
        while state.is_full(line.len()) && !state.is_shut() && !state.stuck {
            state = match self.patience {
                None => self
                    .room
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(patience) => {
                    let left = patience.saturating_sub(start.elapsed());
                    let (mut state, timeout) = self
                        .room
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner);
                    state.stuck |= timeout.timed_out();
                    state
                }
            };
        }
        self.put(state, line)
    }

    /// Waits until less than half of the room is taken, so that a source can hold back before it
    /// has to wait with [`Self::push_patiently`]; no longer than for an output that delivers.
    pub(super) async fn calm(&self) {
        let start = Instant::now();
        loop {
            let room = self.room_async.notified();
            {
                let mut state = self.state();
                if !state.is_busy() || state.is_shut() || state.stuck {
                    return;
                }
                if self.patience.is_some_and(|most| start.elapsed() > most) {
                    state.stuck = true;
                    return;
                }
            }
            // The time-out also covers a notice that went to another waiter.
            let _ = tokio::time::timeout(CALM_TICK, room).await;
        }
    }

    fn put(&self, mut state: MutexGuard<'_, State>, line: Arc<str>) -> bool {
        if state.is_shut() || state.is_full(line.len()) {
            return false;
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        drop(state);
        self.came.notify_one();
        self.came_async.notify_one();
        true
    }

    /// Waits for what is to be done.
    pub(super) fn next(&self) -> Next {
        let mut state = self.state();
        loop {
            if let Some(next) = self.take(&mut state) {
                return next;
            }
            state = self
                .came
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until there may be something to do, for the only task that takes.
    pub(super) async fn something(&self) {
        self.came_async.notified().await;
    }

    /// The alert that is next, which stays: for the only worker that takes.
    pub(super) fn front(&self) -> Option<Arc<str>> {
        self.state().lines.front().cloned()
    }

    /// Takes out the alert that is next.
    pub(super) fn pop(&self) -> Option<Arc<str>> {
        self.pop_from(&mut self.state())
    }

    /// Whether it is closed and empty.
    pub(super) fn is_finished(&self) -> bool {
        let state = self.state();
        state.closed.is_some() && state.lines.is_empty()
    }

    fn pop_from(&self, state: &mut State) -> Option<Arc<str>> {
        let line = state.lines.pop_front()?;
        state.bytes -= line.len();
        state.stuck = false;
        self.room.notify_all();
        self.room_async.notify_one();
        Some(line)
    }

    fn take(&self, state: &mut State) -> Option<Next> {
        if std::mem::take(&mut state.reopen) {
            return Some(Next::Reopen);
        }
        if let Some(line) = self.pop_from(state) {
            return Some(Next::Line(line));
        }
        state.closed.map(|_| Next::Closed)
    }

    /// Waits for a while, less if the file is to be opened anew or the end is near; whether the file
    /// is.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let start = Instant::now();
        let mut state = self.state();
        while !state.reopen && !state.hurried {
            let left = time.saturating_sub(start.elapsed());
            if left.is_zero() {
                break;
            }
            (state, _) = self
                .came
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::take(&mut state.reopen)
    }

    /// Has the worker open its file anew, before it writes anything more.
    pub(super) fn reopen(&self) {
        self.state().reopen = true;
        self.came.notify_all();
        self.came_async.notify_one();
    }

    /// Nothing more comes: the worker ends when it has delivered what there is.
    pub(super) fn close(&self) {
        self.state().closed.get_or_insert_with(Instant::now);
        self.came.notify_all();
        self.came_async.notify_one();
        self.room.notify_all();
    }

    /// The worker gives up what it cannot deliver at once.
    pub(super) fn hurry(&self) {
        self.state().hurried = true;
        self.close();
    }

    /// How long ago it was closed: for ever, for a worker that is to hurry.
    pub(super) fn closed_for(&self) -> Option<Duration> {
        let state = self.state();
        let closed = state.closed?;
        Some(match state.hurried {
            true => Duration::MAX,
            false => closed.elapsed(),
        })
    }

    /// The worker takes nothing more, and what waits is lost; how much that is.
    pub(super) fn abandon(&self) -> u64 {
        let mut state = self.state();
        state.abandoned = true;
        state.bytes = 0;
        let lost = std::mem::take(&mut state.lines).len();
        self.room.notify_all();
        lost as u64
    }

    /// How many alerts wait.
    pub(super) fn len(&self) -> u64 {
        self.state().lines.len() as u64
    }
}

impl State {
    fn is_shut(&self) -> bool {
        self.abandoned || self.closed.is_some()
    }

    fn is_busy(&self) -> bool {
        self.lines.len() >= MAX_LINES / 2 || self.bytes >= MAX_BYTES / 2
    }

    fn is_full(&self, more: usize) -> bool {
        let too_long = self.bytes + more > MAX_BYTES && !self.lines.is_empty();
        self.lines.len() >= MAX_LINES || too_long
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn fill(queue: &Queue) {
        for _ in 0..MAX_LINES {
            assert!(queue.push("x".into()));
        }
    }

    #[test]
    fn what_finds_no_room_is_refused_at_once() {
        let queue = Queue::new(None);
        fill(&queue);
        assert!(!queue.push("one more".into()));
        assert_eq!(queue.next(), Next::Line("x".into()));
        assert!(queue.push("one more".into()));
    }

    #[tokio::test]
    async fn a_source_that_holds_back_goes_on_when_half_is_delivered() {
        let queue = Arc::new(Queue::new(None));
        queue.calm().await;
        fill(&queue);
        let other = Arc::clone(&queue);
        let mut calm = tokio::spawn(async move { other.calm().await });
        let early = tokio::time::timeout(Duration::from_millis(300), &mut calm).await;
        assert!(early.is_err());
        for _ in 0..=MAX_LINES / 2 {
            queue.next();
        }
        calm.await.unwrap();
    }

    #[tokio::test]
    async fn a_source_holds_back_only_for_an_output_that_delivers() {
        let queue = Queue::new(Some(Duration::from_millis(50)));
        fill(&queue);
        queue.calm().await;
        assert_eq!(queue.len(), MAX_LINES as u64);
    }

    #[test]
    fn a_worker_that_is_to_hurry_finds_all_time_over() {
        let queue = Queue::new(None);
        queue.hurry();
        assert_eq!(queue.closed_for(), Some(Duration::MAX));
        assert!(!queue.pause(Duration::from_secs(3600)));
    }

    #[test]
    fn long_alerts_are_bounded_by_their_bytes() {
        let queue = Queue::new(None);
        let long: Arc<str> = "x".repeat(MAX_BYTES).into();
        assert!(queue.push(Arc::clone(&long)));
        assert!(!queue.push("x".into()));
        queue.next();
        assert!(queue.push(long));
    }

    #[test]
    fn a_source_that_can_wait_waits_for_room() {
        let queue = Arc::new(Queue::new(None));
        fill(&queue);
        let waiting = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.push_patiently("last".into()))
        };
        thread::sleep(Duration::from_millis(50));
        assert!(!waiting.is_finished());
        queue.next();
        assert!(waiting.join().unwrap());
        assert_eq!(queue.len(), MAX_LINES as u64);
    }

    #[test]
    fn patience_is_lost_once_for_an_output_that_takes_nothing() {
        let patience = Duration::from_millis(100);
        let queue = Queue::new(Some(patience));
        fill(&queue);
        let start = Instant::now();
        for _ in 0..50 {
            assert!(!queue.push_patiently("x".into()));
        }
        assert!((patience..patience * 10).contains(&start.elapsed()));
        queue.next();
        assert!(queue.push_patiently("x".into()));
    }

    #[test]
    fn a_closed_queue_gives_what_it_has_and_takes_nothing() {
        let queue = Queue::new(None);
        assert!(queue.push("x".into()));
        queue.close();
        assert!(!queue.push("y".into()));
        assert_eq!(queue.next(), Next::Line("x".into()));
        assert_eq!(queue.next(), Next::Closed);
    }
}
