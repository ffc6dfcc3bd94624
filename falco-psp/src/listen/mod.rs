//! `--listen`: metrics, health, readiness, what is in force, and the report, over HTTP.
//!
//! What the numbers are about belongs to the loop that judges. So a request for them is a question
//! to that loop, which answers between two batches of events: nothing is shared, and nothing is
//! kept up to date for nobody.

pub mod alerts;
mod events;
pub mod exposition;
mod guard;
pub mod metrics;
pub mod policy;
mod questions;
pub mod readiness;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::http::{self, Answer, Bounds, content, only_reads, say};
use crate::report::answer::{Answer as Report, security_policy};
use events::{Events, Feed};
pub use questions::Question;
use questions::{Questions, Unanswered};
pub use readiness::{Readiness, Step};

/// What the pages may take up.
const BOUNDS: Bounds = Bounds {
    connections: 64,
    handshake_time: Duration::from_secs(10),
    header_time: Duration::from_secs(20),
    // A page that is closed gives its place to another.
    half_close: false,
    grace: Duration::from_secs(1),
};
/// The pages, for people.
const PAGES: &str = "pages: /, /metrics, /healthz, /readyz, /v1/policy, /v1/report, /v1/events";
/// Where the page is told what is new, as seen from it: also behind a proxy that adds a path.
const EVENTS: &str = "v1/events";

/// Why nothing listens.
#[derive(Debug, Error)]
#[error("cannot listen on {address} (--listen): {why}")]
pub struct ListenError {
    address: SocketAddr,
    why: io::Error,
}

/// A server of status pages that listens.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    readiness: Readiness,
    questions: Questions,
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
        let (questions, receiver) = Questions::new();
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
        let events = Arc::new(Events::new());
        let desk = Desk {
            is_loopback: self.address.ip().is_loopback(),
            readiness: self.readiness,
            questions: self.questions.clone(),
            events: Arc::clone(&events),
        };
        let shutdown = async {
            shutdown.await;
            // They would never end by themselves.
            events.end();
        };
        tokio::select! {
            () = http::serve(self.listener, None, BOUNDS, desk, shutdown) => {}
            () = events.publish(&self.questions) => {}
        }
    }
}

struct Desk {
    /// Whether only this machine can ask.
    is_loopback: bool,
    readiness: Readiness,
    questions: Questions,
    events: Arc<Events>,
}

/// What a page has in it: a text, or what is told as long as the client listens.
type Content = Either<Full<Bytes>, Feed>;

impl Answer for Desk {
    type Body = Content;

    async fn answer(&self, request: Request<Incoming>, _: SocketAddr) -> Response<Content> {
        let path = request.uri().path();
        let mut response = match self.refusal(&request) {
            Some(refused) => refused.map(Either::Left),
            None if path == "/v1/events" => self.events(),
            None => self.page(path).await.map(Either::Left),
        };
        let policy = (path == "/").then(|| security_policy(true));
        guard::harden(response.headers_mut(), policy);
        response
    }
}

impl Desk {
    /// Why a request has no answer, if so.
    fn refusal(&self, request: &Request<Incoming>) -> Option<Response<Full<Bytes>>> {
        let tells_workloads = match request.uri().path() {
            "/metrics" | "/healthz" | "/readyz" => false,
            "/" | "/v1/policy" | "/v1/report" | "/v1/events" => true,
            _ => return Some(say(StatusCode::NOT_FOUND, PAGES.to_owned())),
        };
        // Proxies that stand before the metrics pass on the name by which they were asked.
        if tells_workloads && self.is_loopback && guard::is_foreign(request.headers()) {
            let text = "ask for localhost or a loopback address: --listen is for this machine";
            return Some(say(StatusCode::MISDIRECTED_REQUEST, text.to_owned()));
        }
        only_reads(request)
    }

    async fn page(&self, path: &str) -> Response<Full<Bytes>> {
        match path {
            "/" => {
                let html = |report: &Report| report.live_html(EVENTS).ok();
                self.report("text/html; charset=utf-8", html).await
            }
            "/healthz" => http::health(),
            "/readyz" => self.readyz(),
            "/metrics" => self.ask(Question::Metrics, exposition::CONTENT_TYPE).await,
            "/v1/report" => {
                let json = |report: &Report| report.json().ok();
                self.report("application/json", json).await
            }
            _ => self.ask(Question::Policy, "application/json").await,
        }
    }

    fn readyz(&self) -> Response<Full<Bytes>> {
        let reasons = self.readiness.reasons();
        match reasons.is_empty() {
            true => say(StatusCode::OK, "ready".to_owned()),
            false => say(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n")),
        }
    }

    fn events(&self) -> Response<Content> {
        let Some(feed) = self.events.join() else {
            let text = "too many listen already; close a page".to_owned();
            return say(StatusCode::SERVICE_UNAVAILABLE, text).map(Either::Left);
        };
        let mut response = Response::new(Either::Right(feed));
        let kind = HeaderValue::from_static(events::CONTENT_TYPE);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }

    async fn ask(
        &self,
        question: impl FnOnce(oneshot::Sender<String>) -> Question,
        kind: &'static str,
    ) -> Response<Full<Bytes>> {
        match self.questions.ask(question).await {
            Ok(text) => content(kind, text),
            Err(why) => unanswered(why),
        }
    }

    /// The report, made a text beside the loop that judges.
    async fn report(
        &self,
        kind: &'static str,
        make: impl FnOnce(&Report) -> Option<String> + Send + 'static,
    ) -> Response<Full<Bytes>> {
        let report = match self.questions.ask(Question::Report).await {
            Ok(report) => report,
            Err(why) => return unanswered(why),
        };
        let making = tokio::task::spawn_blocking(move || make(&report));
        match making.await {
            Ok(Some(text)) => content(kind, text),
            _ => say(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the report cannot be written".to_owned(),
            ),
        }
    }
}

fn unanswered(why: Unanswered) -> Response<Full<Bytes>> {
    say(StatusCode::SERVICE_UNAVAILABLE, why.describe().to_owned())
}
