//! Calls of gRPC over a unix socket: HTTP/2 with one message each way, no more.
//!
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>

use std::io;
use std::path::Path;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request, StatusCode};
use prost::Message;
use thiserror::Error;
use tokio::net::UnixStream;

/// The longest answer that is taken: those of runtimes have some ten kilobytes.
const MAX_ANSWER: usize = 4 << 20;
/// Before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// `NOT_FOUND` of gRPC.
const NOT_FOUND: i32 = 5;

/// Why a call failed.
#[derive(Debug, Error)]
pub enum CallError {
    /// The socket is not there, or nobody listens.
    #[error("cannot connect: {0}")]
    Connect(#[from] io::Error),
    /// The connection broke, or the other side speaks no HTTP/2.
    #[error(transparent)]
    Http2(#[from] h2::Error),
    /// The other side knows nothing of that name.
    #[error("not found: {0}")]
    NotFound(String),
    /// The other side refuses.
    #[error("refused with status {status}: {message}")]
    Refused {
        /// The code of gRPC.
        status: i32,
        /// In the other side's words.
        message: String,
    },
    /// The answer is not what gRPC or the interface defines.
    #[error("answer makes no sense: {0}")]
    Nonsense(String),
}

/// A connection. Clones share it; each call is a stream of its own.
#[derive(Clone, Debug)]
pub struct Connection {
    sender: SendRequest<Bytes>,
}

impl Connection {
    /// Connects to a unix socket. The connection is kept up by a task of the current runtime, until
    /// the last clone is gone.
    ///
    /// # Errors
    /// Nobody listens there.
    pub async fn open(socket: &Path) -> Result<Self, CallError> {
        let stream = UnixStream::connect(socket).await?;
        let (sender, connection) = h2::client::handshake(stream).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the container runtime ended");
            }
        });
        Ok(Self { sender })
    }

    /// Calls a method, such as `/runtime.v1.RuntimeService/Version`.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call<T: Message + Default>(
        &self,
        method: &str,
        question: &impl Message,
    ) -> Result<T, CallError> {
        let nonsense = |error: &dyn std::fmt::Display| CallError::Nonsense(error.to_string());
        let request = Request::post(format!("http://localhost{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .map_err(|error| nonsense(&error))?;
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut body) = sender.send_request(request, false)?;
        body.send_data(frame(question), true)?;
        let response = response.await?;
        if response.status() != StatusCode::OK {
            return Err(nonsense(&format_args!("HTTP status {}", response.status())));
        }
        // An error without a body has its status in the headers.
        status(response.headers())?;
        let mut stream = response.into_body();
        let mut answer = BytesMut::new();
        while let Some(part) = stream.data().await {
            let part = part?;
            if answer.len() + part.len() > MAX_ANSWER {
                return Err(nonsense(&format_args!("longer than {MAX_ANSWER} bytes")));
            }
            stream.flow_control().release_capacity(part.len())?;
            answer.extend_from_slice(&part);
        }
        let trailers = stream.trailers().await?;
        match &trailers {
            Some(trailers) => status(trailers)?,
            None => return Err(nonsense(&"it ends before its status")),
        }
        T::decode(unframe(answer.freeze())?).map_err(|error| nonsense(&error))
    }
}

/// A message with the prefix of gRPC.
fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(PREFIX + length);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    framed.put_slice(&message.encode_to_vec());
    framed.freeze()
}

/// The one message of an answer.
fn unframe(mut answer: Bytes) -> Result<Bytes, CallError> {
    let nonsense = |what: &str| Err(CallError::Nonsense(what.to_owned()));
    if answer.len() < PREFIX {
        return nonsense("no whole message");
    }
    let compressed = answer.get_u8();
    let length = answer.get_u32();
    if compressed != 0 {
        return nonsense("a compressed message, which was not asked for");
    }
    if usize::try_from(length) != Ok(answer.len()) {
        return nonsense("a message of another length than it says");
    }
    Ok(answer)
}

/// What the status says; without one all is well so far.
fn status(headers: &HeaderMap) -> Result<(), CallError> {
    let Some(code) = headers.get("grpc-status") else {
        return Ok(());
    };
    let code = code.to_str().ok().and_then(|code| code.parse::<i32>().ok());
    let message = headers.get("grpc-message");
    let message = message.and_then(|message| message.to_str().ok());
    let message = message.unwrap_or_default().to_owned();
    match code {
        Some(0) => Ok(()),
        Some(NOT_FOUND) => Err(CallError::NotFound(message)),
        Some(status) => Err(CallError::Refused { status, message }),
        None => Err(CallError::Nonsense("a status that is no number".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_must_be_one_whole_message() {
        assert_eq!(
            unframe(Bytes::from_static(b"\0\0\0\0\x02ab")).unwrap(),
            "ab"
        );
        for bad in [
            &b""[..],
            b"\0\0\0",
            b"\0\0\0\0\x03ab",
            b"\0\0\0\0\x01ab",
            b"\x01\0\0\0\x02ab",
        ] {
            assert!(unframe(Bytes::copy_from_slice(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_status_is_read() {
        let with = |code: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", code.parse().unwrap());
            status(&headers)
        };
        assert!(status(&HeaderMap::new()).is_ok());
        assert!(with("0").is_ok());
        assert!(matches!(with("5"), Err(CallError::NotFound(_))));
        assert!(matches!(
            with("14"),
            Err(CallError::Refused { status: 14, .. })
        ));
        assert!(matches!(with("x"), Err(CallError::Nonsense(_))));
    }
}
