//! What a run found.

pub mod answer;
pub mod declared;
pub mod departed;
pub mod summary;
pub mod tally;
pub mod unknown;
