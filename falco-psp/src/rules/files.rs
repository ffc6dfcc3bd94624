//! Rules files on disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::input;

/// Why files cannot be looked at.
#[derive(Debug, Error)]
pub enum ReadError {
    /// One cannot be read.
    #[error("cannot read {}: {why}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// A folder has no rules files.
    #[error("{} has no files *.yaml or *.yml", .0.display())]
    Empty(PathBuf),
}

/// A rules file: its name as the user gave it, and its text.
pub type RulesFile = (Arc<str>, String);

/// Reads files in their order; of a folder its files `*.yaml` and `*.yml` by name.
///
/// # Errors
/// A file cannot be read, or a folder has none.
pub fn read_files(paths: &[PathBuf]) -> Result<Vec<RulesFile>, ReadError> {
    let mut files = Vec::new();
    for path in paths {
        let all = match path.is_dir() {
            true => folder(path)?,
            false => vec![path.clone()],
        };
        for path in all {
            let text = input::read_text(&path).map_err(|why| ReadError::Read {
                path: path.clone(),
                why,
            })?;
            files.push((Arc::from(path.display().to_string()), text));
        }
    }
    Ok(files)
}

fn folder(path: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let read = |why| ReadError::Read {
        path: path.to_path_buf(),
        why,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let is_yaml = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
        if is_yaml && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    match files.is_empty() {
        true => Err(ReadError::Empty(path.to_path_buf())),
        false => Ok(files),
    }
}
