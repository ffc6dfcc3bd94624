//! Reading a recording, up to where it was cut if it was.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use serde::Deserialize as _;
use thiserror::Error;

use super::frame::{Frame, Start, VERSION};

/// No line is longer: more than a whole batch of audit events.
const LONGEST: u64 = 256 << 20;

/// Why a recording cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("cannot read {}: {why}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// It is something else.
    #[error("{} is no recording of falco-psp: {why}", .path.display())]
    NotOne {
        /// The file.
        path: PathBuf,
        /// What shows it.
        why: String,
    },
    /// It is from a later version of the program.
    #[error("{} is a recording of version {version}, and this falco-psp reads up to {VERSION}: take a newer one", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its format.
        version: u64,
    },
    /// A line makes no sense.
    #[error("{}:{line}: {why}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line of the uncompressed recording, from 1.
        line: u64,
        /// What is wrong.
        why: String,
    },
}

/// A recording that is being read.
pub struct Reader {
    path: PathBuf,
    lines: BufReader<MultiGzDecoder<BufReader<File>>>,
    text: Vec<u8>,
    line: u64,
    /// What the recording is of.
    pub start: Start,
    /// Why it ends before its end, if it does.
    pub cut: Option<String>,
}

impl Reader {
    /// Opens a recording.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let read = |why| ReadError::Read {
            path: path.to_owned(),
            why,
        };
        let not_one = |why: &str| ReadError::NotOne {
            path: path.to_owned(),
            why: why.to_owned(),
        };
        let file = File::open(path).map_err(read)?;
        let metadata = file.metadata().map_err(read)?;
        if metadata.is_dir() {
            return Err(not_one("it is a folder"));
        }
        if metadata.is_file() && metadata.len() == 0 {
            return Err(not_one("it is empty"));
        }
        let mut reader = Self {
            path: path.to_owned(),
            lines: BufReader::new(MultiGzDecoder::new(BufReader::new(file))),
            text: Vec::new(),
            line: 0,
            start: Start {
                falco_psp_recording: VERSION,
                program: String::new(),
                time_ns: 0,
                sources: Vec::new(),
                made_by: None,
            },
            cut: None,
        };
        if !reader.next_line()? {
            let why = reader.cut.take();
            return Err(not_one(why.as_deref().unwrap_or("it has no line")));
        }
        let line: serde_json::Value = serde_json::from_slice(&reader.text)
            .map_err(|_| not_one("its first line is no JSON"))?;
        let start = &line["start"];
        match start["falco_psp_recording"].as_u64() {
            Some(version) if version <= u64::from(VERSION) => {}
            Some(version) => {
                return Err(ReadError::Newer {
                    path: path.to_owned(),
                    version,
                });
            }
            None => return Err(not_one("its first line does not say so")),
        }
        reader.start = Start::deserialize(start).map_err(|why| not_one(&why.to_string()))?;
        Ok(reader)
    }

    /// The next frame; `None` at the end.
    ///
    /// # Errors
    /// A line makes no sense. What follows can still be read.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, ReadError> {
        if !self.next_line()? {
            return Ok(None);
        }
        let frame = serde_json::from_slice(&self.text);
        frame.map(Some).map_err(|why| ReadError::Line {
            path: self.path.clone(),
            line: self.line,
            why: why.to_string(),
        })
    }

    /// Reads a line; false at the end.
    fn next_line(&mut self) -> Result<bool, ReadError> {
        self.text.clear();
        if self.cut.is_some() {
            return Ok(false);
        }
        let mut lines = self.lines.by_ref().take(LONGEST);
        let read = lines.read_until(b'\n', &mut self.text);
        let why = match read {
            Ok(0) => return Ok(false),
            Ok(_) if self.text.ends_with(b"\n") => {
                self.line += 1;
                return Ok(true);
            }
            Ok(_) if self.text.len() as u64 == LONGEST => "it has an overlong line".to_owned(),
            Ok(_) => "it was cut".to_owned(),
            Err(error) => match error.kind() {
                io::ErrorKind::UnexpectedEof => "it was cut".to_owned(),
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                    format!("it is damaged after line {}: {error}", self.line)
                }
                _ => {
                    return Err(ReadError::Read {
                        path: self.path.clone(),
                        why: error,
                    });
                }
            },
        };
        self.cut = Some(why);
        Ok(false)
    }
}
