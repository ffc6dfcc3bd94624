//! The files of an image, packed so that the same files always give the same bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use tar::{EntryType, Header};

use super::digest::Digest;

/// What may be done with a file; its owner is always root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody may read it.
    Read,
    /// Everybody may read and run it.
    Run,
}

/// The files of an image, by their absolute path.
#[derive(Default)]
pub(crate) struct Files(BTreeMap<PathBuf, (Access, Vec<u8>)>);

impl Files {
    /// Adds a file.
    pub(crate) fn add(&mut self, path: impl Into<PathBuf>, access: Access, content: Vec<u8>) {
        self.0.insert(path.into(), (access, content));
    }

    /// The paths.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// Packs the files into a layer.
    pub(crate) fn pack(&self) -> Result<Layer> {
        let tar = self.tar().context("cannot pack the files")?;
        let unpacked = Digest::of(&tar);
        // No time, no name, and no operating system (255): nothing but the content.
        let mut gzip = GzBuilder::new()
            .mtime(0)
            .operating_system(255)
            .write(Vec::new(), Compression::best());
        let written = gzip.write_all(&tar).and_then(|()| gzip.finish());
        let packed = written.context("cannot compress the files")?;
        Ok(Layer { packed, unpacked })
    }

    fn tar(&self) -> Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        let folders: BTreeSet<&Path> = self
            .paths()
            .flat_map(|path| path.ancestors().skip(1))
            .filter(|folder| folder.parent().is_some())
            .collect();
        for folder in folders {
            let mut header = header(EntryType::Directory, 0o755, 0);
            tar.append_data(&mut header, inside(folder), &[][..])?;
        }
        for (path, (access, content)) in &self.0 {
            let mode = match access {
                Access::Read => 0o444,
                Access::Run => 0o555,
            };
            let size = u64::try_from(content.len())?;
            let mut header = header(EntryType::Regular, mode, size);
            tar.append_data(&mut header, inside(path), content.as_slice())?;
        }
        Ok(tar.into_inner()?)
    }
}

/// In an archive, paths begin at its root.
fn inside(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

/// Describes an entry of an archive: root's, without a time.
pub(super) fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

/// A packed layer.
pub(crate) struct Layer {
    /// What is stored: a compressed archive.
    pub(crate) packed: Vec<u8>,
    /// The digest of the archive before it was compressed.
    pub(crate) unpacked: Digest,
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn files(order: [&str; 3]) -> Files {
        let mut files = Files::default();
        for path in order {
            let access = match path.starts_with("/usr/bin/") {
                true => Access::Run,
                false => Access::Read,
            };
            files.add(path, access, path.as_bytes().to_vec());
        }
        files
    }

    #[test]
    fn the_same_files_give_the_same_bytes_in_any_order() {
        let one = files(["/usr/bin/a", "/lib/b", "/c"]).pack().unwrap();
        let two = files(["/c", "/usr/bin/a", "/lib/b"]).pack().unwrap();
        assert_eq!(one.packed, two.packed);
        let other = files(["/c", "/usr/bin/a", "/lib/d"]).pack().unwrap();
        assert_ne!(one.packed, other.packed);
        assert_ne!(one.unpacked, other.unpacked);
    }

    #[test]
    fn files_are_roots_and_nobody_may_write_them() {
        let layer = files(["/usr/bin/a", "/lib/b", "/c"]).pack().unwrap();
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(layer.packed.as_slice())
            .read_to_end(&mut tar)
            .unwrap();
        assert_eq!(Digest::of(&tar), layer.unpacked);
        let mut found = Vec::new();
        for entry in tar::Archive::new(tar.as_slice()).entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            assert_eq!(header.mtime().unwrap(), 0);
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            let path = path.trim_end_matches('/').to_owned();
            found.push((path, header.mode().unwrap()));
        }
        let expected = [
            ("lib", 0o755),
            ("usr", 0o755),
            ("usr/bin", 0o755),
            ("c", 0o444),
            ("lib/b", 0o444),
            ("usr/bin/a", 0o555),
        ];
        assert_eq!(found, expected.map(|(path, mode)| (path.to_owned(), mode)));
    }
}
