//! Live tests: the real agent beside real containers.
//!
//! `harness` tests the harness alone. The others need the agent.

mod agent;
mod bundle;
mod capable;
#[cfg(target_arch = "x86_64")]
mod compat;
mod confinement;
mod container;
mod containerd;
mod cri_messages;
mod files;
mod harness;
mod image;
mod kernel;
mod ledger;
mod listen;
mod metadata;
mod needs;
mod posture;
mod privileges;
#[path = "../prometheus/mod.rs"]
mod prometheus;
mod recording;
mod runtime;
mod scene;
mod storm;
mod throughput;
mod workload;
