//! Whether a program is statically linked, and so runs in an empty root file system.

use std::{fs, path::Path};

const PT_INTERP: u32 = 3;

/// Whether the file is a 64-bit ELF program that asks for no dynamic loader.
pub(crate) fn is_static(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| has_no_interpreter(&bytes) == Some(true))
}

fn has_no_interpreter(elf: &[u8]) -> Option<bool> {
    // e_ident: magic, then class 2 (64 bits) and data 1 (little-endian).
    if elf.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let table = usize::try_from(u64::from_le_bytes(*elf.get(32..)?.first_chunk()?)).ok()?;
    let size = usize::from(u16::from_le_bytes(*elf.get(54..)?.first_chunk()?));
    let count = usize::from(u16::from_le_bytes(*elf.get(56..)?.first_chunk()?));
    for index in 0..count {
        let header = elf.get(table.checked_add(index * size)?..)?;
        if u32::from_le_bytes(*header.first_chunk()?) == PT_INTERP {
            return Some(false);
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_elf_file_is_not_static() {
        assert_eq!(has_no_interpreter(b"#!/bin/sh\n"), None);
        assert_eq!(has_no_interpreter(b"\x7fELF\x02\x01"), None);
    }

    #[test]
    fn this_test_program_asks_for_a_loader() {
        let me = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(has_no_interpreter(&me), Some(false));
    }
}
