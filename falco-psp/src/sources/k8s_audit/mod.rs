//! Kubernetes audit events: from a log file or from the API server's webhook.
//!
//! Both sources give [`Batch`]es: a piece of input with the places of the events in it. Nothing
//! is parsed until [`triage::triage`] has found that an event can be judged.

pub mod batch;
pub mod body;
pub mod counts;
pub mod decode;
mod document;
pub mod file;
mod frames;
mod tls;
pub mod triage;
pub mod webhook;
mod webhook_body;

pub use batch::Batch;
