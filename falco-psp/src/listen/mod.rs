//! `--listen`: metrics, health, readiness, and what is in force, over HTTP.
//!
//! What the numbers are about belongs to the loop that judges. So a request for them is a question
//! to that loop, which answers between two batches of events: nothing is shared, and nothing is
//! kept up to date for nobody.

pub mod alerts;
pub mod exposition;
pub mod metrics;
pub mod policy;
pub mod readiness;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::http::{self, Answer, Bounds, content, only_reads, say};
pub use readiness::{Readiness, Step};

/// What the pages may take up.
const BOUNDS: Bounds = Bounds {
    connections: 64,
    handshake_time: Duration::from_secs(10),
    header_time: Duration::from_secs(20),
    grace: Duration::from_secs(1),
};
/// How long the loop that judges may take to answer: less than Prometheus waits.
const ANSWER_TIME: Duration = Duration::from_secs(8);
/// Questions that may wait.
const QUESTIONS: usize = 64;

/// The pages, for people.
const PAGES: &str = "pages: /metrics, /healthz, /readyz, /v1/policy, /v1/report";

/// Why nothing listens.
#[derive(Debug, Error)]
#[error("cannot listen on {address} (--listen): {why}")]
pub struct ListenError {
    address: SocketAddr,
    why: io::Error,
}

/// What only the loop that judges can answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// The metrics, in Prometheus' text format.
    Metrics,
    /// What is in force, as JSON.
    Policy,
    /// Which workloads break, as JSON.
    Report,
}

/// A question to the loop that judges.
#[derive(Debug)]
pub struct Question {
    /// About what.
    pub topic: Topic,
    /// Where the answer goes.
    pub reply: oneshot::Sender<String>,
}

/// A server of status pages that listens.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    readiness: Readiness,
    questions: mpsc::Sender<Question>,
}

impl Listener {
    /// Listens. The questions come from the receiver.
    ///
    /// # Errors
    /// The address is not free, or not one of this machine.
    pub async fn bind(
        address: SocketAddr,
        readiness: Readiness,
    ) -> Result<(Self, mpsc::Receiver<Question>), ListenError> {
        let failed = |why| ListenError { address, why };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let (questions, receiver) = mpsc::channel(QUESTIONS);
        let listener = Self {
            address: listener.local_addr().map_err(failed)?,
            listener,
            readiness,
            questions,
        };
        Ok((listener, receiver))
    }

    /// The address, with the port that was found.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let desk = Desk {
            readiness: self.readiness,
            questions: self.questions,
        };
        http::serve(self.listener, None, BOUNDS, desk, shutdown).await;
    }
}

struct Desk {
    readiness: Readiness,
    questions: mpsc::Sender<Question>,
}

impl Answer for Desk {
    async fn answer(&self, request: Request<Incoming>, _: SocketAddr) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let pages = [
            "/metrics",
            "/healthz",
            "/readyz",
            "/v1/policy",
            "/v1/report",
        ];
        if !pages.contains(&path) {
            return say(StatusCode::NOT_FOUND, PAGES.to_owned());
        }
        if let Some(refused) = only_reads(&request) {
            return refused;
        }
        match path {
            "/healthz" => http::health(),
            "/readyz" => self.readyz(),
            "/metrics" => self.ask(Topic::Metrics, exposition::CONTENT_TYPE).await,
            "/v1/report" => self.ask(Topic::Report, "application/json").await,
            _ => self.ask(Topic::Policy, "application/json").await,
        }
    }
}

impl Desk {
    fn readyz(&self) -> Response<Full<Bytes>> {
        let reasons = self.readiness.reasons();
        match reasons.is_empty() {
            true => say(StatusCode::OK, "ready".to_owned()),
            false => say(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n")),
        }
    }

    async fn ask(&self, topic: Topic, kind: &'static str) -> Response<Full<Bytes>> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.questions.send(Question { topic, reply }).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(ANSWER_TIME, asked).await {
            Ok(Some(text)) => content(kind, text),
            Ok(None) => say(
                StatusCode::SERVICE_UNAVAILABLE,
                "falco-psp is ending".to_owned(),
            ),
            Err(_) => say(
                StatusCode::SERVICE_UNAVAILABLE,
                "falco-psp is busy starting or judging".to_owned(),
            ),
        }
    }
}
