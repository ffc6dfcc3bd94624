//! The OCI bundle of a container on disk: what the runtime was told to run.
//!
//! Kubernetes' runtimes write the pod's identity into the bundle's annotations, so that no API is
//! needed for it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::volumes;
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
    annotations: HashMap<String, String>,
    root: Root,
    mounts: Vec<Mount>,
    linux: Linux,
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
    options: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Linux {
    masked_paths: Vec<String>,
    seccomp: Option<serde_json::Value>,
    resources: Resources,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resources {
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
            Some(mut bundle) => {
                bundle.runtime = runtime.or(bundle.runtime);
                return Lookup::Found(Box::new(bundle));
            }
            None => {
                tracing::warn!(path = %path.display(), "a bundle makes no sense");
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
pub(super) fn parse(config: &[u8]) -> Option<Bundle> {
    let config: Config = serde_json::from_slice(config).ok()?;
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
    Some(Bundle {
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
    })
}

/// Whose annotations these are.
fn runtime(annotations: &HashMap<String, String>) -> Option<Runtime> {
    let any = |prefix: &str| annotations.keys().any(|key| key.starts_with(prefix));
    [
        ("io.kubernetes.cri-o.", Runtime::CriO),
        ("io.kubernetes.cri.", Runtime::Containerd),
        ("io.podman.", Runtime::Podman),
        ("io.container.manager", Runtime::Podman),
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
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_identity_and_shape_as_containerd_writes_them() {
        let bundle = parse(
            br#"{
              "annotations": {
                "io.kubernetes.cri.container-type": "container",
                "io.kubernetes.cri.container-name": "web",
                "io.kubernetes.cri.sandbox-name": "web-0",
                "io.kubernetes.cri.sandbox-namespace": "shop",
                "io.kubernetes.cri.sandbox-uid": "u1",
                "io.kubernetes.cri.image-name": "docker.io/library/nginx:1.25"
              },
              "root": {"path": "rootfs", "readonly": true},
              "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/host", "type": "bind", "source": "/etc", "options": ["rbind", "ro"]}
              ],
              "linux": {"resources": {"devices": [{"allow": true, "access": "rwm"}]}}
            }"#,
        )
        .unwrap();
        assert_eq!(bundle.name.as_deref(), Some("web"));
        assert_eq!(bundle.pod.namespace.as_deref(), Some("shop"));
        assert!(bundle.privileged && bundle.root_read_only && !bundle.is_sandbox);
        assert_eq!(bundle.volumes.len(), 1);
        assert_eq!(bundle.volumes[0].host_path, "/etc");
        assert!(bundle.volumes[0].read_only);
    }

    #[test]
    fn an_ordinary_container_is_not_privileged() {
        let devices = br#"{"linux": {"resources": {"devices": [
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}]}}}"#;
        assert!(!parse(devices).unwrap().privileged);
        let masked = br#"{"linux": {"maskedPaths": ["/proc/kcore"],
            "resources": {"devices": [{"allow": true, "access": "rwm"}]}}}"#;
        assert!(!parse(masked).unwrap().privileged);
        assert!(!parse(b"{}").unwrap().privileged);
    }

    #[test]
    fn a_sandbox_is_known_by_its_annotation() {
        for key in [
            "io.kubernetes.cri.container-type",
            "io.kubernetes.cri-o.ContainerType",
        ] {
            let config = format!(r#"{{"annotations": {{"{key}": "sandbox"}}}}"#);
            assert!(parse(config.as_bytes()).unwrap().is_sandbox);
        }
    }

    #[test]
    fn finds_bundles_of_each_runtime() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let found = |id: &str| {
            let mut paths = candidates(root.path(), id)
                .into_iter()
                .map(|candidate| candidate.path);
            paths.find(|path| path.is_file() || path.starts_with("/bundles"))
        };
        write(
            "run/containerd/io.containerd.runtime.v2.task/k8s.io/c1/config.json",
            "{}",
        );
        write(
            "run/containerd/io.containerd.runtime.v2.task/moby/c2/config.json",
            "{}",
        );
        write(
            "var/lib/containers/storage/overlay-containers/c3/userdata/config.json",
            "{}",
        );
        write(
            "run/runc/c4/state.json",
            r#"{"config": {"labels": ["a=b", "bundle=/bundles/c4"]}}"#,
        );
        write("run/crun/c5/status", r#"{"bundle": "/bundles/c5"}"#);
        for id in ["c1", "c2", "c3", "c4", "c5"] {
            assert!(found(id).is_some(), "{id}");
        }
        assert_eq!(found("c6"), None);
        write("run/runc/c6/state.json", "not JSON");
        assert_eq!(found("c6"), None);
    }

    #[test]
    fn an_id_does_not_lead_elsewhere() {
        for id in ["..", "../../etc", ""] {
            assert_eq!(find(id), Lookup::NotThere, "{id}");
        }
    }
}
