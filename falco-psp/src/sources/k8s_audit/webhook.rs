//! The API server's audit webhook: `POST /k8s-audit`.
//!
//! A request is answered with 200 when its events are in the hands of the receiver, and not
//! before. What is not acknowledged, the API server sends again.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::batch::Batch;
pub use super::tls::{TlsError, TlsFiles};
use super::webhook_body::{self, Memory, Refusal};
use crate::http::{self, Answer, Bounds, allowing, say};

/// Where events are posted to.
pub const PATH: &str = "/k8s-audit";
/// Where one asks whether the server lives.
pub const HEALTH_PATH: &str = "/healthz";

/// Why there is no webhook.
#[derive(Debug, Error)]
pub enum WebhookError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {why}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        why: io::Error,
    },
    /// Anyone on the way could read or forge the events.
    #[error(
        "refusing plain HTTP on {0}, which other machines can reach: give --audit-tls-cert and \
         --audit-tls-key, or --audit-insecure-http if the way there is safe"
    )]
    Plain(SocketAddr),
    /// TLS cannot be had.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// How to listen.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address; port 0 is any free one.
    pub address: SocketAddr,
    /// TLS, or plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Whether plain HTTP may be had from other machines as well.
    pub insecure_http: bool,
    /// The bounds.
    pub limits: Limits,
}

impl Config {
    /// Plain HTTP on `address`, with the usual bounds.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            tls: None,
            insecure_http: false,
            limits: Limits::default(),
        }
    }
}

/// What clients may take up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one body, before and after inflating.
    pub body: usize,
    /// Bytes of all bodies that were not yet dealt with.
    pub memory: usize,
    /// Connections at once; more wait until one ends.
    pub connections: usize,
    /// Time for the TLS handshake.
    pub handshake_time: Duration,
    /// Time for the header of a request; also how long an idle connection is kept.
    pub header_time: Duration,
    /// Time for the body of a request.
    pub body_time: Duration,
    /// Time for the requests in flight at the end.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 64 << 20,
            memory: 256 << 20,
            connections: 2_048,
            handshake_time: Duration::from_secs(10),
            header_time: Duration::from_secs(20),
            body_time: Duration::from_secs(30),
            grace: Duration::from_secs(10),
        }
    }
}

/// What came in.
#[derive(Debug, Default)]
pub struct Stats {
    /// Requests that were acknowledged.
    pub accepted: AtomicU64,
    /// Events in them.
    pub events: AtomicU64,
    /// Bodies that were no audit events: malformed, cut off, or of another type.
    pub malformed: AtomicU64,
    /// Bodies over the limit.
    pub too_long: AtomicU64,
    /// Bodies that did not come in time.
    pub timed_out: AtomicU64,
    /// Requests put off, as there was no memory or no receiver; the API server sends them again.
    pub put_off: AtomicU64,
    /// TLS handshakes that failed.
    pub handshakes_failed: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A webhook that listens.
pub struct Webhook {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    limits: Limits,
    stats: Arc<Stats>,
}

impl Webhook {
    /// Listens. Connections wait until [`Self::serve`].
    ///
    /// # Errors
    /// The address is not free, is not to be used without TLS, or the TLS files are of no use.
    pub async fn bind(config: &Config) -> Result<Self, WebhookError> {
        let address = config.address;
        if config.tls.is_none() && !config.insecure_http && !address.ip().is_loopback() {
            return Err(WebhookError::Plain(address));
        }
        let tls = config.tls.as_ref().map(super::tls::server).transpose()?;
        let listen = |why| WebhookError::Listen { address, why };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        Ok(Self {
            address: listener.local_addr().map_err(listen)?,
            listener,
            tls: tls.map(TlsAcceptor::from),
            limits: config.limits,
            stats: Arc::default(),
        })
    }

    /// The address, with the port that was found.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What came in so far; to be kept for the end.
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// Serves until `shutdown`; then accepts nothing more and ends the requests in flight.
    ///
    /// The receiver has to go on receiving until the channel is closed: all that was
    /// acknowledged is in it.
    pub async fn serve(self, sender: mpsc::Sender<Batch>, shutdown: impl Future<Output = ()>) {
        let limits = self.limits;
        let desk = Desk {
            sender,
            memory: Memory::new(limits.memory),
            limits,
            stats: self.stats,
        };
        let bounds = Bounds {
            connections: limits.connections,
            handshake_time: limits.handshake_time,
            header_time: limits.header_time,
            half_close: true,
            grace: limits.grace,
        };
        http::serve(self.listener, self.tls, bounds, desk, shutdown).await;
    }
}

/// What all connections share.
struct Desk {
    sender: mpsc::Sender<Batch>,
    memory: Memory,
    limits: Limits,
    stats: Arc<Stats>,
}

impl Answer for Desk {
    type Body = Full<Bytes>;

    async fn answer(
        &self,
        request: Request<Incoming>,
        client: SocketAddr,
    ) -> Response<Full<Bytes>> {
        match request.uri().path() {
            PATH => {}
            HEALTH_PATH => {
                return match http::only_reads(&request) {
                    Some(refused) => refused,
                    None => http::health(),
                };
            }
            _ => {
                return say(
                    StatusCode::NOT_FOUND,
                    format!("post audit events to {PATH}"),
                );
            }
        }
        if request.method() != Method::POST {
            let text = format!("audit events come by POST, not {}", request.method());
            return allowing(say(StatusCode::METHOD_NOT_ALLOWED, text), "POST");
        }
        let refused = match self.batch(request, client).await {
            Ok(batch) => return self.hand_over(batch).await,
            Err(refused) => refused,
        };
        tracing::warn!(%client, reason = refused.text, "audit request refused");
        let mut response = say(refused.status, refused.text);
        if refused.status == StatusCode::SERVICE_UNAVAILABLE {
            let seconds = HeaderValue::from_static("1");
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        // The rest of the body may still be under way.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
        response
    }

    fn handshake_failed(&self) {
        count(&self.stats.handshakes_failed);
    }
}

impl Desk {
    async fn batch(
        &self,
        request: Request<Incoming>,
        client: SocketAddr,
    ) -> Result<Batch, Refused> {
        let limits = &self.limits;
        let read = async {
            let is_gzip = webhook_body::check_headers(request.headers())?;
            webhook_body::read(
                request.into_body(),
                is_gzip,
                limits.body,
                &self.memory,
                client,
            )
            .await
        };
        let Ok(result) = tokio::time::timeout(limits.body_time, read).await else {
            count(&self.stats.timed_out);
            return Err(Refused {
                status: StatusCode::REQUEST_TIMEOUT,
                text: format!("the body took longer than {:?}", limits.body_time),
            });
        };
        result.map_err(|refusal| self.refuse(refusal))
    }

    fn refuse(&self, refusal: Refusal) -> Refused {
        let stats = &*self.stats;
        let (counter, status, text) = match refusal {
            Refusal::Type(other) => (
                &stats.malformed,
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!("Content-Type has to be application/json, not {other:?}"),
            ),
            Refusal::Encoding(other) => (
                &stats.malformed,
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!("Content-Encoding has to be gzip or none, not {other:?}"),
            ),
            Refusal::TooLong(limit) => (
                &stats.too_long,
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "the body is longer than {limit} bytes; lower --audit-webhook-batch-max-size \
                     of the API server"
                ),
            ),
            Refusal::Cut(error) => (
                &stats.malformed,
                StatusCode::BAD_REQUEST,
                format!("the body is cut off: {error}"),
            ),
            Refusal::Gzip(error) => (
                &stats.malformed,
                StatusCode::BAD_REQUEST,
                format!("the body is no gzip: {error}"),
            ),
            Refusal::Malformed(error) => {
                (&stats.malformed, StatusCode::BAD_REQUEST, error.to_string())
            }
            Refusal::NoMemory => (
                &stats.put_off,
                StatusCode::SERVICE_UNAVAILABLE,
                "too many events at once; send them again".to_owned(),
            ),
        };
        count(counter);
        Refused { status, text }
    }

    /// Hands the events over; only then they are acknowledged.
    async fn hand_over(&self, batch: Batch) -> Response<Full<Bytes>> {
        let events = batch.len() as u64;
        if self.sender.send(batch).await.is_err() {
            count(&self.stats.put_off);
            let text = "falco-psp is ending and takes no more events".to_owned();
            return say(StatusCode::SERVICE_UNAVAILABLE, text);
        }
        count(&self.stats.accepted);
        self.stats.events.fetch_add(events, Ordering::Relaxed);
        Response::new(Full::default())
    }
}

struct Refused {
    status: StatusCode,
    text: String,
}
