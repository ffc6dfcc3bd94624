//! What is in the virtual machine's memory when it starts.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    build::{self, Profile},
    command,
    image::libraries,
    vm::folder,
    workspace,
};

/// The machine's first program, which copies all to a file system that runc can work on.
const FIRST: &str = "#!/bin/busybox sh
/bin/busybox mkdir /new
/bin/busybox mount -t tmpfs -o size=90% tmpfs /new
for file in /*; do [ \"$file\" = /new ] || /bin/busybox cp -a \"$file\" /new/; done
exec /bin/busybox switch_root /new /second
";

/// The tests. Those that need containerd skip themselves; those that measure or judge by a time are
/// for real machines.
const FILTERS: &str =
    "harness:: runtime:: kernel:: capable:: compat:: scene:: files:: posture::an_alert ledger::";

/// The second, which runs this machine's share of the tests. The variables are from the kernel's
/// command line.
const SECOND: &str = "#!/bin/busybox sh
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /tmp /run /root /etc /var/lib /var/log
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount --make-rshared /
ip link set lo up
echo root:x:0:0::/:/bin/sh > /etc/passwd
uname -r
# Debian's 3 keeps kprobes from all who have no CAP_SYS_ADMIN.
echo 2 > /proc/sys/kernel/perf_event_paranoid
AGENT doctor
export FALCO_PSP_WORKLOAD=WORKLOAD FALCO_PSP_CAPABILITY_HOOKS='fexit/cap_capable kprobe/cap_capable'
TESTS --list FILTERS | sed -n 's/: test$//p' | awk 'NR % '$machines' == '$machine > /tests
TESTS --test-threads=1 --exact $(cat /tests)
echo RESULT$?
poweroff -f
";

/// Builds the tests and the agent, and packs them; the archive.
///
/// As other tasks build them, and so have them: the tests without optimisations, the agent, which
/// does more, with them.
pub(super) fn memory() -> Result<PathBuf> {
    let agent = build::build(Profile::Release)?;
    let mut cargo = Command::new("cargo");
    cargo.current_dir(workspace::root());
    cargo.args(["test", "--package", "falco-psp", "--test", "live"]);
    cargo.args(["--no-run", "--message-format", "json"]);
    let output = cargo.stderr(Stdio::inherit()).output();
    let output = output.context("cannot run cargo")?;
    ensure!(output.status.success(), "the live tests do not build");
    let text = String::from_utf8_lossy(&output.stdout);
    let tests = executable(&text, "live")?;
    let started = workspace::target_dir().join("debug/falco-psp");

    let root = folder().join("root");
    if root.exists() {
        fs::remove_dir_all(&root).context("cannot remove the last machine")?;
    }
    let busybox = workspace::program("busybox").context("needs busybox")?;
    place(
        &root,
        &fs::read(&busybox).context("cannot read busybox")?,
        "/bin/busybox",
    )?;
    let workload = compile_workload()?;
    let runc = workspace::program("runc").context("needs runc")?;
    let unshare = workspace::program("unshare").context("needs unshare")?;
    for (program, at) in [
        (stripped(&tests)?, &tests),
        // Where the tests look for it.
        (stripped(&agent)?, &started),
        (workload.clone(), &workload),
        (runc.clone(), &runc),
        (unshare.clone(), &unshare),
    ] {
        let content = fs::read(&program);
        let content = content.with_context(|| format!("cannot read {}", program.display()))?;
        for (path, library) in libraries::find(&content)?.files {
            place(&root, &library, path)?;
        }
        place(&root, &content, at)?;
    }
    for (folder, kind) in [("falco-psp/tests/live", "yaml"), ("examples", "yaml")] {
        let folder = workspace::root().join(folder);
        for entry in fs::read_dir(&folder)
            .context("cannot list a folder")?
            .flatten()
        {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == kind) {
                place(
                    &root,
                    &fs::read(&path).context("cannot read a policy")?,
                    &path,
                )?;
            }
        }
    }
    let second = SECOND
        .replace("AGENT", &started.to_string_lossy())
        .replace(
            "WORKLOAD=WORKLOAD",
            &format!("WORKLOAD={}", workload.display()),
        )
        .replace("TESTS", &tests.to_string_lossy())
        .replace("FILTERS", FILTERS)
        .replace("RESULT", super::RESULT);
    place(&root, FIRST.as_bytes(), "/init")?;
    place(&root, second.as_bytes(), "/second")?;
    symlink("busybox", root.join("bin/sh")).context("cannot link sh")?;
    pack(&root)
}

/// A copy of the program without its symbols: all of it is unpacked twice into memory.
fn stripped(program: &Path) -> Result<PathBuf> {
    let name = program.file_name().context("a program without a name")?;
    let out = folder().join(name);
    fs::create_dir_all(folder()).context("cannot make a folder")?;
    command::run(Command::new("strip").arg("-o").arg(&out).arg(program))?;
    Ok(out)
}

/// The program that cargo says it has built for this target.
fn executable(messages: &str, target: &str) -> Result<PathBuf> {
    for line in messages.lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else {
            continue;
        };
        if message["target"]["name"] == target
            && let Some(path) = message["executable"].as_str()
        {
            return Ok(path.into());
        }
    }
    bail!("cargo names no program of {target}")
}

/// The static program that the tests run in containers: a guest has no compiler.
fn compile_workload() -> Result<PathBuf> {
    let program = folder().join("workload");
    fs::create_dir_all(folder()).context("cannot make a folder")?;
    let mut rustc = Command::new("rustc");
    rustc.current_dir(workspace::root());
    rustc.args([
        "--edition",
        "2024",
        "-O",
        "-C",
        "target-feature=+crt-static",
    ]);
    rustc.args(["-C", "strip=symbols"]).arg("-o").arg(&program);
    command::run(rustc.arg("falco-psp/tests/live/workload/main.rs"))?;
    Ok(program)
}

/// Puts a program or file where it is here.
fn place(root: &Path, content: &[u8], path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let path = root.join(path.strip_prefix("/").unwrap_or(path));
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} a program", path.display()))
}

/// Packs the folder as the kernel unpacks it.
fn pack(root: &Path) -> Result<PathBuf> {
    let archive = folder().join("memory.cpio");
    let mut cpio = Command::new("busybox");
    cpio.args([
        "sh",
        "-c",
        "busybox find . | busybox cpio -o -H newc > \"$1\"",
        "sh",
    ]);
    let output = cpio.arg(&archive).current_dir(root).output();
    let output = output.context("cannot run busybox")?;
    ensure!(
        output.status.success(),
        "cannot pack: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(archive)
}
