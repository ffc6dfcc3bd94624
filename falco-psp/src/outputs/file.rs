//! Alerts at the end of a file, which is rotated when it is large.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::sink::Sink;

/// When a file is rotated, and what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// A file that would be larger is rotated; 0: none is.
    pub max_size: u64,
    /// How many earlier files are kept.
    pub keep: u32,
}

/// A file of alerts.
#[derive(Debug)]
pub(super) struct AlertFile {
    path: PathBuf,
    rotation: Rotation,
    file: File,
    /// Devices have no length, and are not renamed.
    is_regular: bool,
}

impl AlertFile {
    pub(super) fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        // To open a pipe waits for its reader.
        if fs::metadata(path).is_ok_and(|known| known.file_type().is_fifo()) {
            return Err(io::Error::other("it is a pipe, and should be a file"));
        }
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            // Alerts show command lines.
            .mode(0o640)
            .open(path)?;
        Ok(Self {
            path: path.to_owned(),
            rotation,
            is_regular: file.metadata()?.is_file(),
            file,
        })
    }

    /// `FILE.1` is the latest of the earlier files.
    fn earlier(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..self.rotation.keep).rev() {
            rename_if_there(&self.earlier(number), &self.earlier(number + 1))?;
        }
        rename_if_there(&self.path, &self.earlier(1))?;
        self.reopen()
    }
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(why),
        _ => Ok(()),
    }
}

impl Sink for AlertFile {
    fn write(&mut self, line: &str) -> io::Result<()> {
        let more = line.len() as u64 + 1;
        // Asked anew: logrotate's copytruncate makes it shorter.
        let mut length = self.file.metadata()?.len();
        let max = self.rotation.max_size;
        if max > 0 && self.is_regular && length > 0 && length + more > max {
            self.rotate()
                .map_err(|why| io::Error::new(why.kind(), format!("cannot rotate it: {why}")))?;
            length = self.file.metadata()?.len();
        }
        self.file
            .write_all(format!("{line}\n").as_bytes())
            .or_else(|why| {
                // On a full disk a part of the line may have been written.
                if self.is_regular {
                    self.file.set_len(length)?;
                }
                Err(why)
            })
    }

    fn reopen(&mut self) -> io::Result<()> {
        *self = Self::open(&self.path, self.rotation)?;
        Ok(())
    }
}
