//! Requests to an API server, each on a connection of its own: there are few.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::config::{Access, ConfigError};

/// How long a connection, or the head of an answer, may take.
const HEAD_TIME: Duration = Duration::from_millis(if cfg!(test) { 400 } else { 15_000 });
/// What an answer that is no list may have, such as the text of an error.
const MAX_ERROR: usize = 64 << 10;
/// How many characters of a plain text are told.
const MAX_WORDS: usize = 300;
/// What a page, an event or a report of a pod may have. An object has 1.5 MiB at the most, which is etcd's bound.
const MAX_BODY: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum AskError {
    /// What is needed to ask cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no connection, or it broke.
    #[error("{0}")]
    Broken(String),
    /// Nothing came in time.
    #[error("no answer in time")]
    Silent,
    /// The server refuses.
    #[error("{status}{}{message}", if .message.is_empty() { "" } else { ": " })]
    Refused {
        /// The status of HTTP.
        status: StatusCode,
        /// The server's words.
        message: String,
    },
    /// The answer makes no sense.
    #[error("the answer makes no sense: {0}")]
    Nonsense(String),
}

/// The part of a `Status` that says what is wrong.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) code: u16,
    pub(super) message: String,
}

/// An answer whose body is still to come.
pub(super) struct Answer {
    body: Incoming,
    buffer: BytesMut,
    /// Ends the connection with the answer.
    _connection: Aborted,
}

struct Aborted(AbortHandle);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Asks for `path`, which begins with a slash.
pub(super) async fn get(access: &Access, path: &str) -> Result<Answer, AskError> {
    timeout(HEAD_TIME, ask(access, path))
        .await
        .unwrap_or(Err(AskError::Silent))
}

/// Asks for the whole of what is at `path`, which begins with a slash, and takes `time` at the most.
pub(crate) async fn fetch(access: &Access, path: &str, time: Duration) -> Result<Bytes, AskError> {
    timeout(time, async { ask(access, path).await?.body().await })
        .await
        .unwrap_or(Err(AskError::Silent))
}

/// A segment of a path, or a value of a query.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            // Writing to a string cannot fail.
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
    }
    escaped
}

async fn ask(access: &Access, path: &str) -> Result<Answer, AskError> {
    let broken = |why: &dyn std::fmt::Display| AskError::Broken(why.to_string());
    let (mut sender, connection) = connect(access).await.map_err(|why| broken(&why))?;
    let prefix = access.server.path.trim_end_matches('/');
    let mut request = Request::get(format!("{prefix}{path}"))
        .header(HOST, &access.server.authority)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("falco-psp/", env!("CARGO_PKG_VERSION")));
    if let Some(token) = &access.token {
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.text()?))
            .map_err(|_| AskError::Broken("the token is no text for a header".to_owned()))?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    let request = request.body(Empty::new()).map_err(|why| broken(&why))?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(|why| broken(&why))?;
    let status = answer.status();
    let kind = answer.headers().get(CONTENT_TYPE);
    let is_plain = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    let mut answer = Answer {
        body: answer.into_body(),
        buffer: BytesMut::new(),
        _connection: connection,
    };
    if status.is_success() {
        return Ok(answer);
    }
    let body = answer.whole(MAX_ERROR).await.unwrap_or_default();
    let told: Status = serde_json::from_slice(&body).unwrap_or_default();
    // What is behind the API server, as a pod, may say it in plain words.
    let message = match told.message.is_empty() && is_plain {
        true => one_line(&String::from_utf8_lossy(&body)),
        false => told.message,
    };
    Err(AskError::Refused { status, message })
}

/// A text of a few lines as one of a bearable length.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(MAX_WORDS).collect()
}

async fn connect(access: &Access) -> io::Result<(SendRequest<Empty<Bytes>>, Aborted)> {
    let address = (access.server.host.as_str(), access.server.port);
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    match &access.tls {
        None => handshake(stream).await,
        Some(tls) => {
            let name =
                ServerName::try_from(access.server.host.clone()).map_err(io::Error::other)?;
            let connector = TlsConnector::from(tls.client().map_err(io::Error::other)?);
            handshake(connector.connect(name, stream).await?).await
        }
    }
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> io::Result<(SendRequest<Empty<Bytes>>, Aborted)> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // What goes wrong with it, the sender and the body tell.
    let task = tokio::spawn(async move { drop(connection.await) });
    Ok((sender, Aborted(task.abort_handle())))
}

impl Answer {
    /// The whole body.
    pub(super) async fn body(mut self) -> Result<Bytes, AskError> {
        self.whole(MAX_BODY).await
    }

    async fn whole(&mut self, most: usize) -> Result<Bytes, AskError> {
        while self.more(most).await? {}
        Ok(self.buffer.split().freeze())
    }

    /// The next line of a body without end, without its line break; `None` at its end. May be
    /// dropped at any time.
    pub(super) async fn line(&mut self) -> Result<Option<Bytes>, AskError> {
        let mut searched = 0;
        loop {
            let rest = self.buffer.get(searched..).unwrap_or_default();
            if let Some(at) = memchr::memchr(b'\n', rest) {
                let mut line = self.buffer.split_to(searched + at + 1);
                line.truncate(searched + at);
                return Ok(Some(line.freeze()));
            }
            searched = self.buffer.len();
            if !self.more(MAX_BODY).await? {
                // The rest of a line whose end did not come is worth nothing.
                return Ok(None);
            }
        }
    }

    /// Takes more of the body; whether there was more.
    async fn more(&mut self, most: usize) -> Result<bool, AskError> {
        let frame = match timeout(HEAD_TIME * 8, self.body.frame()).await {
            Err(_) => return Err(AskError::Silent),
            Ok(None) => return Ok(false),
            Ok(Some(frame)) => frame.map_err(|why| AskError::Broken(why.to_string()))?,
        };
        if let Ok(data) = frame.into_data() {
            if self.buffer.len() + data.len() > most {
                return Err(AskError::Nonsense(format!("more than {most} bytes")));
            }
            self.buffer.extend_from_slice(&data);
        }
        Ok(true)
    }
}
