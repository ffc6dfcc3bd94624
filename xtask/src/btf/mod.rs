//! `cargo xtask btf`: reduces a kernel's types to those that the agent looks for, so that its tests can
//! have them of many kernels.

mod types;
mod wanted;

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::Args;

use types::{ENUM, Type, Types, Writer};
use wanted::{ENUMERATORS, MEMBERS, SIZES};

/// How deep members without a name may be nested.
const MAX_NESTING: u32 = 8;

/// From where to where.
#[derive(Args)]
pub(crate) struct Request {
    /// /sys/kernel/btf/vmlinux of a machine, or a kernel's image, unpacked
    from: PathBuf,
    /// The file to write, for example falco-psp/tests/btf/6.12-arm64.btf; the offsets come beside it
    to: PathBuf,
}

/// Writes the reduced types, and beside them the offsets that the whole ones tell.
pub(crate) fn btf(request: &Request) -> Result<()> {
    let Request { from, to } = request;
    let data = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    let types = Types::read(&data).with_context(|| format!("cannot use {}", from.display()))?;
    write(to, &reduce(&types)?)?;
    write(&to.with_extension("offsets"), offsets(&types)?.as_bytes())
}

fn write(to: &Path, content: &[u8]) -> Result<()> {
    fs::write(to, content).with_context(|| format!("cannot write {}", to.display()))
}

/// The wanted members and what leads to them. What else they are of is left out: their types are void.
fn reduce(types: &Types) -> Result<Vec<u8>> {
    let mut writer = Writer::new();
    for (name, paths) in MEMBERS {
        for structure in types.structures(name) {
            let paths: Vec<&str> = paths.to_vec();
            put(types, &mut writer, structure, &paths, 0);
        }
    }
    for found in types.types.iter().filter(|found| found.kind() == ENUM) {
        let mut kept = Vec::new();
        for entry in found.rest.chunks_exact(2) {
            let name = types.string(entry[0]);
            if ENUMERATORS.contains(&name) {
                kept.extend([writer.string(name), entry[1]]);
            }
        }
        if !kept.is_empty() {
            writer.put(found, &kept, 2);
        }
    }
    writer.finish()
}

/// Puts in the structure with the members on the paths; its number, `None` if none of them is in it.
fn put(
    types: &Types,
    writer: &mut Writer,
    structure: &Type,
    paths: &[&str],
    depth: u32,
) -> Option<u32> {
    let mut kept = Vec::new();
    for member in structure.rest.chunks_exact(3) {
        let name = types.string(member[0]);
        let inner: Vec<&str> = match name {
            "" => paths.to_vec(),
            _ => paths
                .iter()
                .filter_map(|path| path.strip_prefix(name)?.strip_prefix('.'))
                .collect(),
        };
        let of = types.resolve(member[1]).filter(|of| of.is_compound());
        let number = match of {
            Some(of) if !inner.is_empty() && depth < MAX_NESTING => {
                put(types, writer, of, &inner, depth + 1)
            }
            _ => None,
        };
        if number.is_some() || paths.contains(&name) {
            kept.extend([writer.string(name), number.unwrap_or(0), member[2]]);
        }
    }
    (!kept.is_empty()).then(|| writer.put(structure, &kept, 3))
}

/// A line for each wanted thing that the kernel has: members with offset and width in bits (0 for all
/// that is no bit field), sizes in bytes, and enumerators.
fn offsets(types: &Types) -> Result<String> {
    let mut text = String::new();
    for (name, paths) in MEMBERS {
        for path in *paths {
            let mut all = types.structures(name);
            if let Some((offset, width)) = all.find_map(|found| place(types, found, path, 0)) {
                writeln!(text, "{name}.{path} {offset} {width}")?;
            }
        }
    }
    for name in SIZES {
        if let Some(found) = types.structures(name).next() {
            writeln!(text, "sizeof({name}) {} 0", found.size_or_type)?;
        }
    }
    for found in types.types.iter().filter(|found| found.kind() == ENUM) {
        for entry in found.rest.chunks_exact(2) {
            let name = types.string(entry[0]);
            if ENUMERATORS.contains(&name) {
                writeln!(text, "{name} {} 0", entry[1])?;
            }
        }
    }
    Ok(text)
}

/// Offset and width in bits of the member at the end of the path.
fn place(types: &Types, structure: &Type, path: &str, depth: u32) -> Option<(u32, u32)> {
    if depth > MAX_NESTING || !structure.is_compound() {
        return None;
    }
    let (first, behind) = path.split_once('.').unwrap_or((path, ""));
    structure.rest.chunks_exact(3).find_map(|member| {
        let (offset, width) = structure.bits(member[2]);
        let path = match types.string(member[0]) {
            "" => path,
            name if name == first && behind.is_empty() => return Some((offset, width)),
            name if name == first => behind,
            _ => return None,
        };
        let inner = place(types, types.resolve(member[1])?, path, depth + 1)?;
        Some((offset + inner.0, inner.1))
    })
}
