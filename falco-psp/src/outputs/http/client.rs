//! One connection to a receiver, kept alive, on which alerts are posted one after the other.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::super::target::Url;

/// An answer that is longer is not read to its end, and its connection not used again.
const MAX_ANSWER: usize = 64 << 10;

/// What became of a post.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The receiver has the alert.
    Accepted,
    /// The receiver refuses this alert, and would again.
    Refused(StatusCode),
    /// The receiver has certainly not taken it.
    NotTaken(String),
    /// The receiver may have taken it.
    Unclear(String),
}

/// A client of one receiver.
#[derive(Debug)]
pub(super) struct Client {
    url: Url,
    tls: Option<Arc<ClientConfig>>,
    timeout: Duration,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    pub(super) fn new(url: Url, tls: Option<Arc<ClientConfig>>, timeout: Duration) -> Self {
        Self {
            url,
            tls,
            timeout,
            connection: None,
        }
    }

    /// Posts an alert.
    pub(super) async fn post(&mut self, alert: Bytes) -> Outcome {
        // Of a connection that was kept it may show only now that the receiver has closed it.
        if let Some(kept) = self.connection.take()
            && let Some(outcome) = self.post_on(kept, alert.clone()).await
        {
            return outcome;
        }
        let connection = match timeout(self.timeout, self.connect()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(why)) => return Outcome::NotTaken(format!("cannot connect: {why}")),
            Err(_) => return Outcome::NotTaken("cannot connect: no answer in time".to_owned()),
        };
        let outcome = self.post_on(connection, alert).await;
        outcome.unwrap_or_else(|| Outcome::NotTaken("the connection was closed".to_owned()))
    }

    /// Posts on a connection; `None` if that turned out to be closed before anything was sent.
    async fn post_on(
        &mut self,
        mut connection: SendRequest<Full<Bytes>>,
        alert: Bytes,
    ) -> Option<Outcome> {
        let request = Request::post(&self.url.path)
            .header(HOST, &self.url.authority)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("falco-psp/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(alert));
        let request = match request {
            Ok(request) => request,
            Err(why) => return Some(Outcome::NotTaken(why.to_string())),
        };
        if !matches!(timeout(self.timeout, connection.ready()).await, Ok(Ok(()))) {
            return None;
        }
        let answered = timeout(self.timeout, async {
            let answer = connection.try_send_request(request).await;
            let answer = answer.map_err(|mut error| {
                let unsent = error.take_message().is_some();
                (unsent, error.into_error())
            })?;
            Ok((answer.status(), read(answer).await))
        });
        match answered.await {
            Err(_) => Some(Outcome::Unclear("no answer in time".to_owned())),
            Ok(Err((true, _))) => None,
            Ok(Err((false, why))) => Some(Outcome::Unclear(format!("no answer: {why}"))),
            Ok(Ok((status, whole))) => {
                self.connection = whole.then_some(connection);
                Some(Outcome::of(status))
            }
        }
    }

    async fn connect(&self) -> io::Result<SendRequest<Full<Bytes>>> {
        let address = (self.url.host.as_str(), self.url.port);
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => handshake(stream).await,
            Some(config) => {
                let name = ServerName::try_from(self.url.host.clone()).map_err(io::Error::other)?;
                let connector = TlsConnector::from(Arc::clone(config));
                handshake(connector.connect(name, stream).await?).await
            }
        }
    }
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> io::Result<SendRequest<Full<Bytes>>> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // What goes wrong with it, the sender tells.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// Reads an answer to its end; whether it did, so that the connection can be used again.
async fn read(answer: Response<Incoming>) -> bool {
    let body = Limited::new(answer.into_body(), MAX_ANSWER);
    body.collect().await.is_ok()
}

impl Outcome {
    fn of(status: StatusCode) -> Self {
        let told = format!("the receiver answers {status}");
        match status {
            status if status.is_success() => Self::Accepted,
            StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::UNPROCESSABLE_ENTITY => Self::Refused(status),
            StatusCode::SERVICE_UNAVAILABLE => Self::NotTaken(told),
            // It, or what is behind it, may have failed after it had taken the alert.
            status if status.is_server_error() => Self::Unclear(told),
            // What an operator can set right: a path, a token, a proxy.
            _ => Self::NotTaken(told),
        }
    }
}
