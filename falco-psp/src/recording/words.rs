//! Words of a fixed set, which the program holds as such and a recording as text.

use serde::de::{Deserialize as _, Deserializer, Error};

use crate::sources::syscall::calls::{CALLS, FILE_CALLS, OLDER_FILE_CALLS};

/// One of them. By this name, for serde's derive takes what it sees as a reference as borrowed from
/// its input.
pub type Word = &'static str;

/// The name of a recorded system call.
pub(crate) fn call<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Word, D::Error> {
    let files = FILE_CALLS.iter().chain(OLDER_FILE_CALLS);
    let calls = CALLS.iter().chain(files);
    known(deserializer, calls.map(|call| call.name))
}

/// The name of a capability.
pub(crate) fn capability<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Word, D::Error> {
    known(
        deserializer,
        falco_psp_common::capability::NAMES.into_iter(),
    )
}

/// Which way later mounts show on the other side.
pub(crate) fn propagation<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Word, D::Error> {
    known(deserializer, ["private", "rslave", "rshared"].into_iter())
}

fn known<'de, D: Deserializer<'de>>(
    deserializer: D,
    mut words: impl Iterator<Item = Word>,
) -> Result<Word, D::Error> {
    let text = String::deserialize(deserializer)?;
    let word = words.find(|word| *word == text);
    word.ok_or_else(|| D::Error::custom(format!("the word \"{text}\" is not known here")))
}
