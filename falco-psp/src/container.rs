//! A container, with the pod it belongs to: the subject of every verdict.
//!
//! Each fact that may be impossible to learn is an `Option`; `None` is "unknown", never "no".

/// What is known of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// The runtime's full id: 64 hex digits for most, any name for plain runc.
    pub id: String,
    /// The container's name in its pod, or the runtime's name for it.
    pub name: Option<String>,
    /// The image reference as the runtime knows it: `docker.io/library/nginx:1.25`.
    pub image: Option<String>,
    /// The pod, as far as it is known; `None` outside Kubernetes.
    pub pod: Option<Pod>,
    /// Whether it runs privileged.
    pub privileged: Option<bool>,
    /// Whether it shares the host's pid namespace.
    pub host_pid: Option<bool>,
    /// Whether it shares the host's ipc namespace.
    pub host_ipc: Option<bool>,
    /// Whether it shares the host's network namespace.
    pub host_network: Option<bool>,
    /// Whether its root file system is mounted read-only.
    pub root_read_only: Option<bool>,
    /// The volumes in its mount table: what comes from the host or from Kubernetes. Mounts that
    /// the runtime and the kubelet make for every container (`/proc`, `/etc/hosts`, ...) are no
    /// volumes.
    pub volumes: Option<Vec<Volume>>,
}

impl Container {
    /// The id as Falco shows it: its first 12 characters.
    pub fn short_id(&self) -> &str {
        self.id
            .char_indices()
            .nth(12)
            .map_or(&self.id, |(end, _)| &self.id[..end])
    }
}

/// The pod of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Kubernetes' uid, with dashes where the pod is not a static one.
    pub uid: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// Namespace.
    pub namespace: Option<String>,
}

/// One volume mounted into a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// The volume type in the words of `spec.volumes` of a PodSecurityPolicy (`hostPath`,
    /// `configMap`, ...).
    pub volume_type: String,
    /// The path on the host.
    pub host_path: String,
    /// The path in the container.
    pub mount_path: String,
    /// Whether it is mounted read-only.
    pub read_only: bool,
    /// The group that owns the volume's root directory, where that directory has the setgid bit:
    /// how the kubelet applies a pod's fsGroup.
    pub fs_group: Option<u32>,
}
