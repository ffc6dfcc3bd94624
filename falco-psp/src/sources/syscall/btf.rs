//! A small reader of BTF, the kernel's description of its own types: names of structures and the
//! places of their members.
//!
//! Format: `Documentation/bpf/btf.rst` of the kernel.

use std::collections::HashMap;

use bytes::Buf;
use thiserror::Error;

/// The bits of a bit field inside its structure, or of a whole member (then `size_bits` is 0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Offset from the start of the structure, in bits.
    pub offset_bits: u32,
    /// Width in bits of a bit field; 0 for other members.
    pub size_bits: u32,
    /// Type of the member.
    pub type_id: u32,
}

/// Why BTF could not be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BtfError {
    /// Does not begin like BTF of this machine's byte order.
    #[error("not BTF: the file begins with {0:#06x}, not 0xeb9f")]
    Magic(u16),
    /// Ends too early.
    #[error("the BTF data ends in the middle of {0}")]
    Truncated(&'static str),
    /// A type of a kind that this reader does not know, so that it cannot go on.
    #[error("type {type_id} is of the unknown kind {kind}")]
    UnknownKind {
        /// Number of the type.
        type_id: u32,
        /// Its kind.
        kind: u32,
    },
}

#[derive(Clone, Copy, Debug)]
struct Type {
    name: u32,
    info: u32,
    /// A size or a type, by kind.
    size_or_type: u32,
    /// Where what follows the type begins in the type section.
    rest: usize,
}

impl Type {
    fn kind(self) -> u32 {
        (self.info >> 24) & 0x1f
    }

    fn count(self) -> u32 {
        self.info & 0xffff
    }

    fn has_bit_fields(self) -> bool {
        self.info >> 31 != 0
    }
}

mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;

    /// Bytes that follow a type of this kind with `count` parts; `None` for an unknown kind.
    pub(super) fn rest(kind: u32, count: usize) -> Option<usize> {
        Some(match kind {
            INT | VAR | DECL_TAG => 4,
            ARRAY => 12,
            STRUCT | UNION | DATASEC | ENUM64 => 12 * count,
            ENUM | FUNC_PROTO => 8 * count,
            // Pointers, forwards, qualifiers, functions, floats, tags.
            PTR | 7..=12 | 16 | TYPE_TAG => 0,
            _ => return None,
        })
    }
}

/// The types of a kernel.
#[derive(Debug)]
pub struct Btf {
    types: Vec<Type>,
    type_section: Vec<u8>,
    strings: Vec<u8>,
    structures: HashMap<Vec<u8>, Vec<u32>>,
}

/// How deep members without a name may be nested.
const MAX_NESTING: usize = 8;

impl Btf {
    /// Reads BTF in the byte order of this machine, as `/sys/kernel/btf/vmlinux` holds it.
    ///
    /// # Errors
    /// See [`BtfError`].
    pub fn parse(data: &[u8]) -> Result<Self, BtfError> {
        let magic = (&mut &data[..])
            .try_get_u16_ne()
            .map_err(|_| BtfError::Truncated("its header"))?;
        if magic != 0xeb9f {
            return Err(BtfError::Magic(magic));
        }
        Self::sections(data)
    }

    fn sections(data: &[u8]) -> Result<Self, BtfError> {
        let word = |at: usize| {
            data.get(at..at + 4)
                .and_then(|bytes| bytes.try_into().ok())
                .map(|bytes| u32::from_ne_bytes(bytes) as usize)
                .ok_or(BtfError::Truncated("its header"))
        };
        let header_length = word(4)?;
        let section = |offset: usize, length: usize, what| {
            let start = header_length.checked_add(offset);
            start
                .and_then(|start| data.get(start..start.checked_add(length)?))
                .ok_or(BtfError::Truncated(what))
        };
        let type_section = section(word(8)?, word(12)?, "its types")?.to_vec();
        let strings = section(word(16)?, word(20)?, "its strings")?.to_vec();
        let types = read_types(&type_section)?;
        let mut btf = Self {
            types,
            type_section,
            strings,
            structures: HashMap::new(),
        };
        for (index, &kind) in btf.types.iter().enumerate() {
            if matches!(kind.kind(), kind::STRUCT | kind::UNION) {
                let name = btf.string(kind.name).to_vec();
                let id = u32::try_from(index + 1).unwrap_or(u32::MAX);
                btf.structures.entry(name).or_default().push(id);
            }
        }
        Ok(btf)
    }

    fn string(&self, offset: u32) -> &[u8] {
        let rest = self.strings.get(offset as usize..).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    fn get(&self, id: u32) -> Option<Type> {
        self.types.get((id as usize).checked_sub(1)?).copied()
    }

    /// Size in bytes of the structure `name`.
    pub fn size(&self, name: &str) -> Option<u32> {
        let id = *self.structures.get(name.as_bytes())?.first()?;
        self.get(id).map(|found| found.size_or_type)
    }

    /// The value of `enumerator` in any enumeration.
    pub fn enumerator(&self, enumerator: &str) -> Option<u32> {
        let enums = self.types.iter().filter(|found| found.kind() == kind::ENUM);
        enums
            .flat_map(|found| (0..found.count() as usize).map(move |index| found.rest + 8 * index))
            .find_map(|at| {
                let mut entry = self.type_section.get(at..)?;
                let name = entry.try_get_u32_ne().ok()?;
                let value = entry.try_get_u32_ne().ok()?;
                (self.string(name) == enumerator.as_bytes()).then_some(value)
            })
    }

    /// The member of structure `name` at the end of `path`: `["seccomp", "mode"]` is `mode` of the
    /// structure that member `seccomp` is. Members inside unnamed structures and unions count as
    /// the outer one's. Offsets are from the start of the outermost structure.
    pub fn member(&self, name: &str, path: &[&str]) -> Option<Member> {
        let ids = self.structures.get(name.as_bytes())?;
        ids.iter().find_map(|&id| self.walk(id, path))
    }

    fn walk(&self, id: u32, path: &[&str]) -> Option<Member> {
        let (first, rest) = path.split_first()?;
        let member = self.find(self.resolve(id)?, first.as_bytes(), 0)?;
        if rest.is_empty() {
            return Some(member);
        }
        let inner = self.walk(member.type_id, rest)?;
        Some(Member {
            offset_bits: member.offset_bits.checked_add(inner.offset_bits)?,
            ..inner
        })
    }

    /// The structure behind type definitions and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<Type> {
        for _ in 0..MAX_NESTING {
            let found = self.get(id)?;
            match found.kind() {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = found.size_or_type
                }
                _ => return Some(found),
            }
        }
        None
    }

    fn find(&self, structure: Type, name: &[u8], depth: usize) -> Option<Member> {
        if depth > MAX_NESTING || !matches!(structure.kind(), kind::STRUCT | kind::UNION) {
            return None;
        }
        for index in 0..structure.count() as usize {
            let mut entry = self.type_section.get(structure.rest + 12 * index..)?;
            let member_name = entry.try_get_u32_ne().ok()?;
            let type_id = entry.try_get_u32_ne().ok()?;
            let place = entry.try_get_u32_ne().ok()?;
            let (offset_bits, size_bits) = if structure.has_bit_fields() {
                (place & 0x00ff_ffff, place >> 24)
            } else {
                (place, 0)
            };
            let member = Member {
                offset_bits,
                size_bits,
                type_id,
            };
            let member_name = self.string(member_name);
            if member_name == name {
                return Some(member);
            }
            if member_name.is_empty()
                && let Some(inner_type) = self.resolve(type_id)
                && let Some(inner) = self.find(inner_type, name, depth + 1)
            {
                return Some(Member {
                    offset_bits: offset_bits.checked_add(inner.offset_bits)?,
                    ..inner
                });
            }
        }
        None
    }
}

fn read_types(section: &[u8]) -> Result<Vec<Type>, BtfError> {
    let truncated = BtfError::Truncated("a type");
    let mut types = Vec::new();
    let mut rest = section;
    while rest.has_remaining() {
        let at = section.len() - rest.len();
        let mut word = || {
            rest.try_get_u32_ne()
                .map_err(|_| BtfError::Truncated("a type"))
        };
        let found = Type {
            name: word()?,
            info: word()?,
            size_or_type: word()?,
            rest: at + 12,
        };
        let skip = kind::rest(found.kind(), found.count() as usize).ok_or_else(|| {
            BtfError::UnknownKind {
                type_id: u32::try_from(types.len() + 1).unwrap_or(u32::MAX),
                kind: found.kind(),
            }
        })?;
        if rest.remaining() < skip {
            return Err(truncated);
        }
        rest.advance(skip);
        types.push(found);
    }
    Ok(types)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BTF with `int`, `enum { ZERO, pids_cgrp_id = 7 }`, and
    /// `struct s { int a; struct { int b; union { int c; int d; }; }; int flag:1 at bit 97; struct t t; }`,
    /// `struct t { int x; int y; }` behind a typedef.
    fn sample() -> Vec<u8> {
        let mut strings = vec![0];
        let mut name = |text: &str| {
            let at = u32::try_from(strings.len()).unwrap();
            strings.extend(text.as_bytes());
            strings.push(0);
            at
        };
        let mut types: Vec<u32> = Vec::new();
        let info = |kind: u32, count: u32, flag: u32| flag << 31 | kind << 24 | count;
        // 1: int
        types.extend([name("int"), info(kind::INT, 0, 0), 4, 32]);
        // 2: enum
        types.extend([name("ids"), info(kind::ENUM, 2, 0), 4]);
        types.extend([name("ZERO"), 0, name("pids_cgrp_id"), 7]);
        // 3: struct t
        types.extend([name("t"), info(kind::STRUCT, 2, 0), 8]);
        types.extend([name("x"), 1, 0, name("y"), 1, 32]);
        // 4: typedef of struct t
        types.extend([name("t_t"), info(kind::TYPEDEF, 0, 0), 3]);
        // 5: unnamed union
        types.extend([
            0,
            info(kind::UNION, 2, 0),
            4,
            name("c"),
            1,
            0,
            name("d"),
            1,
            0,
        ]);
        // 6: unnamed struct
        types.extend([0, info(kind::STRUCT, 2, 0), 8, name("b"), 1, 0, 0, 5, 32]);
        // 7: struct s, with a bit field
        types.extend([name("s"), info(kind::STRUCT, 4, 1), 24]);
        types.extend([name("a"), 1, 0, 0, 6, 32]);
        types.extend([name("flag"), 1, 1 << 24 | 97, name("t"), 4, 128]);
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut data = Vec::new();
        data.extend(0xeb9f_u16.to_ne_bytes());
        data.extend([1, 0]);
        let (types_length, strings_length) = (types.len(), strings.len());
        for word in [24, 0, types_length, types_length, strings_length] {
            data.extend(u32::try_from(word).unwrap().to_ne_bytes());
        }
        data.extend(types);
        data.extend(strings);
        data
    }

    #[test]
    fn finds_members_also_in_unnamed_and_nested_structures() {
        let btf = Btf::parse(&sample()).unwrap();
        let offset = |path: &[&str]| btf.member("s", path).map(|member| member.offset_bits / 8);
        assert_eq!(offset(&["a"]), Some(0));
        assert_eq!(offset(&["b"]), Some(4));
        assert_eq!(offset(&["d"]), Some(8));
        assert_eq!(offset(&["t", "y"]), Some(20));
        assert_eq!(offset(&["missing"]), None);
        assert_eq!(offset(&["a", "b"]), None);
        let flag = btf.member("s", &["flag"]).unwrap();
        assert_eq!((flag.offset_bits, flag.size_bits), (97, 1));
        assert_eq!(btf.size("t"), Some(8));
        assert_eq!(btf.enumerator("pids_cgrp_id"), Some(7));
        assert_eq!(btf.enumerator("none"), None);
    }

    #[test]
    fn refuses_what_is_cut_or_foreign() {
        let whole = sample();
        assert_eq!(
            Btf::parse(b"\x7fELF")
                .unwrap_err()
                .to_string()
                .split(':')
                .next(),
            Some("not BTF")
        );
        for length in 0..whole.len() {
            assert!(Btf::parse(&whole[..length]).is_err(), "{length}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(at in 0..200_usize, byte: u8) {
            let mut data = sample();
            let at = at % data.len();
            data[at] = byte;
            if let Ok(btf) = Btf::parse(&data) {
                let _ = btf.member("s", &["t", "y"]);
                let _ = btf.enumerator("pids_cgrp_id");
            }
        }
    }
}
