//! Installing packages where there is apt.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{command, workspace};

const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Whether packages come from apt here.
pub(crate) fn has_apt() -> bool {
    workspace::program("apt-get").is_some() && workspace::program("dpkg").is_some()
}

/// Whether the package is installed.
pub(crate) fn is_installed(package: &str) -> bool {
    // Packages that several architectures can have at once carry theirs in the file's name.
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let known = Path::new("/var/lib/dpkg/info");
    known.join(format!("{package}.list")).exists()
        || known
            .join(format!("{package}:{architecture}.list"))
            .exists()
}

/// The version that apt would install, as far as its lists go.
pub(crate) fn candidate(package: &str) -> Result<Option<String>> {
    let mut policy = Command::new("apt-cache");
    policy.args(["policy", package]).env("LC_ALL", "C");
    let output = command::output(&mut policy)?;
    Ok(parse_candidate(&String::from_utf8_lossy(&output.stdout)))
}

fn parse_candidate(policy: &str) -> Option<String> {
    let version = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_owned())
}

/// Fetches apt's package lists anew.
pub(crate) fn update() -> Result<()> {
    need_root("apt-get update")?;
    command::run_shown(
        Command::new("apt-get").args(["update", "--quiet"]),
        "apt's package lists do not have what is needed",
    )
    .context("cannot fetch the package lists; is there a network?")
}

/// What an installation may do to other packages.
#[derive(Clone, Copy)]
pub(crate) enum Others {
    /// They all stay.
    Stay,
    /// They may be replaced by what is installed (busybox by busybox-static).
    MayBeReplaced,
}

/// Installs packages, without starting services.
pub(crate) fn install(packages: &[&str], others: Others, why: &str) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    if matches!(others, Others::Stay) {
        arguments.push("--no-remove");
    }
    arguments.extend(packages);
    need_root(&format!("apt-get {}", arguments.join(" "))).with_context(|| why.to_owned())?;
    let mut updated = false;
    for package in packages {
        if candidate(package)?.is_none() && !updated {
            update()?;
            updated = true;
        }
    }
    let _policy = NoServices::establish()?;
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.args(&arguments)
            .env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    let Err(error) = command::run_shown(&mut apt(), why) else {
        return Ok(());
    };
    if updated {
        return Err(error);
    }
    // Lists that are too old name files that the mirror no longer has.
    eprintln!("# {error:#}");
    update()?;
    command::run_shown(&mut apt(), "once more, with new package lists")
}

fn need_root(words: &str) -> Result<()> {
    if !workspace::is_root() {
        bail!("this needs root; run it yourself, then start again:\n  sudo {words}");
    }
    Ok(())
}

/// Keeps packages from starting services, as long as it lives.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn establish() -> Result<Self> {
        let created = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(POLICY);
        match created {
            Ok(mut file) => {
                let policy = Self { ours: true };
                file.write_all(b"#!/bin/sh\nexit 101\n")
                    .with_context(|| format!("cannot write {POLICY}"))?;
                Ok(policy)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Self { ours: false }),
            Err(error) => Err(error).with_context(|| format!("cannot create {POLICY}")),
        }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("warning: cannot remove {POLICY}: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_candidate_is_read_from_apt_cache() {
        let known = "rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1\n";
        assert_eq!(parse_candidate(known).as_deref(), Some("1.96.0+dfsg1-1"));
        assert_eq!(parse_candidate("x:\n  Candidate: (none)\n"), None);
        assert_eq!(parse_candidate(""), None);
    }
}
