//! An HTTP server within bounds: what the audit webhook and the status pages share.

mod stalled;

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use stalled::Impatient;

/// How long to wait when no connection can be accepted, as when files run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Buffer of a connection for headers.
const HEADER_BUFFER: usize = 64 << 10;
/// How long a client may take nothing of its answer.
const WRITE_TIME: Duration = Duration::from_secs(30);

/// What answers requests.
pub(crate) trait Answer: Send + Sync + 'static {
    /// What answers have in them.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;

    /// The answer to one request.
    fn answer(
        &self,
        request: Request<Incoming>,
        client: SocketAddr,
    ) -> impl Future<Output = Response<Self::Body>> + Send;

    /// Takes note of a TLS handshake that failed.
    fn handshake_failed(&self) {}
}

/// What connections may take up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Connections at once; more wait until one ends.
    pub(crate) connections: usize,
    /// Time for the TLS handshake.
    pub(crate) handshake_time: Duration,
    /// Time for the header of a request; also how long an idle connection is kept.
    pub(crate) header_time: Duration,
    /// Whether a client that sent all and then closes its side still gets its answer. Else it has
    /// gone, which is known at once.
    pub(crate) half_close: bool,
    /// Time for the requests in flight at the end.
    pub(crate) grace: Duration,
}

/// Serves until `shutdown`; then accepts nothing more and ends the requests in flight.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    bounds: Bounds,
    desk: impl Answer,
    shutdown: impl Future<Output = ()>,
) {
    let (stop, stopped) = watch::channel(false);
    let places = Arc::new(Semaphore::new(bounds.connections));
    let desk = Arc::new(desk);
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let next = async {
            // The semaphore is never closed.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            () = &mut shutdown => break,
            next = next => next,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, client)) => {
                let connection = Connection {
                    desk: Arc::clone(&desk),
                    bounds,
                    client,
                    stopped: stopped.clone(),
                };
                let tls = tls.clone();
                connections.spawn(async move {
                    connection.serve(stream, tls).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    // Fails only when there is no connection to be told.
    let _ = stop.send(true);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(bounds.grace, all).await.is_err() {
        tracing::warn!("requests were still in flight at the end; they are not acknowledged");
    }
}

struct Connection<D> {
    desk: Arc<D>,
    bounds: Bounds,
    client: SocketAddr,
    stopped: watch::Receiver<bool>,
}

impl<D: Answer> Connection<D> {
    async fn serve(mut self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        let Some(tls) = tls else {
            return self.http(stream).await;
        };
        let handshake = tokio::time::timeout(self.bounds.handshake_time, tls.accept(stream));
        let result = tokio::select! {
            result = handshake => result,
            _ = self.stopped.wait_for(|stopped| *stopped) => return,
        };
        match result {
            Ok(Ok(stream)) => self.http(stream).await,
            failed => {
                self.desk.handshake_failed();
                let error = match failed {
                    Ok(Err(error)) => error.to_string(),
                    _ => "it took too long".to_owned(),
                };
                tracing::warn!(client = %self.client, %error, "TLS handshake failed");
            }
        }
    }

    async fn http(mut self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let (desk, client) = (&self.desk, self.client);
        let service =
            service_fn(
                |request| async move { Ok::<_, Infallible>(desk.answer(request, client).await) },
            );
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.bounds.header_time)
            .max_buf_size(HEADER_BUFFER)
            .half_close(self.bounds.half_close)
            .serve_connection(TokioIo::new(Impatient::new(stream, WRITE_TIME)), service);
        tokio::pin!(connection);
        // The guard that this gives must not be kept while the connection goes on.
        let stopped = async { drop(self.stopped.wait_for(|stopped| *stopped).await) };
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = stopped => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%client, %error, "connection ended");
        }
    }
}

/// A body with its type.
pub(crate) fn content(kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A line of text.
pub(crate) fn say(status: StatusCode, mut text: String) -> Response<Full<Bytes>> {
    text.push('\n');
    let mut response = content("text/plain; charset=utf-8", text);
    *response.status_mut() = status;
    response
}

/// The same answer, with the methods that would be right.
pub(crate) fn allowing(
    mut response: Response<Full<Bytes>>,
    methods: &'static str,
) -> Response<Full<Bytes>> {
    let methods = HeaderValue::from_static(methods);
    response.headers_mut().insert(header::ALLOW, methods);
    response
}

/// The refusal of a request for a page that can only be read, if it does something else.
pub(crate) fn only_reads<B>(request: &Request<B>) -> Option<Response<Full<Bytes>>> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    (!reads).then(|| {
        let text = format!("{} is for GET", request.uri().path());
        allowing(say(StatusCode::METHOD_NOT_ALLOWED, text), "GET, HEAD")
    })
}

/// The server lives.
pub(crate) fn health() -> Response<Full<Bytes>> {
    content("application/json", "{\"status\": \"ok\"}")
}
