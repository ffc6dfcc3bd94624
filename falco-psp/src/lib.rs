//! falco-psp shows what a Kubernetes PodSecurityPolicy would break before anyone enforces it.
//!
//! The policy becomes Falco rules, and these judge what the pods of a node really do. The data
//! goes one way: `sources` give events, `context` adds the container, `rules` judge, `outputs`
//! tell.

pub mod container;
pub mod context;
pub mod control;
pub mod convert;
pub mod diagnostic;
pub mod event;
pub mod fields;
pub mod psp;
pub mod rules;
pub mod sources;
pub mod yaml;
