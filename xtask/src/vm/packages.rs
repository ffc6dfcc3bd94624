//! Kernels and qemu from Debian's packages, unpacked into `target/vm`: nothing is installed.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{command, debian, vm::folder, workspace};

/// An emulator that can run.
pub(crate) struct Qemu {
    pub(crate) program: PathBuf,
    /// Where its libraries are; empty for one that is installed.
    pub(crate) libraries: OsString,
    /// Where its firmware is; empty for one that is installed.
    pub(crate) firmware: Vec<PathBuf>,
}

/// A kernel that can be started.
pub(crate) struct Kernel {
    /// The package's name.
    pub(crate) name: String,
    pub(crate) image: PathBuf,
}

const QEMU: &str = "qemu-system-x86";
const PROGRAM: &str = "qemu-system-x86_64";

/// The one that is installed, or Debian's.
pub(crate) fn qemu() -> Result<Qemu> {
    if let Some(program) = workspace::program(PROGRAM) {
        return Ok(Qemu {
            program,
            libraries: OsString::new(),
            firmware: Vec::new(),
        });
    }
    let root = folder().join("qemu");
    let program = root.join("usr/bin").join(PROGRAM);
    if !program.exists() {
        // Installing it would remove other packages of qemu where those are of another version.
        let mut needed = Command::new("apt-get");
        needed.args([
            "install",
            "--print-uris",
            "--yes",
            "--no-install-recommends",
        ]);
        let output = command::output(needed.arg(QEMU).env("LC_ALL", "C"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let packages: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with('\''))
            .filter_map(|line| line.split(' ').nth(1)?.split('_').next())
            .collect();
        ensure!(
            !packages.is_empty(),
            "apt does not know {QEMU}; install {PROGRAM}"
        );
        unpack(&packages, &root)?;
    }
    let libraries =
        ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|path| root.join(path));
    Ok(Qemu {
        program,
        libraries: std::env::join_paths(libraries).context("a path with a colon")?,
        firmware: ["usr/share/qemu", "usr/share/seabios"]
            .map(|path| root.join(path))
            .into(),
    })
}

/// The newest kernel whose package has a name like this.
pub(crate) fn kernel(pattern: &str) -> Result<Kernel> {
    ensure!(
        debian::has_apt(),
        "the kernels are Debian's: this needs apt"
    );
    let mut search = Command::new("apt-cache");
    search.args(["search", "--names-only", pattern]);
    let output = command::output(&mut search)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let names = text.lines().filter_map(|line| line.split(' ').next());
    let version = |name: &str| -> Vec<u32> {
        name.split(|c: char| !c.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect()
    };
    let Some(name) = names.max_by_key(|name| version(name)) else {
        bail!("apt knows no package like {pattern}");
    };
    let root = folder().join(name);
    if !root.join("boot").exists() {
        unpack(&[name], &root)?;
    }
    let entries = fs::read_dir(root.join("boot")).context("the package has no /boot")?;
    let image = entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"))
        })
        .with_context(|| format!("{name} has no kernel"))?;
    Ok(Kernel {
        name: name.to_owned(),
        image,
    })
}

/// Downloads packages, which apt verifies, and unpacks them. A folder that is there is complete.
fn unpack(packages: &[&str], to: &Path) -> Result<()> {
    // Names of kernels have dots in them, so this is no extension.
    let beside = |what: &str| PathBuf::from(format!("{}-{what}", to.display()));
    let (downloads, part) = (beside("packages"), beside("part"));
    for folder in [&downloads, &part] {
        // Left behind by a run that was ended.
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut download = Command::new("apt-get");
    download.arg("download").args(packages);
    download.current_dir(&downloads);
    command::run_shown(&mut download, "what the virtual machine is made of")?;
    for package in fs::read_dir(&downloads).context("no downloads")?.flatten() {
        let mut dpkg = Command::new("dpkg");
        command::run(dpkg.arg("-x").arg(package.path()).arg(&part))?;
    }
    fs::rename(&part, to).with_context(|| format!("cannot make {}", to.display()))?;
    fs::remove_dir_all(&downloads).context("cannot remove the downloads")
}
