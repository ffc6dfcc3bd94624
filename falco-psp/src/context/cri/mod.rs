//! The Container Runtime Interface (CRI v1): asks the node's container runtime by its unix socket
//! what it knows of a container.

mod facts;
mod grpc;
pub mod lookups;
mod messages;
mod orders;
mod socket;

pub use facts::RuntimeFacts;
pub use grpc::{CallError, Connection};
pub use socket::{Choice, find};
