//! A container, with the pod it belongs to: the subject of every verdict.
//!
//! Each fact that may be impossible to learn is an `Option`; `None` is "unknown", never "no".

pub mod posture;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::control::Control;
use crate::recording::Word;

use posture::{Posture, Why};

/// What is known of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
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
    /// The software that runs it.
    pub runtime: Option<Runtime>,
    /// When it started: nanoseconds since the Unix epoch.
    pub start_ns: Option<u64>,
    /// The digest of the image in use, with its algorithm, where `image` does not have it.
    pub image_digest: Option<String>,
    /// The image's id: the digest of its configuration, with its algorithm.
    pub image_id: Option<String>,
    /// What the runtime was told to mount from the host, what is in every container included.
    pub mounts: Option<Vec<BindMount>>,
    /// The container's own labels, as the runtime has them.
    pub labels: Option<BTreeMap<String, String>>,
    /// Why some of this is unknown.
    pub gaps: Vec<Gap>,
    /// What confines it besides its namespaces.
    pub posture: Posture,
}

/// Namespace, kind and name of a workload; the namespace is empty outside Kubernetes.
pub type WorkloadId = (String, String, String);

/// The software that runs a container, in Falco's words (`container.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    /// containerd, told by Kubernetes or by itself.
    Containerd,
    /// CRI-O.
    CriO,
    /// Docker.
    Docker,
    /// podman.
    Podman,
}

impl Runtime {
    /// Falco's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

/// Why a source of what is known of containers gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gap {
    /// There is no OCI bundle in any place that is known.
    NoBundle,
    /// There is one, and it cannot be read.
    BadBundle,
    /// There is no container runtime to ask, or it is not to be asked.
    NoRuntime,
    /// The runtime was asked and has not answered yet.
    NotYet,
    /// Nobody listens at the runtime's socket.
    RuntimeDown,
    /// The runtime takes the question and says nothing.
    RuntimeSilent,
    /// The runtime's answer is an error or makes no sense.
    BadAnswer,
    /// The runtime does not know the container.
    UnknownToRuntime,
    /// The runtime knows the container, but of no pod.
    NoPod,
}

impl Gap {
    /// For an alert.
    pub fn describe(self) -> &'static str {
        match self {
            Self::NoBundle => "no bundle",
            Self::BadBundle => "bundle unreadable",
            Self::NoRuntime => "no runtime to ask",
            Self::NotYet => "no answer from runtime yet",
            Self::RuntimeDown => "runtime is down",
            Self::RuntimeSilent => "runtime does not answer",
            Self::BadAnswer => "runtime gave no usable answer",
            Self::UnknownToRuntime => "unknown to runtime",
            Self::NoPod => "no Kubernetes labels",
        }
    }

    /// Whether it is about the runtime, and ends when that answers.
    pub fn is_of_runtime(self) -> bool {
        !matches!(self, Self::NoBundle | Self::BadBundle)
    }
}

impl Container {
    /// Notes why the runtime tells nothing of it, instead of what was noted before.
    pub fn runtime_gap(&mut self, gap: Option<Gap>) {
        self.gaps.retain(|known| !known.is_of_runtime());
        self.gaps.extend(gap);
    }
}

impl Container {
    /// What is not known of what confines it, by the control that it matters for.
    pub fn unknown_posture(&self) -> impl Iterator<Item = (Control, Why)> {
        let mut volumes = self.volumes.iter().flatten();
        let no_driver =
            volumes.any(|volume| volume.volume_type == "csi" && volume.driver.is_none());
        let of_volumes = no_driver.then_some((Control::AllowedCsiDrivers, Why::NoVolumeData));
        self.posture.unknown().chain(of_volumes)
    }

    /// The workload that it belongs to: what made its pod, else the pod, else the container itself.
    pub fn workload(&self) -> WorkloadId {
        let pod = self.pod.as_ref();
        let namespace = pod
            .and_then(|pod| pod.namespace.clone())
            .unwrap_or_default();
        let owner = pod.and_then(|pod| pod.owner.as_ref());
        let name_of_pod = pod.and_then(|pod| pod.name.as_ref());
        match (owner, name_of_pod) {
            (Some(owner), _) => (namespace, owner.kind.clone(), owner.name.clone()),
            (None, Some(name)) => (namespace, "Pod".to_owned(), name.clone()),
            (None, None) => {
                let short = self.short_id().to_owned();
                let name = self.name.clone().unwrap_or(short);
                (namespace, "Container".to_owned(), name)
            }
        }
    }

    /// The id as Falco shows it: its first 12 characters.
    pub fn short_id(&self) -> &str {
        short_id(&self.id)
    }
}

/// An id as Falco shows it: its first 12 characters.
pub fn short_id(id: &str) -> &str {
    let end = id.char_indices().nth(12);
    end.map_or(id, |(end, _)| &id[..end])
}

/// The pod of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pod {
    /// Kubernetes' uid, with dashes where the pod is not a static one.
    pub uid: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// Namespace.
    pub namespace: Option<String>,
    /// Its first address, if it has a network of its own.
    pub ip: Option<String>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// The id of its sandbox.
    pub sandbox_id: Option<String>,
    /// What made it.
    pub owner: Option<Owner>,
    /// Its class of service, where the path of its control group tells.
    pub qos: Option<Qos>,
}

/// A pod's class of service, in Kubernetes' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Qos {
    /// All requests equal their limits.
    Guaranteed,
    /// Some requests or limits are set.
    Burstable,
    /// None is.
    BestEffort,
}

impl Qos {
    /// Kubernetes' word for it (`status.qosClass`).
    pub fn name(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

/// The workload that made a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Its kind: `Deployment`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl Owner {
    /// The owner as far as a pod's name and labels prove it: controllers set these labels and make
    /// the name from their own.
    pub fn of(pod: &str, labels: &BTreeMap<String, String>) -> Option<Self> {
        let label = |key: &str| labels.get(key).filter(|value| !value.is_empty());
        let owner = |kind: &str, name: &str| {
            (!name.is_empty()).then(|| Self {
                kind: kind.to_owned(),
                name: name.to_owned(),
            })
        };
        if let Some(job) = label("batch.kubernetes.io/job-name").or_else(|| label("job-name")) {
            return pod.starts_with(job.as_str()).then(|| owner("Job", job))?;
        }
        let (rest, last) = pod.rsplit_once('-')?;
        if label("statefulset.kubernetes.io/pod-name").is_some_and(|name| name == pod) {
            return owner("StatefulSet", rest);
        }
        if let Some(hash) = label("pod-template-hash") {
            // <deployment>-<hash>-<random>
            let deployment = rest.strip_suffix(hash.as_str())?.strip_suffix('-')?;
            return owner("Deployment", deployment);
        }
        // A DaemonSet's pods alone have both.
        let of_daemon_set = label("controller-revision-hash").is_some()
            && label("pod-template-generation").is_some();
        (of_daemon_set && last.len() == 5).then(|| owner("DaemonSet", rest))?
    }
}

/// Something of the host that a runtime was told to mount into a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindMount {
    /// Where it is on the host.
    pub source: String,
    /// Where it is in the container.
    pub destination: String,
    /// Whether it is mounted read-only.
    pub read_only: bool,
    /// Which way later mounts show on the other side, in Linux's words: `private`, `rslave`,
    /// `rshared`.
    #[serde(deserialize_with = "crate::recording::propagation")]
    pub propagation: Word,
}

/// One volume mounted into a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The driver of a csi volume or flexVolume: `csi.acme.io`, `acme/lvm`.
    #[serde(default)]
    pub driver: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_named_where_labels_prove_them() {
        let owner = |pod: &str, labels: &[(&str, &str)]| {
            let labels = labels
                .iter()
                .map(|(key, value)| ((*key).into(), (*value).into()));
            Owner::of(pod, &labels.collect()).map(|owner| format!("{}/{}", owner.kind, owner.name))
        };
        let hash = ("pod-template-hash", "5d69f7c8b");
        let revision = ("controller-revision-hash", "web-6f9c");
        let name = "statefulset.kubernetes.io/pod-name";
        for (pod, labels, expected) in [
            (
                "web-shop-5d69f7c8b-x2x9k",
                &[hash][..],
                Some("Deployment/web-shop"),
            ),
            ("db-0", &[revision, (name, "db-0")], Some("StatefulSet/db")),
            (
                "agent-abcde",
                &[revision, ("pod-template-generation", "1")],
                Some("DaemonSet/agent"),
            ),
            (
                "backup-28-zzzzz",
                &[("job-name", "backup-28")],
                Some("Job/backup-28"),
            ),
            // Labels that someone has written himself.
            ("web", &[hash], None),
            ("web-other-x2x9k", &[hash], None),
            ("5d69f7c8b-x2x9k", &[hash], None),
            ("db-0", &[revision, (name, "db-1")], None),
            ("other", &[("job-name", "backup-28")], None),
            ("agent-abcde", &[revision], None),
            ("web-shop-5d69f7c8b-x2x9k", &[], None),
        ] {
            assert_eq!(owner(pod, labels).as_deref(), expected, "{pod} {labels:?}");
        }
    }
}
