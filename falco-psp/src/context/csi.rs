//! What the kubelet notes of a CSI volume: its driver, and whether a claim leads to it.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;

use super::volumes::CLAIMED;
use crate::container::Volume;

/// More than the file has.
const MOST: u64 = 64 << 10;

/// `vol_data.json` beside the mounted directory (pkg/volume/csi/csi_plugin.go).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct VolumeData {
    driver_name: String,
    #[serde(default)]
    volume_lifecycle_mode: String,
}

/// Adds the drivers of CSI volumes; those that a claim leads to become what the pod names.
pub(super) fn complete(volumes: &mut [Volume]) {
    // Process 1 sees the host's files where this process sees others, and may look there.
    complete_below(&[Path::new("/"), Path::new("/proc/1/root")], volumes);
}

fn complete_below(roots: &[&Path], volumes: &mut [Volume]) {
    for volume in volumes.iter_mut().filter(|v| v.volume_type == "csi") {
        let data = roots.iter().find_map(|root| read(root, &volume.host_path));
        match data {
            Some(data) if data.volume_lifecycle_mode == "Persistent" => {
                volume.volume_type = CLAIMED.to_owned();
                volume.driver = Some(data.driver_name);
            }
            Some(data) if data.volume_lifecycle_mode == "Ephemeral" => {
                volume.driver = Some(data.driver_name);
            }
            // Kubelets before 1.16 do not note the mode.
            _ => {}
        }
    }
}

fn read(root: &Path, host_path: &str) -> Option<VolumeData> {
    const PLUGIN: &str = "/volumes/kubernetes.io~csi/";
    let (pod, inside) = host_path.split_once(PLUGIN)?;
    let name = inside.split('/').next()?;
    let path = format!("{pod}{PLUGIN}{name}/vol_data.json");
    let file = File::open(root.join(path.trim_start_matches('/'))).ok()?;
    let mut text = Vec::new();
    file.take(MOST).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const POD: &str = "/var/lib/kubelet/pods/0b4f5c1e-2b7a-4f52-9c4e-0a1b2c3d4e5f";

    #[test]
    fn the_kubelet_tells_drivers_and_claims() {
        let root = tempfile::tempdir().unwrap();
        let mut volumes = Vec::new();
        for (name, data) in [
            (
                "inline",
                r#"{"driverName": "csi.acme.io", "volumeLifecycleMode": "Ephemeral"}"#,
            ),
            (
                "claimed",
                r#"{"driverName": "csi.acme.io", "volumeLifecycleMode": "Persistent"}"#,
            ),
            ("old", r#"{"driverName": "csi.acme.io"}"#),
            ("broken", "{"),
        ] {
            let folder = format!("{POD}/volumes/kubernetes.io~csi/{name}");
            let path = root.path().join(folder.trim_start_matches('/'));
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("vol_data.json"), data).unwrap();
            volumes.push(volume(&format!("{folder}/mount/part")));
        }
        volumes.push(volume("/srv/other"));
        let elsewhere = Path::new("/nonexistent");
        complete_below(&[elsewhere, root.path()], &mut volumes);
        let found: Vec<_> = volumes
            .iter()
            .map(|volume| (volume.volume_type.as_str(), volume.driver.as_deref()))
            .collect();
        let driver = Some("csi.acme.io");
        assert_eq!(
            found,
            [
                ("csi", driver),
                (CLAIMED, driver),
                ("csi", None),
                ("csi", None),
                ("csi", None)
            ]
        );
    }

    fn volume(host_path: &str) -> Volume {
        Volume {
            volume_type: "csi".to_owned(),
            host_path: host_path.to_owned(),
            mount_path: "/v".to_owned(),
            read_only: false,
            fs_group: None,
            driver: None,
        }
    }
}
