//! Where alerts go.

pub mod alert;
pub mod stdout;
