//! The OCI bundle of a container on disk: what the runtime was told to run.
//!
//! Kubernetes' runtimes write the pod's identity into the bundle's annotations, so that no API is
//! needed for it.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};

use super::volumes;
use crate::container::posture::{HostPort, Protocol, Way};
use crate::container::{BindMount, Pod, Runtime, Volume};

/// What a bundle tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle {
    /// The container's name in its pod.
    pub name: Option<String>,
    /// The image.
    pub image: Option<String>,
    /// The pod.
    pub pod: Pod,
    /// Whether this is the pod's sandbox (its pause container), which no policy judges.
    pub is_sandbox: bool,
    /// Whether the runtime was told to run it privileged.
    pub privileged: bool,
    /// Whether the root was ordered read-only.
    pub root_read_only: bool,
    /// The volumes that were ordered.
    pub volumes: Vec<Volume>,
    /// All that was ordered to be mounted from the host.
    pub mounts: Vec<BindMount>,
    /// Whose layout it has.
    pub runtime: Option<Runtime>,
    /// Whether a seccomp filter was ordered.
    pub has_seccomp: bool,
    /// The name of its profile, which only CRI-O notes.
    pub seccomp: Option<String>,
    /// The AppArmor profile that was ordered, by the kernel's name.
    pub app_armor: Option<String>,
    /// The SELinux label that was ordered.
    pub se_linux: Option<String>,
    /// Whether parts of `/proc` were to be covered or made read-only.
    pub masks_proc: bool,
    /// The names of the sysctls that were ordered, sorted.
    pub sysctls: Vec<String>,
    /// The ports of the host that were to lead to the pod, which only CRI-O notes, in the bundle of
    /// the sandbox.
    pub host_ports: Option<Vec<HostPort>>,
}

/// What came of looking for a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It is there.
    Found(Box<Bundle>),
    /// There is none in any place that is known.
    NotThere,
    /// There is one, and it cannot be read or makes no sense.
    Bad,
}

/// Part of `config.json` (OCI runtime specification). Whatever is not there has its default: a
/// runtime may leave out what it likes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    #[serde(deserialize_with = "or_default")]
    annotations: HashMap<String, String>,
    root: Root,
    process: Process,
    #[serde(deserialize_with = "or_default")]
    mounts: Vec<Mount>,
    linux: Linux,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Process {
    apparmor_profile: String,
    selinux_label: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Root {
    readonly: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Mount {
    destination: String,
    source: String,
    #[serde(rename = "type")]
    mount_type: String,
    #[serde(deserialize_with = "or_default")]
    options: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Linux {
    #[serde(deserialize_with = "or_default")]
    masked_paths: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    readonly_paths: Vec<String>,
    seccomp: Option<serde_json::Value>,
    #[serde(deserialize_with = "or_default")]
    sysctl: BTreeMap<String, String>,
    resources: Resources,
}

/// A port in an annotation of CRI-O (`internal/hostport`).
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PortMapping {
    host_port: i64,
    container_port: i64,
    protocol: String,
}

/// Sysctls that containerd and CRI-O give to every pod by their default configuration, with their
/// values: nobody's wish.
const RUNTIMES_OWN: [(&str, &str); 3] = [
    ("net.ipv4.ip_unprivileged_port_start", "0"),
    ("net.ipv4.ping_group_range", "0 2147483647"),
    ("net.ipv4.ping_group_range", "0 0"),
];

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resources {
    #[serde(deserialize_with = "or_default")]
    devices: Vec<Device>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Device {
    allow: bool,
    access: String,
    #[serde(rename = "type")]
    device_type: Option<String>,
    major: Option<i64>,
    minor: Option<i64>,
}

/// What is there, or the default for nothing: some write `null`.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// The bundle of the container `id`.
pub fn find(id: &str) -> Lookup {
    find_below(Path::new("/"), id)
}

fn find_below(root: &Path, id: &str) -> Lookup {
    // An id comes from the name of a control group; it must not lead elsewhere.
    if id.is_empty() || id.contains('/') || matches!(id, "." | "..") {
        return Lookup::NotThere;
    }
    let mut result = Lookup::NotThere;
    for Candidate { path, runtime } in candidates(root, id) {
        let config = match fs::read(&path) {
            Ok(config) => config,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a bundle cannot be read");
                result = Lookup::Bad;
                continue;
            }
        };
        match parse(&config) {
            Ok(mut bundle) => {
                bundle.runtime = runtime.or(bundle.runtime);
                return Lookup::Found(Box::new(bundle));
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a bundle makes no sense");
                result = Lookup::Bad;
            }
        }
    }
    result
}

/// A place where a `config.json` may be.
struct Candidate {
    path: PathBuf,
    /// Who keeps it there.
    runtime: Option<Runtime>,
}

/// Where runtimes keep the `config.json` of the container `id`.
fn candidates(root: &Path, id: &str) -> Vec<Candidate> {
    let mut found = Vec::new();
    let mut add = |path, runtime| found.push(Candidate { path, runtime });
    // containerd, also k3s' own, and Docker on top of it: one directory a namespace.
    for run in [
        "run/containerd",
        "run/k3s/containerd",
        "run/docker/containerd/daemon",
    ] {
        let tasks = root.join(run).join("io.containerd.runtime.v2.task");
        for namespace in fs::read_dir(tasks).into_iter().flatten().flatten() {
            let runtime = match namespace.file_name().to_str() {
                Some("moby") => Runtime::Docker,
                _ => Runtime::Containerd,
            };
            add(namespace.path().join(id).join("config.json"), Some(runtime));
        }
    }
    // CRI-O and podman: which of them, the annotations tell.
    for storage in ["run/containers/storage", "var/lib/containers/storage"] {
        let container = root.join(storage).join("overlay-containers").join(id);
        add(container.join("userdata/config.json"), None);
    }
    // Plain runc and crun know where the bundle is, also those of a systemd or rootless podman.
    let states = [("run/runc", "state.json"), ("run/crun", "status")];
    for (directory, file) in states {
        let state = fs::read(root.join(directory).join(id).join(file)).unwrap_or_default();
        if let Some(bundle) = bundle_of_state(&state) {
            add(bundle.join("config.json"), None);
        }
    }
    found
}

/// The bundle's directory in a runtime's own record: `bundle` of crun, a label of runc.
fn bundle_of_state(state: &[u8]) -> Option<PathBuf> {
    let state: serde_json::Value = serde_json::from_slice(state).ok()?;
    if let Some(bundle) = state.get("bundle") {
        return bundle.as_str().map(PathBuf::from);
    }
    let labels = state.pointer("/config/labels")?.as_array()?;
    labels
        .iter()
        .find_map(|label| label.as_str()?.strip_prefix("bundle="))
        .map(PathBuf::from)
}

/// Reads a `config.json`.
pub(super) fn parse(config: &[u8]) -> Result<Bundle, serde_json::Error> {
    let config: Config = serde_json::from_slice(config)?;
    let annotation = |keys: &[&str]| {
        keys.iter()
            .find_map(|key| config.annotations.get(*key))
            .filter(|value| !value.is_empty())
            .cloned()
    };
    // containerd's names, then CRI-O's, then the kubelet's own that CRI-O passes on.
    let container_type = annotation(&[
        "io.kubernetes.cri.container-type",
        "io.kubernetes.cri-o.ContainerType",
    ]);
    let linux = &config.linux;
    let every_device = linux.resources.devices.iter().any(|device| {
        let any = |number: Option<i64>| number.is_none_or(|number| number < 0);
        device.allow
            && ["r", "w", "m"]
                .iter()
                .all(|right| device.access.contains(right))
            && device.device_type.as_deref().is_none_or(|kind| kind == "a")
            && any(device.major)
            && any(device.minor)
    });
    Ok(Bundle {
        name: annotation(&[
            "io.kubernetes.cri.container-name",
            "io.kubernetes.container.name",
        ]),
        image: annotation(&[
            "io.kubernetes.cri.image-name",
            "io.kubernetes.cri-o.ImageName",
        ]),
        pod: Pod {
            uid: annotation(&["io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"]),
            name: annotation(&["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"]),
            namespace: annotation(&[
                "io.kubernetes.cri.sandbox-namespace",
                "io.kubernetes.pod.namespace",
            ]),
            sandbox_id: annotation(&[
                "io.kubernetes.cri.sandbox-id",
                "io.kubernetes.cri-o.SandboxID",
            ]),
            ..Pod::default()
        },
        is_sandbox: container_type.as_deref() == Some("sandbox"),
        privileged: every_device && linux.masked_paths.is_empty() && linux.seccomp.is_none(),
        root_read_only: config.root.readonly,
        volumes: config.mounts.iter().filter_map(volume).collect(),
        mounts: config.mounts.iter().filter_map(bind_mount).collect(),
        runtime: runtime(&config.annotations),
        has_seccomp: linux.seccomp.is_some(),
        seccomp: annotation(&["io.kubernetes.cri-o.SeccompProfilePath"])
            .map(|profile| seccomp_profile(&profile)),
        app_armor: some(&config.process.apparmor_profile),
        se_linux: some(&config.process.selinux_label),
        masks_proc: linux
            .masked_paths
            .iter()
            .chain(&linux.readonly_paths)
            .any(|path| path.starts_with("/proc/")),
        sysctls: linux
            .sysctl
            .iter()
            .filter(|(name, value)| !RUNTIMES_OWN.contains(&(name, value)))
            .map(|(name, _)| name.clone())
            .collect(),
        host_ports: annotation(&["io.kubernetes.cri-o.PortMappings"])
            .and_then(|text| serde_json::from_str::<Vec<PortMapping>>(&text).ok())
            .map(|mappings| mappings.iter().filter_map(host_port).collect()),
    })
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A seccomp profile as runtimes name it, in the words of a policy's annotation. A profile of the
/// node is named by its path, which the kubelet makes of its own folder and the pod's name for it
/// (pkg/kubelet/kuberuntime/helpers.go, `fieldSeccompProfile`).
pub(super) fn seccomp_profile(name: &str) -> String {
    const KUBELETS: &str = "/seccomp/";
    match name {
        "runtime/default" | "docker/default" | "RuntimeDefault" => "runtime/default".to_owned(),
        "unconfined" | "Unconfined" => "unconfined".to_owned(),
        name => {
            let path = name.strip_prefix("localhost/").unwrap_or(name);
            let inside = path.split_once(KUBELETS).map(|(_, inside)| inside);
            let own = inside.unwrap_or(path.trim_start_matches('/'));
            format!("localhost/{own}")
        }
    }
}

fn host_port(mapping: &PortMapping) -> Option<HostPort> {
    let protocol = match mapping.protocol.to_ascii_uppercase().as_str() {
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        _ => Protocol::Tcp,
    };
    mapped_port(mapping.host_port, mapping.container_port, protocol)
}

/// A port of the host that leads to one of a pod; `None` for the port 0, which stands for none.
pub(super) fn mapped_port(host: i64, inside: i64, protocol: Protocol) -> Option<HostPort> {
    Some(HostPort {
        port: u16::try_from(host).ok().filter(|port| *port != 0)?,
        protocol,
        way: Way::MappedTo(u16::try_from(inside).ok()?),
    })
}

/// Whose annotations these are.
fn runtime(annotations: &HashMap<String, String>) -> Option<Runtime> {
    let any = |prefix: &str| annotations.keys().any(|key| key.starts_with(prefix));
    let manager = annotations.get("io.container.manager");
    // podman writes some of CRI-O's, too, so it comes first.
    if any("io.podman.") || manager.is_some_and(|manager| manager == "libpod") {
        return Some(Runtime::Podman);
    }
    [
        ("io.kubernetes.cri-o.", Runtime::CriO),
        ("io.kubernetes.cri.", Runtime::Containerd),
    ]
    .into_iter()
    .find_map(|(prefix, runtime)| any(prefix).then_some(runtime))
}

impl Mount {
    fn has(&self, options: &[&str]) -> bool {
        let mut ordered = self.options.iter();
        ordered.any(|option| options.contains(&option.as_str()))
    }

    fn is_bind(&self) -> bool {
        self.mount_type == "bind" || self.has(&["bind", "rbind"])
    }
}

fn bind_mount(mount: &Mount) -> Option<BindMount> {
    let propagation = [
        ("rshared", &["rshared", "shared"]),
        ("rslave", &["rslave", "slave"]),
    ]
    .into_iter()
    .find_map(|(name, options)| mount.has(options).then_some(name));
    mount.is_bind().then(|| BindMount {
        source: mount.source.clone(),
        destination: mount.destination.clone(),
        read_only: mount.has(&["ro"]),
        propagation: propagation.unwrap_or("private"),
    })
}

fn volume(mount: &Mount) -> Option<Volume> {
    if !mount.is_bind() {
        return None;
    }
    Some(Volume {
        volume_type: volumes::volume_type(&mount.source, &mount.destination)?,
        host_path: mount.source.clone(),
        mount_path: mount.destination.clone(),
        read_only: mount.has(&["ro"]),
        fs_group: None,
        driver: volumes::flex_driver(&mount.source),
    })
}

#[cfg(test)]
mod tests;
