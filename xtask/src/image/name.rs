//! The name that an image is imported under.

use std::{fmt, str::FromStr};

use anyhow::{Error, Result, bail};

/// A name with registry, repository and tag, such as `localhost/falco-psp:0.1.0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImageName {
    repository: String,
    tag: String,
}

impl FromStr for ImageName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((registry, rest)) = text.split_once('/') else {
            bail!("there is no registry in it; write localhost/{text}");
        };
        // As Docker decides: anything else would be a user of docker.io.
        if registry != "localhost" && !registry.contains(['.', ':']) {
            bail!(
                "\"{registry}\" is no registry: runtimes would take it for a user of docker.io; \
                 write localhost/{text}, or docker.io/{text}"
            );
        }
        let Some((path, tag)) = rest.rsplit_once(':') else {
            bail!("there is no tag in it; write {text}:latest");
        };
        let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let component = |name: &str| {
            name.starts_with(lower)
                && name.ends_with(lower)
                && name.chars().all(|c| lower(c) || "._-".contains(c))
        };
        if !path.split('/').all(component) {
            bail!("\"{path}\" may have small letters, digits and, between them, . _ - only");
        }
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let good_tag = tag.starts_with(word)
            && tag.len() <= 128
            && tag.chars().all(|c| word(c) || ".-".contains(c));
        if !good_tag {
            bail!("\"{tag}\" is no tag: letters, digits, and after the first . _ - as well");
        }
        Ok(Self {
            repository: format!("{registry}/{path}"),
            tag: tag.to_owned(),
        })
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.repository, self.tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_registry_and_a_tag() {
        for good in [
            "localhost/falco-psp:0.1.0",
            "ghcr.io/falco-psp/falco-psp:v1",
            "reg:5000/a/b:T_1",
        ] {
            assert_eq!(good.parse::<ImageName>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "falco-psp:1",
            "team/falco-psp:1",
            "localhost/falco-psp",
            "localhost/Falco:1",
            "localhost/:1",
            "localhost/a//b:1",
            "localhost/a:",
            "localhost/a:-x",
            "localhost/a:b c",
        ] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad}");
        }
    }
}
