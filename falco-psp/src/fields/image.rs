//! Image references: `registry:5000/team/app:1.2@sha256:...` in parts.

use std::borrow::Cow;

/// An image reference in parts.
///
/// The grammar is that of the distribution project (`reference/reference.go`): a colon after the
/// last slash begins the tag, an `@` the digest; a colon before it belongs to the registry's port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Image<'a> {
    /// All of it.
    pub reference: &'a str,
    /// Registry and path; `None` where the runtime gave an image's id instead of its name.
    pub repository: Option<&'a str>,
    /// The tag.
    pub tag: Option<&'a str>,
    /// The digest, with its algorithm.
    pub digest: Option<&'a str>,
}

impl<'a> Image<'a> {
    /// Takes a reference apart.
    pub fn parse(reference: &'a str) -> Self {
        let is_id = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if reference.strip_prefix("sha256:").is_some_and(is_id) {
            return Self {
                reference,
                digest: non_empty(reference),
                ..Self::default()
            };
        }
        if is_id(reference) {
            return Self {
                reference,
                ..Self::default()
            };
        }
        let (name, digest) = match reference.split_once('@') {
            Some((name, digest)) => (name, non_empty(digest)),
            None => (reference, None),
        };
        let path = name.rfind('/').map_or(0, |slash| slash + 1);
        let (repository, tag) = match name[path..].find(':') {
            Some(colon) => (&name[..path + colon], non_empty(&name[path + colon + 1..])),
            None => (name, None),
        };
        Self {
            reference,
            repository: non_empty(repository),
            tag,
            digest,
        }
    }

    /// Every way of naming the image: its repository and each shorter form of it that leaves out
    /// leading components, each bare, with the tag, and with the digest.
    pub fn for_each_name(self, mut give: impl FnMut(Cow<'a, str>)) {
        let Some(repository) = self.repository else {
            return;
        };
        let starts = repository.match_indices('/').map(|(slash, _)| slash + 1);
        for start in [0].into_iter().chain(starts) {
            let path = &repository[start..];
            give(path.into());
            // What follows the repository in the reference needs no copy.
            if let Some(tag) = self.tag {
                let end = repository.len() + 1 + tag.len();
                give(self.reference[start..end].into());
            }
            match self.digest {
                Some(digest) if repository.len() + 1 + digest.len() == self.reference.len() => {
                    give(self.reference[start..].into());
                }
                Some(digest) => give(format!("{path}@{digest}").into()),
                None => {}
            }
        }
    }
}

fn non_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
