//! Files that the user names, such as policies and manifests: read whole, if they have an end.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// More is no manifest, such as what a device gives: a cluster with 20,000 pods lists them in less.
const MOST: u64 = 256 << 20;

/// Reads a file.
///
/// # Errors
/// It cannot be read, or is too large: says what to do.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_all(File::open(path)?)
}

/// Reads a file that is text.
///
/// # Errors
/// As [`read`]; and it is not UTF-8.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    text(read(path)?)
}

/// Reads what comes from standard input.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_stdin() -> io::Result<Vec<u8>> {
    read_all(io::stdin().lock())
}

/// What was read, as text.
///
/// # Errors
/// It is not UTF-8.
pub(crate) fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let message = format!("it is not UTF-8 text: byte {offset} is wrong");
        io::Error::new(io::ErrorKind::InvalidData, message)
    })
}

fn read_all(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST {
        let message = format!(
            "it has more than {} MiB, or no end: name another, or split it",
            MOST >> 20
        );
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}
