//! The OCI bundle of a container on disk: what the runtime was told to run.
//!
//! Kubernetes' runtimes write the pod's identity into the bundle's annotations, so that no API is
//! needed for it.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::volumes;
use crate::container::{Pod, Volume};

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

/// The bundle of the container `id`; `None` if there is none in any place that is known, or it
/// cannot be read.
pub fn find(id: &str) -> Option<Bundle> {
    // An id comes from the name of a control group; it must not lead elsewhere.
    if id.is_empty() || id.contains('/') || matches!(id, "." | "..") {
        return None;
    }
    candidates(Path::new("/"), id)
        .into_iter()
        .find_map(|path| parse(&fs::read(path).ok()?))
}

/// Where runtimes keep the `config.json` of the container `id`.
fn candidates(root: &Path, id: &str) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    // containerd, and Docker on top of it: one directory a namespace.
    let tasks = root.join("run/containerd/io.containerd.runtime.v2.task");
    for namespace in fs::read_dir(tasks).into_iter().flatten().flatten() {
        paths.push(namespace.path().join(id).join("config.json"));
    }
    // CRI-O and podman.
    for storage in ["run/containers/storage", "var/lib/containers/storage"] {
        let container = root.join(storage).join("overlay-containers").join(id);
        paths.push(container.join("userdata/config.json"));
    }
    // Plain runc and crun know where the bundle is.
    let states = [("run/runc", "state.json"), ("run/crun", "status")];
    for (directory, file) in states {
        let state = fs::read(root.join(directory).join(id).join(file)).unwrap_or_default();
        if let Some(bundle) = bundle_of_state(&state) {
            paths.push(bundle.join("config.json"));
        }
    }
    paths
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
fn parse(config: &[u8]) -> Option<Bundle> {
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
        },
        is_sandbox: container_type.as_deref() == Some("sandbox"),
        privileged: every_device && linux.masked_paths.is_empty() && linux.seccomp.is_none(),
        root_read_only: config.root.readonly,
        volumes: config.mounts.iter().filter_map(volume).collect(),
    })
}

fn volume(mount: &Mount) -> Option<Volume> {
    let is_bind = mount.mount_type == "bind"
        || mount
            .options
            .iter()
            .any(|option| matches!(option.as_str(), "bind" | "rbind"));
    if !is_bind {
        return None;
    }
    Some(Volume {
        volume_type: volumes::volume_type(&mount.source, &mount.destination)?,
        host_path: mount.source.clone(),
        mount_path: mount.destination.clone(),
        read_only: mount.options.iter().any(|option| option == "ro"),
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
            let mut paths = candidates(root.path(), id).into_iter();
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
        assert_eq!(find(".."), None);
        assert_eq!(find("../../etc"), None);
        assert_eq!(find(""), None);
    }
}
