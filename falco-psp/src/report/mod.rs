//! What a run found.

pub mod declared;
pub mod summary;
pub mod tally;
