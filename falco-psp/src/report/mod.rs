//! What a run found.

pub mod summary;
pub mod tally;
