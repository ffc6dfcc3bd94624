//! Which volumes a container has: read off its mount table and the host's.
//!
//! A mount is a volume if what is mounted can be reached on the host too. Most mounts of a
//! container are not: its root, `/proc`, `/sys`, `/dev` and what masks parts of them belong to the
//! container itself; `/etc/hosts` and the like are made by Kubernetes or the runtime for every
//! container.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::mountinfo::Mount;
use crate::container::Volume;

/// What the mount table tells of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountFacts {
    /// Whether the root is mounted read-only.
    pub root_read_only: Option<bool>,
    /// The id of the mount that is the root.
    pub root_id: Option<u64>,
    /// Where other things are mounted, and the ids of the mounts.
    pub mount_points: Vec<(u64, String)>,
    /// The volumes.
    pub volumes: Vec<Volume>,
    /// Whether parts of `/proc` are covered, as runtimes do for all but privileged containers.
    pub masks_proc: bool,
}

/// File systems that every container has its own mounts of. Without a pid or network namespace of
/// its own a container shares `/proc` or `/sys` with the host, and yet they are no volumes.
const PSEUDO: [&str; 6] = ["proc", "sysfs", "cgroup", "cgroup2", "mqueue", "devpts"];
/// Where the kubelet mounts parts of volumes, in a pod's folder.
const SUBPATHS: &str = "volume-subpaths/";
/// Where those are mounted in every container.
const PSEUDO_PLACES: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Compares the mount table of a container with the host's. `fs_group` tells the group of the
/// volume at a mount point.
pub fn find(
    container: &[Mount],
    host: &[Mount],
    fs_group: impl Fn(&str) -> Option<u32>,
) -> MountFacts {
    // A later mount at the same place covers an earlier one.
    let root = container
        .iter()
        .rev()
        .find(|mount| mount.mount_point == "/");
    let mut facts = MountFacts {
        root_read_only: root.map(|root| root.read_only),
        root_id: root.map(|root| root.id),
        mount_points: container
            .iter()
            .filter(|mount| mount.mount_point != "/")
            .map(|mount| (mount.id, mount.mount_point.clone()))
            .collect(),
        ..MountFacts::default()
    };
    for mount in container {
        if mount.mount_point != "/proc" && is_below(&mount.mount_point, "/proc") {
            facts.masks_proc = true;
        }
        if mount.mount_point == "/" || root.is_some_and(|root| is_own(mount, root)) {
            continue;
        }
        if is_pseudo(mount) {
            continue;
        }
        let Some(host_path) = host_path(mount, host) else {
            continue;
        };
        if let Some(volume_type) = volume_type(&host_path, &mount.mount_point) {
            let fs_group = if volume_type == "hostPath" {
                None
            } else {
                fs_group(&mount.mount_point)
            };
            facts.volumes.push(Volume {
                volume_type,
                mount_path: mount.mount_point.clone(),
                read_only: mount.read_only,
                fs_group,
                driver: flex_driver(&host_path),
                host_path,
            });
        }
    }
    facts
}

/// The group of a directory that has the setgid bit, as process `pid` sees it.
pub fn fs_group_in(pid: u32) -> impl Fn(&str) -> Option<u32> {
    const SETGID: u32 = 0o2000;
    move |path| {
        let metadata = fs::metadata(format!("/proc/{pid}/root{path}")).ok()?;
        (metadata.is_dir() && metadata.mode() & SETGID != 0).then(|| metadata.gid())
    }
}

/// Whether a path is another one, or below it.
pub fn is_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent.trim_end_matches('/'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A part of the container's own root, mounted once more.
fn is_own(mount: &Mount, root: &Mount) -> bool {
    mount.device == root.device && root.root != "/" && is_below(&mount.root, &root.root)
        || (mount.device == root.device && mount.fs_type == "overlay")
}

fn is_pseudo(mount: &Mount) -> bool {
    PSEUDO.contains(&mount.fs_type.as_str())
        && PSEUDO_PLACES
            .iter()
            .any(|place| is_below(&mount.mount_point, place))
}

/// Where on the host the mounted directory is: at the host's mount of the same file system that
/// holds it, the innermost if there are several, and of these rather one in a pod's folder: the
/// kubelet mounts some volumes for all pods first.
///
/// Of a volume's part (`subPath`) the kubelet makes a mount of its own, which does not tell what it
/// is of: that tells the mount that the part was taken from.
fn host_path(mount: &Mount, host: &[Mount]) -> Option<String> {
    let holder = host
        .iter()
        .filter(|held| held.device == mount.device && is_below(&mount.root, &held.root))
        .map(|held| (held, inside_pod_directory(&held.mount_point)))
        .filter(|(_, inside)| inside.is_none_or(|inside| !inside.starts_with(SUBPATHS)))
        .max_by_key(|(held, inside)| (held.root.trim_end_matches('/').len(), inside.is_some()))
        .map(|(held, _)| held)?;
    let rest = mount.root.strip_prefix(holder.root.trim_end_matches('/'))?;
    let path = format!("{}{rest}", holder.mount_point.trim_end_matches('/'));
    Some(match path.trim_end_matches('/') {
        "" => "/".to_owned(),
        path => path.to_owned(),
    })
}

/// The volume type behind a path of the host, in the words of a PodSecurityPolicy; `None` for what
/// Kubernetes or the runtime mounts into every container.
pub fn volume_type(host_path: &str, mount_point: &str) -> Option<String> {
    if let Some(inside_pod) = inside_pod_directory(host_path) {
        return volume_type_of_kubelet(inside_pod);
    }
    let is_made_by_runtime = match mount_point {
        "/etc/hosts" | "/etc/hostname" | "/etc/resolv.conf" | "/dev/shm"
        // CRI-O's and podman's own, and the host's subscriptions that they pass on.
        | "/run/.containerenv" | "/run/secrets" => is_runtime_directory(host_path),
        _ => false,
    };
    // The host's own shared memory, for containers in its ipc namespace.
    let is_host_shm = host_path == "/dev/shm" && mount_point == "/dev/shm";
    (!is_made_by_runtime && !is_host_shm).then(|| "hostPath".to_owned())
}

/// The rest of a path below `<kubelet's root>/pods/<uid>/`.
fn inside_pod_directory(host_path: &str) -> Option<&str> {
    let (_, after) = host_path.split_once("/kubelet/pods/")?;
    let (uid, rest) = after.split_once('/')?;
    let is_uid = uid.len() >= 32 && uid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    is_uid.then_some(rest)
}

/// `etc-hosts`, `containers/…` (termination log), `volumes/<vendor>~<plugin>/<name>`,
/// `volume-subpaths/<name>/…` (pkg/kubelet/kubelet_getters.go).
fn volume_type_of_kubelet(inside_pod: &str) -> Option<String> {
    let mut parts = inside_pod.split('/');
    match parts.next()? {
        "volumes" => {
            let (plugin, name) = (parts.next()?, parts.next()?);
            let volume_type = match plugin.split_once('~') {
                Some(("kubernetes.io", name)) => type_of_plugin(name),
                // Any other vendor is a flexVolume's.
                _ => FLEX,
            };
            let claimed = volume_type == FLEX && is_provisioned(name);
            Some(if claimed { CLAIMED } else { volume_type }.to_owned())
        }
        // A part of a volume whose type the path does not tell (see `host_path`).
        "volume-subpaths" => None,
        _ => None,
    }
}

/// The policy's word for a volume plugin (`pkg/volume/*`: their names without `kubernetes.io/`).
fn type_of_plugin(plugin: &str) -> &str {
    match plugin {
        "configmap" => "configMap",
        "empty-dir" => "emptyDir",
        "downward-api" => "downwardAPI",
        "git-repo" => "gitRepo",
        "aws-ebs" => "awsElasticBlockStore",
        "azure-disk" => "azureDisk",
        "azure-file" => "azureFile",
        "cephfs" => "cephFS",
        "gce-pd" => "gcePersistentDisk",
        "portworx-volume" => "portworxVolume",
        "scaleio" => "scaleIO",
        "vsphere-volume" => "vsphereVolume",
        "photon-pd" => "photonPersistentDisk",
        // A persistent volume on a disk of the node: only a claim leads to it.
        "local-volume" => CLAIMED,
        "cinder" | "csi" | "fc" | "flocker" | "glusterfs" | "iscsi" | "nfs" | "projected"
        | "quobyte" | "rbd" | "secret" | "storageos" => plugin,
        // A flexVolume's driver may call itself `kubernetes.io/lvm`.
        _ => FLEX,
    }
}

const FLEX: &str = "flexVolume";
/// What a pod names for a volume that a claim leads to.
pub(super) const CLAIMED: &str = "persistentVolumeClaim";

/// The driver of a flexVolume at this path of the host: its name in the path has a `~` for the `/`
/// (pkg/volume/flexvolume/util.go, `EscapeQualifiedName`).
pub(super) fn flex_driver(host_path: &str) -> Option<String> {
    let inside_pod = inside_pod_directory(host_path)?;
    let plugin = inside_pod.strip_prefix("volumes/")?.split('/').next()?;
    let is_flex = match plugin.split_once('~') {
        Some(("kubernetes.io", name)) => type_of_plugin(name) == FLEX,
        _ => true,
    };
    is_flex.then(|| plugin.replacen('~', "/", 1))
}

/// Whether a volume's name is one that provisioners give: `pvc-` and the claim's uid. Only a claim
/// leads to such a volume.
fn is_provisioned(name: &str) -> bool {
    let uid = name.strip_prefix("pvc-").unwrap_or_default();
    uid.len() == 36 && uid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

/// Where containerd, Docker, CRI-O and podman keep the files that they mount into every container.
fn is_runtime_directory(host_path: &str) -> bool {
    ["/sandboxes/", "/docker/containers/", "/overlay-containers/"]
        .iter()
        .any(|part| host_path.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::mountinfo::parse;

    const HOST: &str = "\
22 27 0:21 / /proc rw - proc proc rw
23 27 0:22 / /sys rw - sysfs sysfs rw
24 27 0:6 / /dev rw - devtmpfs devtmpfs rw
27 0 254:0 / / rw - ext4 /dev/vda rw
28 27 254:1 / /data rw - ext4 /dev/vdb rw
29 27 0:50 / /var/lib/kubelet/pods/0b4f5c1e-2b7a-4f52-9c4e-0a1b2c3d4e5f/volumes/kubernetes.io~empty-dir/cache rw - tmpfs tmpfs rw
30 24 0:23 / /dev/shm rw - tmpfs tmpfs rw
";
    const KUBELET: &str = "/var/lib/kubelet/pods/0b4f5c1e-2b7a-4f52-9c4e-0a1b2c3d4e5f";

    /// The types and host paths of the volumes of a container with these further mounts.
    fn volumes(lines: &[String]) -> Vec<(String, String, bool)> {
        let mut table = "\
323 300 0:60 / / rw - overlay overlay rw,lowerdir=x
324 323 0:61 / /proc rw - proc proc rw
325 323 0:62 / /dev rw - tmpfs tmpfs rw
326 325 0:63 / /dev/pts rw - devpts devpts rw
327 325 0:59 / /dev/mqueue rw - mqueue mqueue rw
328 323 0:22 / /sys ro - sysfs sysfs ro
329 328 0:30 /kubepods/x /sys/fs/cgroup/pids ro - cgroup cgroup rw,pids
330 324 0:62 /null /proc/kcore rw - tmpfs tmpfs rw
331 324 0:61 /sys /proc/sys ro - proc proc rw
332 324 0:70 / /proc/acpi ro - tmpfs tmpfs ro
"
        .to_owned();
        for line in lines {
            table += line;
            table.push('\n');
        }
        let facts = find(&parse(table.as_bytes()), &parse(HOST.as_bytes()), |_| None);
        let volumes = facts.volumes.into_iter();
        volumes
            .map(|volume| (volume.volume_type, volume.host_path, volume.read_only))
            .collect()
    }

    fn mount(device: &str, root: &str, place: &str, options: &str) -> String {
        format!("400 323 {device} {root} {place} {options} - ext4 /dev/vda rw")
    }

    #[test]
    fn a_plain_container_has_none() {
        assert_eq!(volumes(&[]), []);
    }

    #[test]
    fn host_paths_are_told_as_the_host_knows_them() {
        let found = volumes(&[
            mount("254:0", "/etc", "/host/etc", "rw"),
            mount("254:1", "/logs", "/logs", "ro"),
            mount("254:0", "/", "/host", "ro"),
            "401 323 0:21 / /host/proc ro - proc proc rw".to_owned(),
            "402 323 0:6 / /dev rw - devtmpfs devtmpfs rw".to_owned(),
        ]);
        let path = |path: &str, ro| ("hostPath".to_owned(), path.to_owned(), ro);
        assert_eq!(
            found,
            [
                path("/etc", false),
                path("/data/logs", true),
                path("/", true),
                path("/proc", true),
                path("/dev", false)
            ]
        );
    }

    #[test]
    fn what_kubernetes_and_the_runtime_make_is_no_volume() {
        let sandbox = "/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/ab";
        let run = "/run/containerd/io.containerd.grpc.v1.cri/sandboxes/ab/shm";
        assert_eq!(
            volumes(&[
                mount("254:0", &format!("{KUBELET}/etc-hosts"), "/etc/hosts", "rw"),
                mount(
                    "254:0",
                    &format!("{KUBELET}/containers/c/1"),
                    "/dev/termination-log",
                    "rw"
                ),
                mount(
                    "254:0",
                    &format!("{sandbox}/hostname"),
                    "/etc/hostname",
                    "rw"
                ),
                mount(
                    "254:0",
                    &format!("{sandbox}/resolv.conf"),
                    "/etc/resolv.conf",
                    "rw"
                ),
                mount("254:0", run, "/dev/shm", "rw"),
                "403 323 0:23 / /dev/shm rw - tmpfs tmpfs rw".to_owned(),
            ]),
            []
        );
    }

    #[test]
    fn kubelet_volumes_have_their_type() {
        let of =
            |plugin: &str, ro| mount("254:0", &format!("{KUBELET}/volumes/{plugin}/v"), "/v", ro);
        let found = volumes(&[
            of("kubernetes.io~configmap", "ro"),
            of("kubernetes.io~projected", "ro"),
            of("kubernetes.io~secret", "ro"),
            of("kubernetes.io~downward-api", "ro"),
            of("kubernetes.io~cephfs", "rw"),
            of("acme~lvm", "rw"),
            "404 323 0:50 / /cache rw - tmpfs tmpfs rw".to_owned(),
        ]);
        let types: Vec<&str> = found.iter().map(|volume| volume.0.as_str()).collect();
        assert_eq!(
            types,
            [
                "configMap",
                "projected",
                "secret",
                "downwardAPI",
                "cephFS",
                "flexVolume",
                "emptyDir"
            ]
        );
    }

    #[test]
    fn a_flex_volume_has_its_driver() {
        let driver = |plugin: &str| flex_driver(&format!("{KUBELET}/volumes/{plugin}/v/sub"));
        assert_eq!(driver("acme~lvm").as_deref(), Some("acme/lvm"));
        assert_eq!(driver("lvm").as_deref(), Some("lvm"));
        assert_eq!(
            driver("kubernetes.io~lvm").as_deref(),
            Some("kubernetes.io/lvm")
        );
        assert_eq!(driver("kubernetes.io~nfs"), None);
        assert_eq!(flex_driver("/srv/volumes/acme~lvm/v"), None);
        let kind = |path: &str| volume_type(&format!("{KUBELET}/volumes/{path}"), "/v");
        assert_eq!(kind("kubernetes.io~lvm/v").as_deref(), Some("flexVolume"));
        // Only a claim leads to a volume that a provisioner has named.
        let provisioned = "acme~lvm/pvc-0b4f5c1e-2b7a-4f52-9c4e-0a1b2c3d4e5f";
        assert_eq!(kind(provisioned).as_deref(), Some("persistentVolumeClaim"));
        assert_eq!(kind("acme~lvm/pvc-mine").as_deref(), Some("flexVolume"));
    }

    #[test]
    fn a_part_of_a_volume_is_of_the_volumes_type() {
        let mut host = HOST.to_owned();
        let part = |index: u8, device: &str, root: &str| {
            let place = format!("{KUBELET}/volume-subpaths/v/web/{index}");
            format!("5{index} 27 {device} {root} {place} rw - ext4 /dev/x rw\n")
        };
        host += &part(0, "254:0", "/etc/ssl");
        host += &part(1, "0:50", "/logs");
        let container = "\
323 300 0:60 / / rw - overlay overlay rw,lowerdir=x
400 323 254:0 /etc/ssl /ssl ro - ext4 /dev/vda rw
401 323 0:50 /logs /logs rw - tmpfs tmpfs rw
";
        let facts = find(
            &parse(container.as_bytes()),
            &parse(host.as_bytes()),
            |_| None,
        );
        let volumes: Vec<_> = facts
            .volumes
            .iter()
            .map(|volume| (volume.volume_type.as_str(), volume.host_path.as_str()))
            .collect();
        let cache = format!("{KUBELET}/volumes/kubernetes.io~empty-dir/cache/logs");
        assert_eq!(volumes, [("hostPath", "/etc/ssl"), ("emptyDir", &*cache)]);
    }

    #[test]
    fn a_volume_that_the_kubelet_mounts_twice_is_the_pods() {
        let mount = format!("{KUBELET}/volumes/kubernetes.io~csi/data/mount");
        for last in [false, true] {
            let mut places = [
                "/var/lib/kubelet/plugins/kubernetes.io/csi/acme/1/globalmount",
                &mount,
            ];
            if last {
                places.reverse();
            }
            let host: String = places
                .iter()
                .map(|place| format!("60 27 8:16 / {place} rw - ext4 /dev/sdb rw\n"))
                .collect();
            let container = "323 300 0:60 / / rw - overlay overlay rw\n\
                             400 323 8:16 / /data rw - ext4 /dev/sdb rw\n";
            let facts = find(
                &parse(container.as_bytes()),
                &parse(host.as_bytes()),
                |_| None,
            );
            assert_eq!(facts.volumes[0].host_path, mount);
            assert_eq!(facts.volumes[0].volume_type, "csi");
        }
    }

    #[test]
    fn a_bind_of_the_own_root_is_no_volume() {
        let host = parse(HOST.as_bytes());
        let own = "\
323 300 254:0 /srv/c/rootfs / rw - ext4 /dev/vda rw
324 323 254:0 /srv/c/rootfs/etc /mnt rw - ext4 /dev/vda rw
325 323 254:0 /srv/other /mnt2 rw - ext4 /dev/vda rw
";
        let facts = find(&parse(own.as_bytes()), &host, |_| None);
        let paths: Vec<&str> = facts.volumes.iter().map(|v| v.host_path.as_str()).collect();
        assert_eq!(paths, ["/srv/other"]);
        assert_eq!(facts.root_read_only, Some(false));
        assert!(!facts.masks_proc);
    }

    #[test]
    fn what_crio_and_podman_mount_into_every_container_is_no_volume() {
        let userdata = "/run/containers/storage/overlay-containers/c/userdata";
        for (source, target) in [
            ("/.containerenv", "/run/.containerenv"),
            ("/run/secrets", "/run/secrets"),
            ("/hosts", "/etc/hosts"),
        ] {
            let found = volumes(&[mount("254:0", &format!("{userdata}{source}"), target, "rw")]);
            assert!(found.is_empty(), "{found:?}");
        }
        let found = volumes(&[mount("254:0", "/srv/env", "/run/.containerenv", "rw")]);
        assert_eq!(found.len(), 1, "someone's own");
    }

    #[test]
    fn a_name_like_kubernetes_own_does_not_hide_a_host_path() {
        // `/etc/hosts` from elsewhere is the workload's wish.
        let found = volumes(&[mount("254:0", "/root/hosts", "/etc/hosts", "rw")]);
        assert_eq!(found.len(), 1);
        let found = volumes(&[mount("254:0", "/srv/kubelet/pods/x/etc-hosts", "/h", "rw")]);
        assert_eq!(found.len(), 1);
    }
}
