//! Where alerts go, by the real program with real files and sockets. The alerts are those of a
//! rule that fires for every request of an audit log.

#![expect(clippy::unwrap_used, reason = "a test says best where it failed")]

mod files;
mod http;
mod receiver;
mod refused;
mod run;
mod syslog;
mod text;
mod tls;
