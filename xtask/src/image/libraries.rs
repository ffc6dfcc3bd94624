//! What a program needs beside it to run: its loader and its shared libraries.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use object::{
    Endianness, elf,
    read::elf::{FileHeader as _, ProgramHeader as _},
};

/// The C library of Linux distributions.
const LIBC: &str = "libc.so.6";
/// Since glibc 2.34 the C library itself looks names up. Before, it loaded further libraries for
/// that, which no program names.
const LOOKS_UP_NAMES: &[u8] = b"_nss_dns_getcanonname_r";

/// The kind of processor that a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Machine {
    X86_64,
    Aarch64,
}

impl Machine {
    /// Its name in an image.
    pub(crate) fn oci_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// Where its loader looks for libraries, on Debian and elsewhere.
    fn folders(self) -> [&'static str; 6] {
        let (own, usr) = match self {
            Self::X86_64 => ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"),
            Self::Aarch64 => ("/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu"),
        };
        [own, usr, "/lib64", "/usr/lib64", "/lib", "/usr/lib"]
    }
}

/// A program with all that it needs.
pub(crate) struct Needed {
    /// What it runs on.
    pub(crate) machine: Machine,
    /// The loader and the libraries: path in the file system, and content.
    pub(crate) files: BTreeMap<PathBuf, Vec<u8>>,
}

/// Finds what the program needs, and what that needs in turn.
pub(crate) fn find(program: &[u8]) -> Result<Needed> {
    let own = Asked::of(program)?;
    let machine = own.machine;
    let mut files = BTreeMap::new();
    if let Some(loader) = own.loader {
        let content = fs::read(&loader)
            .with_context(|| format!("cannot read the loader {}", loader.display()))?;
        files.insert(loader, content);
    }
    let mut wanted = own.libraries;
    while let Some(name) = wanted.pop() {
        if files
            .keys()
            .any(|path| path.file_name() == Some(name.as_ref()))
        {
            continue;
        }
        let (path, content, asked) = library(&name, machine)?;
        if name == LIBC && !contains(&content, LOOKS_UP_NAMES) {
            bail!(
                "{} is older than glibc 2.34: an image with it could not look up names; build on \
                 a newer system",
                path.display()
            );
        }
        files.insert(path, content);
        wanted.extend(asked.libraries);
    }
    Ok(Needed { machine, files })
}

fn library(name: &str, machine: Machine) -> Result<(PathBuf, Vec<u8>, Asked)> {
    for folder in machine.folders() {
        let path = Path::new(folder).join(name);
        let Ok(content) = fs::read(&path) else {
            continue;
        };
        // Elsewhere than on Debian, /lib is for programs of 32 bits.
        if let Ok(asked) = Asked::of(&content)
            && asked.machine == machine
        {
            return Ok((path, content, asked));
        }
    }
    bail!(
        "there is no library {name} in any of {}",
        machine.folders().join(" ")
    )
}

/// What a file itself asks for.
struct Asked {
    machine: Machine,
    loader: Option<PathBuf>,
    libraries: Vec<String>,
}

impl Asked {
    fn of(file: &[u8]) -> Result<Self> {
        let header = elf::FileHeader64::<Endianness>::parse(file).context("no 64-bit program")?;
        let endian = header.endian()?;
        let machine = match header.e_machine(endian) {
            elf::EM_X86_64 => Machine::X86_64,
            elf::EM_AARCH64 => Machine::Aarch64,
            other => bail!("it is for a processor that falco-psp does not know ({other:?})"),
        };
        let mut loader = None;
        for segment in header.program_headers(endian, file)? {
            if let Some(path) = segment.interpreter(endian, file)? {
                loader = Some(PathBuf::from(text(path)?));
            }
        }
        let sections = header.sections(endian, file)?;
        let table = sections.dynamic_table(endian, file)?;
        let mut libraries = Vec::new();
        for entry in &table {
            if entry.tag == elf::DT_NEEDED {
                libraries.push(text(table.string(entry)?)?);
            } else if entry.tag == elf::DT_RPATH || entry.tag == elf::DT_RUNPATH {
                bail!(
                    "it has library folders of its own: {}",
                    text(table.string(entry)?)?
                );
            }
        }
        Ok(Self {
            machine,
            loader,
            libraries,
        })
    }
}

fn text(bytes: &[u8]) -> Result<String> {
    Ok(str::from_utf8(bytes)
        .context("a name that is no text")?
        .to_owned())
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_needs_its_loader_and_its_libraries() {
        let me = fs::read(std::env::current_exe().unwrap()).unwrap();
        let needed = find(&me).unwrap();
        let names: Vec<_> = needed
            .files
            .keys()
            .map(|path| path.file_name().unwrap().to_str().unwrap())
            .collect();
        assert!(names.contains(&LIBC), "{names:?}");
        assert!(names.iter().any(|name| name.starts_with("ld-linux")));
        // Each once, and all absolute.
        assert!(needed.files.keys().all(|path| path.is_absolute()));
        let expected = match std::env::consts::ARCH {
            "x86_64" => Machine::X86_64,
            _ => Machine::Aarch64,
        };
        assert_eq!(needed.machine, expected);
    }

    #[test]
    fn what_is_no_program_is_refused() {
        for bad in [&b""[..], b"#!/bin/sh\n", b"\x7fELF\x02\x01\x01"] {
            assert!(find(bad).is_err());
        }
        assert!(library("libnowhere.so.9", Machine::X86_64).is_err());
    }
}
