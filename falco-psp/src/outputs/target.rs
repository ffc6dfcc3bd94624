//! Where alerts can go, as `--output` says it.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// One output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
}

/// What is wrong with an `--output`.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TargetError {
    /// No kind of output.
    #[error("no such output; use stdout")]
    Unknown,
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        match text {
            "stdout" => Ok(Self::Stdout),
            _ => Err(TargetError::Unknown),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
        }
    }
}
