//! The licences of what is in the image.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::layer::{Access, Files};
use crate::{command, debian, workspace};

const OURS: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

/// Adds our licences, and those of the system's libraries where its packages tell them.
pub(super) fn add<'a>(
    files: &mut Files,
    libraries: impl Iterator<Item = &'a PathBuf>,
) -> Result<()> {
    for name in OURS {
        let path = workspace::root().join(name);
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let place = Path::new("/usr/share/doc/falco-psp").join(name);
        files.add(place, Access::Read, text);
    }
    for library in libraries {
        let Some(package) = package_of(library)? else {
            eprintln!(
                "warning: no package tells the licence of {}; the image has none for it",
                library.display()
            );
            continue;
        };
        let path = Path::new("/usr/share/doc").join(package).join("copyright");
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        files.add(path, Access::Read, text);
    }
    Ok(())
}

/// The Debian package that a file belongs to.
fn package_of(file: &Path) -> Result<Option<String>> {
    if !debian::has_apt() {
        return Ok(None);
    }
    // Packages name files by either path where /lib is a link to /usr/lib.
    let other = match file.strip_prefix("/usr") {
        Ok(rest) => Path::new("/").join(rest),
        Err(_) => Path::new("/usr").join(file.strip_prefix("/").unwrap_or(file)),
    };
    for path in [file, &other] {
        let mut search = Command::new("dpkg");
        search.arg("--search").arg(path).env("LC_ALL", "C");
        let output = command::output(&mut search)?;
        if output.status.success() {
            let text = String::from_utf8_lossy(&output.stdout);
            return Ok(package_in(&text).map(str::to_owned));
        }
    }
    Ok(None)
}

/// The package in what dpkg says: `libc6:amd64: /lib/x86_64-linux-gnu/libc.so.6`.
fn package_in(text: &str) -> Option<&str> {
    let line = text
        .lines()
        .find(|line| !line.starts_with("diversion by "))?;
    let (packages, _) = line.split_once(": ")?;
    packages.split([',', ':']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_read_from_dpkg() {
        let text = "libc6:amd64: /lib/x86_64-linux-gnu/libc.so.6\n";
        assert_eq!(package_in(text), Some("libc6"));
        let text = "diversion by usr from: /lib/x\nlibc6:amd64, libc6:i386: /lib/x\n";
        assert_eq!(package_in(text), Some("libc6"));
        assert_eq!(package_in(""), None);
    }
}
