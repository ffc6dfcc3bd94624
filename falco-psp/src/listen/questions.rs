//! What is asked of the loop that judges.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::report::answer::Answer as Report;

/// How long the loop may take to answer: less than Prometheus waits.
const ANSWER_TIME: Duration = Duration::from_secs(8);
/// Questions that may wait.
const QUEUE: usize = 64;

/// A question to the loop that judges, and where its answer goes.
#[derive(Debug)]
pub enum Question {
    /// The metrics, in Prometheus' text format.
    Metrics(oneshot::Sender<String>),
    /// What is in force, as JSON.
    Policy(oneshot::Sender<String>),
    /// Which workloads break. What is made of it is made beside the loop.
    Report(oneshot::Sender<Box<Report>>),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    Ending,
    Busy,
}

impl Unanswered {
    /// In words.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Ending => "falco-psp is ending",
            Self::Busy => "falco-psp is busy starting or judging",
        }
    }
}

/// Whoever may ask. Clones ask the same loop.
#[derive(Clone, Debug)]
pub(super) struct Questions(mpsc::Sender<Question>);

impl Questions {
    /// Questions, and where they arrive.
    pub(super) fn new() -> (Self, mpsc::Receiver<Question>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    /// Asks, and waits for the answer.
    pub(super) async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Question,
    ) -> Result<T, Unanswered> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.0.send(question(reply)).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(ANSWER_TIME, asked).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(Unanswered::Ending),
            Err(_) => Err(Unanswered::Busy),
        }
    }
}
