//! `cargo xtask image`: an image of the agent for container runtimes, made without a registry and
//! without a Docker daemon.

mod digest;
mod layer;
mod layout;
pub(crate) mod libraries;
mod licences;
mod name;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use self::{
    layer::{Access, Files},
    layout::Image,
    name::ImageName,
};
use crate::{build, command, workspace};

/// Where the agent is in the image.
const AGENT: &str = "/usr/bin/falco-psp";

/// Names are looked up as in other images: the files of the pod first. Without this file the C
/// library would ask the network first, also for localhost.
const NAME_LOOK_UP: (&str, &str) = ("/etc/nsswitch.conf", "hosts: files dns\n");

/// What kind of image.
#[derive(Args)]
pub(crate) struct Request {
    /// The archive to write
    #[arg(long, value_name = "FILE", default_value = "target/falco-psp.oci.tar")]
    output: PathBuf,
    /// The name that it is imported under, with registry and tag
    #[arg(long, value_name = "NAME", default_value = concat!("localhost/falco-psp:", env!("CARGO_PKG_VERSION")))]
    tag: ImageName,
    /// Take this agent, without building one
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
}

/// Builds the agent, and writes the image.
pub(crate) fn image(request: Request) -> Result<()> {
    let agent = match request.agent {
        Some(agent) => agent,
        None => build::build(build::Profile::Dist)?,
    };
    let agent = stripped(&agent)?;
    let needed = libraries::find(&agent).context("cannot tell what the agent needs")?;
    let mut files = Files::default();
    licences::add(&mut files, needed.files.keys())?;
    files.add(AGENT, Access::Run, agent);
    let (path, text) = NAME_LOOK_UP;
    files.add(path, Access::Read, text.into());
    for (path, content) in needed.files {
        // The loader is a program; libraries are not.
        let is_loader = path.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name.starts_with("ld-")
        });
        let access = if is_loader { Access::Run } else { Access::Read };
        files.add(path, access, content);
    }
    let image = Image {
        machine: needed.machine,
        layer: files.pack()?,
        entry_point: AGENT,
        labels: labels(),
        name: request.tag,
    };
    let output = &request.output;
    let digest = write(&image, output)?;
    let size = fs::metadata(output).map_or(0, |metadata| metadata.len());
    println!(
        "{}: {} ({}, {:.1} MiB, {digest})",
        output.display(),
        image.name,
        image.machine.oci_name(),
        // Only for people to read.
        size as f64 / f64::from(1 << 20)
    );
    for path in files.paths() {
        println!("  {}", path.display());
    }
    println!(
        "import it on a node: ctr -n k8s.io images import {}",
        output.display()
    );
    Ok(())
}

/// Writes the archive beside its place first, so that there is never half of one.
fn write(image: &Image, output: &Path) -> Result<digest::Digest> {
    let why = || format!("cannot write {}", output.display());
    let folder = match output.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let part = tempfile::Builder::new()
        .prefix(".falco-psp-image-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)
        .with_context(why)?;
    let digest = image.write(BufWriter::new(part.as_file()))?;
    let _file: File = part
        .persist(output)
        .map_err(|error| error.error)
        .with_context(why)?;
    Ok(digest)
}

/// The agent without symbols, which are of use only beside its source.
fn stripped(agent: &Path) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let copy = folder.path().join("falco-psp");
    let mut strip = Command::new("strip");
    strip.args(["--strip-all", "-o"]).arg(&copy).arg(agent);
    command::run(&mut strip).with_context(|| format!("cannot strip {}", agent.display()))?;
    fs::read(&copy).with_context(|| format!("cannot read {}", copy.display()))
}

fn labels() -> BTreeMap<&'static str, String> {
    let mut labels = BTreeMap::from([
        ("org.opencontainers.image.title", "falco-psp".to_owned()),
        (
            "org.opencontainers.image.description",
            "Shows what a Kubernetes PodSecurityPolicy would break before anyone enforces it"
                .to_owned(),
        ),
        (
            "org.opencontainers.image.version",
            env!("CARGO_PKG_VERSION").to_owned(),
        ),
        (
            "org.opencontainers.image.source",
            env!("CARGO_PKG_REPOSITORY").to_owned(),
        ),
        (
            "org.opencontainers.image.licenses",
            env!("CARGO_PKG_LICENSE").to_owned(),
        ),
    ]);
    if let Ok(revision) = revision() {
        labels.insert("org.opencontainers.image.revision", revision);
    }
    labels
}

/// The commit that this is, if it is one without changes.
fn revision() -> Result<String> {
    let git = |arguments: &[&str]| -> Result<String> {
        let mut git = Command::new("git");
        git.args(arguments).current_dir(workspace::root());
        let output = command::output(&mut git)?;
        if !output.status.success() {
            bail!("no repository");
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    if !git(&["status", "--porcelain"])?.is_empty() {
        bail!("changed since the last commit");
    }
    git(&["rev-parse", "HEAD"])
}
