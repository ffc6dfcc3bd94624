//! Types as BTF holds them (`Documentation/bpf/btf.rst` of the kernel), read and written.

use anyhow::{Context as _, Result, bail, ensure};

pub(super) const STRUCT: u32 = 4;
pub(super) const UNION: u32 = 5;
pub(super) const ENUM: u32 = 6;
const HEADER: usize = 24;
/// Type definitions and qualifiers before a type, at the most.
const MAX_CHAIN: usize = 16;

/// A type.
pub(super) struct Type {
    pub(super) name: String,
    pub(super) info: u32,
    /// A size or a type, by kind.
    pub(super) size_or_type: u32,
    /// What follows it: for members name, type and place, for enumerators name and value.
    pub(super) rest: Vec<u32>,
}

impl Type {
    pub(super) fn kind(&self) -> u32 {
        (self.info >> 24) & 0x1f
    }

    pub(super) fn is_compound(&self) -> bool {
        matches!(self.kind(), STRUCT | UNION)
    }

    /// Offset and width in bits of a member with this place; a width of 0 for no bit field.
    pub(super) fn bits(&self, place: u32) -> (u32, u32) {
        match self.info >> 31 {
            0 => (place, 0),
            _ => (place & 0x00ff_ffff, place >> 24),
        }
    }
}

/// All types of a kernel; their numbers begin with 1.
pub(super) struct Types {
    pub(super) types: Vec<Type>,
    strings: Vec<u8>,
}

impl Types {
    /// Reads the BTF in `data`: alone, or somewhere in the image of a kernel.
    pub(super) fn read(data: &[u8]) -> Result<Self> {
        let magic = [0x9f, 0xeb, 1, 0];
        let starts = memchr::memmem::find_iter(data, &magic);
        for start in starts {
            if let Some(sections) = sections(&data[start..]) {
                return Self::of_sections(sections.0, sections.1);
            }
        }
        bail!("no BTF in it; a kernel's image has to be unpacked first")
    }

    fn of_sections(types: &[u8], strings: &[u8]) -> Result<Self> {
        let (words, []) = types.as_chunks::<4>() else {
            bail!("the types end in the middle of a word");
        };
        let words: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
        let mut all = Self {
            types: Vec::new(),
            strings: strings.to_vec(),
        };
        let mut rest = &words[..];
        while let [name, info, size_or_type, behind @ ..] = rest {
            let count = (info & 0xffff) as usize;
            let length = match (info >> 24) & 0x1f {
                1 | 14 | 17 => 1,
                3 => 3,
                STRUCT | UNION | 15 | 19 => 3 * count,
                ENUM | 13 => 2 * count,
                2 | 7..=12 | 16 | 18 => 0,
                kind => bail!("a type is of the unknown kind {kind}"),
            };
            let (parts, next) = behind.split_at_checked(length).context("a type is cut")?;
            all.types.push(Type {
                name: all.string(*name).to_owned(),
                info: *info,
                size_or_type: *size_or_type,
                rest: parts.to_vec(),
            });
            rest = next;
        }
        ensure!(rest.is_empty(), "the last type is cut");
        Ok(all)
    }

    pub(super) fn string(&self, at: u32) -> &str {
        let rest = self.strings.get(at as usize..).unwrap_or_default();
        let bytes = rest.split(|byte| *byte == 0).next().unwrap_or_default();
        str::from_utf8(bytes).unwrap_or_default()
    }

    /// The type behind type definitions and qualifiers.
    pub(super) fn resolve(&self, mut number: u32) -> Option<&Type> {
        for _ in 0..MAX_CHAIN {
            let found = self.types.get((number as usize).checked_sub(1)?)?;
            match found.kind() {
                8..=11 | 18 => number = found.size_or_type,
                _ => return Some(found),
            }
        }
        None
    }

    /// The structures of this name.
    pub(super) fn structures<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Type> {
        let all = self.types.iter();
        all.filter(move |found| found.is_compound() && found.name == name)
    }
}

/// The type and string sections, if `data` begins with a header and is long enough.
fn sections(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let word = |at: usize| {
        let bytes = data.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes) as usize)
    };
    let (types, types_length) = (word(8)?, word(12)?);
    let (strings, strings_length) = (word(16)?, word(20)?);
    let is_header = word(4)? == HEADER && types == 0 && types_length > 0;
    let section = |at: usize, length| data.get(HEADER + at..)?.get(..length);
    let strings = section(strings, strings_length)?;
    // The first string is the empty one.
    (is_header && strings.first() == Some(&0)).then_some(())?;
    Some((section(types, types_length)?, strings))
}

/// Types to write.
pub(super) struct Writer {
    words: Vec<u32>,
    strings: Vec<u8>,
    count: u32,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self {
            words: Vec::new(),
            strings: vec![0],
            count: 0,
        }
    }

    /// Where the string is, which is put in if it is not there.
    pub(super) fn string(&mut self, text: &str) -> u32 {
        let wanted = [&[0], text.as_bytes(), &[0]].concat();
        let found = memchr::memmem::find(&self.strings, &wanted);
        let at = match found {
            _ if text.is_empty() => 0,
            Some(at) => at + 1,
            None => {
                self.strings.extend(&wanted[1..]);
                self.strings.len() - text.len() - 1
            }
        };
        u32::try_from(at).unwrap_or(0)
    }

    /// Puts in a type like `like` with these parts, of `each` words; its number.
    pub(super) fn put(&mut self, like: &Type, parts: &[u32], each: usize) -> u32 {
        let name = self.string(&like.name);
        let count = u32::try_from(parts.len() / each).unwrap_or(0);
        let info = like.info & 0xffff_0000 | count;
        self.words.extend([name, info, like.size_or_type]);
        self.words.extend(parts);
        self.count += 1;
        self.count
    }

    /// The whole, as the kernel would give it.
    pub(super) fn finish(self) -> Result<Vec<u8>> {
        let types = u32::try_from(4 * self.words.len())?;
        let strings = u32::try_from(self.strings.len())?;
        let mut data = vec![0x9f, 0xeb, 1, 0];
        let header = [HEADER as u32, 0, types, types, strings];
        for word in header.into_iter().chain(self.words) {
            data.extend(word.to_le_bytes());
        }
        data.extend(self.strings);
        Ok(data)
    }
}
