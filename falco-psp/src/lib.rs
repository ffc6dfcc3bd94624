//! falco-psp shows what a Kubernetes PodSecurityPolicy would break before anyone enforces it.
//!
//! The policy becomes Falco rules, and these judge what the pods of a node really do. The data
//! goes one way: `sources` give events, `context` adds the container, `rules` judge, `outputs`
//! tell.

#[macro_use]
mod say;

pub mod agent;
pub mod audit;
pub mod check;
pub mod cli;
pub mod collect;
pub mod compare;
pub mod config;
pub mod container;
pub mod context;
pub mod control;
pub mod convert;
pub mod declared;
pub mod diagnostic;
pub mod doctor;
pub mod event;
pub mod explain;
pub mod fields;
mod http;
mod input;
pub mod listen;
pub mod memory;
pub mod mend;
pub mod needs;
pub mod observed;
pub mod outputs;
pub mod own_rules;
pub mod pod;
pub mod policies;
pub mod privileges;
pub mod psp;
pub mod recording;
pub mod reload;
pub mod report;
pub mod rules;
pub mod selector;
pub mod sources;
pub mod validate;
pub mod watch;
pub mod yaml;
