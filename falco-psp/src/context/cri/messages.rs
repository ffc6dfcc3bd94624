//! The messages of the Container Runtime Interface that are used, with those of their fields that
//! are. Names and numbers: `k8s.io/cri-api`, `pkg/apis/runtime/v1/api.proto`.

use std::collections::HashMap;

use prost::{Enumeration, Message};

/// Asks for one container; with `verbose` for all that the runtime knows of it.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ContainerStatusRequest {
    /// The whole id.
    #[prost(string, tag = "1")]
    pub container_id: String,
    /// Whether `info` is wanted.
    #[prost(bool, tag = "2")]
    pub verbose: bool,
}

/// A container.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ContainerStatusResponse {
    /// What the interface defines.
    #[prost(message, optional, tag = "1")]
    pub status: Option<ContainerStatus>,
    /// What the runtime adds: JSON, with containerd and CRI-O under the key `info`.
    #[prost(map = "string, string", tag = "2")]
    pub info: HashMap<String, String>,
}

/// A container as the interface defines it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ContainerStatus {
    /// The whole id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Its name in the pod.
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<ContainerMetadata>,
    /// When it was started, in nanoseconds since the epoch; 0 if it was not yet.
    #[prost(int64, tag = "5")]
    pub started_at: i64,
    /// The image as it was asked for.
    #[prost(message, optional, tag = "8")]
    pub image: Option<ImageSpec>,
    /// The image in use: a name with a digest, or an id.
    #[prost(string, tag = "9")]
    pub image_ref: String,
    /// The container's labels.
    #[prost(map = "string, string", tag = "12")]
    pub labels: HashMap<String, String>,
    /// What is mounted into it from the host.
    #[prost(message, repeated, tag = "14")]
    pub mounts: Vec<Mount>,
    /// The image's id; empty from runtimes older than version 1.29 of the interface.
    #[prost(string, tag = "17")]
    pub image_id: String,
}

/// What a container's name is made of.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ContainerMetadata {
    /// Its name in the pod.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// An image as it was asked for.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ImageSpec {
    /// Name or id.
    #[prost(string, tag = "1")]
    pub image: String,
}

/// Something of the host that is mounted into a container.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Mount {
    /// Where it is in the container.
    #[prost(string, tag = "1")]
    pub container_path: String,
    /// Where it is on the host.
    #[prost(string, tag = "2")]
    pub host_path: String,
    /// Whether it is read-only.
    #[prost(bool, tag = "3")]
    pub readonly: bool,
    /// Which way later mounts show on the other side.
    #[prost(enumeration = "MountPropagation", tag = "5")]
    pub propagation: i32,
}

/// Which way later mounts show on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(super) enum MountPropagation {
    /// Neither.
    Private = 0,
    /// Those of the host in the container.
    HostToContainer = 1,
    /// Both.
    Bidirectional = 2,
}

/// Asks for containers.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ListContainersRequest {
    /// Which.
    #[prost(message, optional, tag = "1")]
    pub filter: Option<ContainerFilter>,
}

/// Which containers are meant.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ContainerFilter {
    /// That of this id.
    #[prost(string, tag = "1")]
    pub id: String,
}

/// Containers.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ListContainersResponse {
    /// Them.
    #[prost(message, repeated, tag = "1")]
    pub containers: Vec<ListedContainer>,
}

/// A container in a list (`Container` in the interface).
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ListedContainer {
    /// The whole id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The id of its pod's sandbox.
    #[prost(string, tag = "2")]
    pub pod_sandbox_id: String,
}

/// Asks for a pod's sandbox; with `verbose` for all that the runtime knows of it.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct PodSandboxStatusRequest {
    /// The whole id.
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
    /// Whether `info` is wanted.
    #[prost(bool, tag = "2")]
    pub verbose: bool,
}

/// A pod's sandbox.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PodSandboxStatusResponse {
    /// It.
    #[prost(message, optional, tag = "1")]
    pub status: Option<PodSandboxStatus>,
    /// What the runtime adds: JSON, with containerd and CRI-O under the key `info`.
    #[prost(map = "string, string", tag = "2")]
    pub info: HashMap<String, String>,
}

/// A pod's sandbox as the interface defines it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PodSandboxStatus {
    /// The whole id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Which pod it is.
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<PodSandboxMetadata>,
    /// Its addresses.
    #[prost(message, optional, tag = "5")]
    pub network: Option<PodSandboxNetworkStatus>,
    /// The pod's labels.
    #[prost(map = "string, string", tag = "7")]
    pub labels: HashMap<String, String>,
}

/// Which pod a sandbox belongs to.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct PodSandboxMetadata {
    /// The pod's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its uid.
    #[prost(string, tag = "2")]
    pub uid: String,
    /// Its namespace.
    #[prost(string, tag = "3")]
    pub namespace: String,
}

/// The addresses of a pod.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct PodSandboxNetworkStatus {
    /// The first; empty in the host's network.
    #[prost(string, tag = "1")]
    pub ip: String,
}
