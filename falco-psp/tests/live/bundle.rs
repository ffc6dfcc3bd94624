//! OCI bundles that look as containerd makes them for a Kubernetes pod.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail, ensure};
use falco_psp_common::capability;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The busybox that every container gets; statically linked.
const BUSYBOX: &str = "/bin/busybox";

/// What a container has unless its pod says otherwise.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// A root file system and its `config.json`, removed when dropped.
pub(crate) struct Bundle {
    folder: TempDir,
    config: Value,
    id: Id,
    mounts_of_its_own: bool,
}

impl Bundle {
    /// A bundle with busybox that sleeps, as root with the default capabilities.
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("falco-psp-bundle-")
            .tempdir()
            .context("cannot make a folder for a bundle")?;
        make_rootfs(&folder.path().join("rootfs"))?;
        let id = Id::next();
        let config = runc_spec(folder.path())?;
        let mut bundle = Self {
            folder,
            config,
            id,
            mounts_of_its_own: false,
        };
        let process = &mut bundle.config["process"];
        process["terminal"] = json!(false);
        if let Some(process) = process.as_object_mut() {
            process.remove("rlimits");
        }
        bundle.config["hostname"] = json!("pod");
        bundle.config["linux"]["cgroupsPath"] = json!(bundle.id.cgroup());
        let pod_uid = bundle.id.pod_uid();
        let sandbox = bundle.id.sandbox();
        Ok(bundle
            .annotation("container-type", "container")
            .annotation("sandbox-id", &sandbox)
            .annotation("sandbox-uid", &pod_uid)
            .pod("default", "test")
            .container_name("main")
            .image("docker.io/library/busybox:latest")
            .default_capabilities()
            .no_new_privs(false)
            .read_only_root(false)
            .args(&["/bin/sleep", "3600"]))
    }

    /// A bundle that no sensible policy objects to: uid 1000, no capabilities, no_new_privs,
    /// read-only root.
    pub(crate) fn benign() -> Result<Self> {
        Ok(Self::new()?
            .user(1000, 1000, &[1000])
            .drop_all()
            .no_new_privs(true)
            .read_only_root(true))
    }

    /// The program and its arguments.
    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.config["process"]["args"] = json!(args);
        self
    }

    /// The ids that it starts with, and its supplementary groups.
    pub(crate) fn user(mut self, uid: u32, gid: u32, groups: &[u32]) -> Self {
        self.config["process"]["user"] =
            json!({ "uid": uid, "gid": gid, "additionalGids": groups });
        self
    }

    /// Exactly these capabilities, as containerd gives them: a process that is not root has them
    /// only in its bounding set.
    pub(crate) fn capabilities(mut self, names: &[&str]) -> Self {
        self.config["process"]["capabilities"] =
            json!({ "bounding": names, "effective": names, "permitted": names });
        self
    }

    /// Exactly these capabilities, which a process that is not root can use, too.
    pub(crate) fn ambient_capabilities(mut self, names: &[&str]) -> Self {
        self.config["process"]["capabilities"] = json!({
            "bounding": names,
            "effective": names,
            "permitted": names,
            "inheritable": names,
            "ambient": names,
        });
        self
    }

    /// What a container has unless its pod says otherwise.
    pub(crate) fn default_capabilities(self) -> Self {
        self.capabilities(&DEFAULT_CAPABILITIES)
    }

    /// No capabilities at all: `drop: [ALL]`.
    pub(crate) fn drop_all(self) -> Self {
        self.capabilities(&[])
    }

    /// Whether an exec can gain privileges.
    pub(crate) fn no_new_privs(mut self, set: bool) -> Self {
        self.config["process"]["noNewPrivileges"] = json!(set);
        self
    }

    /// Whether the root file system is read-only.
    pub(crate) fn read_only_root(mut self, read_only: bool) -> Self {
        self.config["root"]["readonly"] = json!(read_only);
        self
    }

    /// The runtime has a mount namespace of its own, as that of a service or of a nested cluster.
    pub(crate) fn runtime_with_mounts_of_its_own(mut self) -> Self {
        self.mounts_of_its_own = true;
        self
    }

    /// Whether the runtime shall have a mount namespace of its own.
    pub(crate) fn has_runtime_with_mounts_of_its_own(&self) -> bool {
        self.mounts_of_its_own
    }

    /// Privileged, as containerd writes it: all capabilities that the host can give, all devices,
    /// nothing masked.
    pub(crate) fn privileged(self) -> Result<Self> {
        let names = host_capabilities()?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut bundle = self.capabilities(&names);
        let linux = &mut bundle.config["linux"];
        linux["resources"]["devices"] = json!([{ "allow": true, "access": "rwm" }]);
        if let Some(linux) = linux.as_object_mut() {
            for name in ["maskedPaths", "readonlyPaths", "seccomp"] {
                linux.remove(name);
            }
        }
        for mount in bundle.config["mounts"].as_array_mut().into_iter().flatten() {
            let of_kernel = mount["type"] == "sysfs" || mount["type"] == "cgroup";
            if let Some(options) = mount.get_mut("options").and_then(Value::as_array_mut)
                && of_kernel
            {
                options.retain(|option| option != "ro");
                options.push(json!("rw"));
            }
        }
        Ok(bundle)
    }

    /// Mounts a path of the host into the container.
    pub(crate) fn host_path(mut self, source: &str, destination: &str, read_only: bool) -> Self {
        let mode = if read_only { "ro" } else { "rw" };
        if let Some(mounts) = self.config["mounts"].as_array_mut() {
            mounts.push(json!({
                "source": source,
                "destination": destination,
                "type": "bind",
                "options": ["rbind", "rprivate", mode],
            }));
        }
        self
    }

    /// Shares the host's namespace of this type: `pid`, `ipc` or `network`.
    pub(crate) fn host_namespace(mut self, kind: &str) -> Self {
        if let Some(namespaces) = self.config["linux"]["namespaces"].as_array_mut() {
            namespaces.retain(|namespace| namespace["type"] != kind);
        }
        self
    }

    /// Nothing in `/proc` is covered or read-only, as with `procMount: Unmasked`.
    pub(crate) fn unmasked_proc(mut self) -> Self {
        if let Some(linux) = self.config["linux"].as_object_mut() {
            for name in ["maskedPaths", "readonlyPaths"] {
                linux.remove(name);
            }
        }
        self
    }

    /// Has the runtime set a sysctl.
    pub(crate) fn sysctl(mut self, name: &str, value: &str) -> Self {
        self.config["linux"]["sysctl"][name] = json!(value);
        self
    }

    /// A seccomp filter that lets nearly all calls pass, under the name that CRI-O notes, if any.
    pub(crate) fn seccomp(mut self, name: Option<&str>) -> Self {
        self.config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["acct"], "action": "SCMP_ACT_ERRNO" }],
        });
        if let Some(name) = name {
            let key = "io.kubernetes.cri-o.SeccompProfilePath";
            self.config["annotations"][key] = json!(name);
        }
        self
    }

    /// Where the kubelet keeps the volume that [`Self::kubelet_volume`] makes.
    pub(crate) fn kubelet_folder(&self, plugin: &str) -> PathBuf {
        let pod = format!("kubelet/pods/{}/volumes/{plugin}/data", self.id.pod_uid());
        self.folder.path().join(pod)
    }

    /// Mounts an empty volume at a path, as the kubelet does.
    pub(crate) fn empty_dir(self, name: &str, path: &str) -> Result<Self> {
        let folder = self.kubelet_folder(&format!("kubernetes.io~empty-dir/{name}"));
        fs::create_dir_all(&folder).context("cannot make a volume")?;
        let source = folder.display().to_string();
        Ok(self.host_path(&source, path, false))
    }

    /// Mounts a volume at `/mnt` as the kubelet does: from a folder of its plugin in the pod's own,
    /// in a kubelet's folder of the bundle's.
    pub(crate) fn kubelet_volume(self, plugin: &str, files: &[(&str, &str)]) -> Result<Self> {
        let folder = self.kubelet_folder(plugin);
        fs::create_dir_all(folder.join("mount")).context("cannot make a volume")?;
        for (name, text) in files {
            fs::write(folder.join(name), text).context("cannot fill a volume")?;
        }
        let source = folder.join("mount").display().to_string();
        Ok(self.host_path(&source, "/mnt", false))
    }

    /// The pod's namespace and name.
    pub(crate) fn pod(self, namespace: &str, name: &str) -> Self {
        self.annotation("sandbox-namespace", namespace)
            .annotation("sandbox-name", name)
    }

    /// The container's name in its pod.
    pub(crate) fn container_name(self, name: &str) -> Self {
        self.annotation("container-name", name)
    }

    /// The image's name.
    pub(crate) fn image(self, name: &str) -> Self {
        self.annotation("image-name", name)
    }

    /// One annotation of containerd: `io.kubernetes.cri.<name>`.
    pub(crate) fn annotation(mut self, name: &str, value: &str) -> Self {
        self.config["annotations"][format!("io.kubernetes.cri.{name}")] = json!(value);
        self
    }

    /// Copies a program into the root file system, with these permissions.
    pub(crate) fn program(self, from: &Path, to: &str, mode: u32) -> Result<Self> {
        let to = self
            .folder
            .path()
            .join("rootfs")
            .join(to.trim_start_matches('/'));
        copy_program(from, &to, mode)?;
        Ok(self)
    }

    /// Copies a program into the root file system as one that gives its user root's id.
    pub(crate) fn setuid_root(self, from: &Path, to: &str) -> Result<Self> {
        self.program(from, to, 0o4755)
    }

    /// The container's id: 64 hex digits, the first 12 of which no other container has.
    pub(crate) fn id(&self) -> &Id {
        &self.id
    }

    /// The bundle's folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes `config.json`.
    pub(crate) fn write(&self) -> Result<()> {
        let path = self.folder.path().join("config.json");
        let text = serde_json::to_string(&self.config).context("cannot write JSON")?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// A container's id. It tells which process made the container, so that what a killed test left
/// behind is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Id(String);

impl Id {
    const MARK: &str = "fa1";

    /// One that no other container has.
    pub(crate) fn next() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed) & 0xfff;
        let nanos = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| time.as_nanos());
        let mark = Self::MARK;
        Self(format!(
            "{mark}{:06x}{number:03x}{nanos:052x}",
            process::id()
        ))
    }

    /// Reads an id that this code has made.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let ours = text.len() == 64
            && text.starts_with(Self::MARK)
            && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        ours.then(|| Self(text.to_owned()))
    }

    /// The whole id.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 characters, as Falco shows it.
    pub(crate) fn short(&self) -> &str {
        &self.0[..12]
    }

    /// The process that made the container.
    pub(crate) fn maker(&self) -> Option<u32> {
        u32::from_str_radix(&self.0[3..9], 16).ok()
    }

    /// The uid of the container's pod.
    pub(crate) fn pod_uid(&self) -> String {
        // The first 12 digits are unique, the last ones are the time.
        let (unique, time) = (self.short(), &self.0[44..]);
        format!(
            "{}-{}-{}-{}-{}",
            &unique[..8],
            &unique[8..],
            &time[..4],
            &time[4..8],
            &time[8..]
        )
    }

    /// The cgroup's path, as the kubelet chooses it.
    pub(crate) fn cgroup(&self) -> String {
        format!("/kubepods/besteffort/pod{}/{}", self.pod_uid(), self.0)
    }

    fn sandbox(&self) -> String {
        self.0.chars().rev().collect()
    }
}

/// Makes a root file system with busybox.
pub(crate) fn make_rootfs(root: &Path) -> Result<()> {
    let bin = root.join("bin");
    // The folders are mount points, too: a read-only root cannot get them later.
    for name in ["bin", "etc", "proc", "dev", "sys", "tmp", "host/etc", "mnt"] {
        let folder = root.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::set_permissions(root, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot open {} to all", root.display()))?;
    copy_program(Path::new(BUSYBOX), &bin.join("busybox"), 0o755)?;
    let list = Command::new(BUSYBOX)
        .arg("--list")
        .output()
        .with_context(|| format!("cannot run {BUSYBOX}"))?;
    for applet in String::from_utf8_lossy(&list.stdout).lines() {
        if let Err(error) = symlink("busybox", bin.join(applet))
            && error.kind() != ErrorKind::AlreadyExists
        {
            return Err(error).with_context(|| format!("cannot link {applet}"));
        }
    }
    for (name, text) in [
        (
            "passwd",
            "root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n",
        ),
        ("group", "root:x:0:\nuser:x:1000:\n"),
    ] {
        let path = root.join("etc").join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn copy_program(from: &Path, to: &PathBuf, mode: u32) -> Result<()> {
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", to.display()))
}

fn runc_spec(folder: &Path) -> Result<Value> {
    let output = Command::new("runc")
        .args(["spec", "--bundle"])
        .arg(folder)
        .output()
        .context("cannot run runc")?;
    if !output.status.success() {
        bail!("runc spec: {}", String::from_utf8_lossy(&output.stderr));
    }
    let path = folder.join("config.json");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("cannot read {}", path.display()))
}

/// The names of the capabilities that this host can give: root's own bounding set, which is not
/// all of them where the host is a container or a small virtual machine itself.
fn host_capabilities() -> Result<Vec<String>> {
    let status = fs::read_to_string("/proc/self/status").context("cannot read my status")?;
    let bounding = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .context("no CapBnd in my status")?;
    let bounding = u64::from_str_radix(bounding.trim(), 16).context("CapBnd is no number")?;
    let names: Vec<String> = capability::names(bounding)
        .map(|name| format!("CAP_{name}"))
        .collect();
    ensure!(
        !names.is_empty(),
        "this process has no capabilities to give"
    );
    Ok(names)
}
