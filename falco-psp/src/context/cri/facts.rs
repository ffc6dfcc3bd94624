//! What a container runtime tells of a container.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::messages::{
    ContainerStatus, ContainerStatusResponse, Mount, MountPropagation, PodSandboxStatus,
    PodSandboxStatusResponse,
};
use super::orders::{SandboxOrders, SecurityContext};
use crate::container::posture::{Fact, ProcMount, Why};
use crate::container::{BindMount, Container, Gap, Owner, Pod};
use crate::context::bundle::{self, Bundle};

/// Labels that the kubelet gives each container.
const POD_NAME: &str = "io.kubernetes.pod.name";
const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
const POD_UID: &str = "io.kubernetes.pod.uid";
const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// What the kubelet's own labels begin with.
const KUBELET: &str = "io.kubernetes.";

/// What a container runtime tells of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeFacts {
    /// Whether it is a pod's sandbox, which no policy judges.
    pub is_sandbox: bool,
    name: Option<String>,
    image: Option<String>,
    image_digest: Option<String>,
    image_id: Option<String>,
    privileged: Option<bool>,
    start_ns: Option<u64>,
    mounts: Option<Vec<BindMount>>,
    labels: Option<BTreeMap<String, String>>,
    pod: Pod,
    /// The runtime's specification of the container, as in the bundle.
    bundle: Option<Bundle>,
    /// The seccomp profile that was ordered, in the words of a policy.
    seccomp: Option<String>,
    ordered: SandboxOrders,
}

/// What containerd and CRI-O add to a container's status.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Info<'a> {
    #[serde(rename = "sandboxID")]
    sandbox_id: Option<String>,
    /// CRI-O's.
    privileged: Option<bool>,
    /// containerd's: what the kubelet ordered.
    config: Option<Config>,
    #[serde(borrow, rename = "runtimeSpec")]
    runtime_spec: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    linux: Option<LinuxConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LinuxConfig {
    security_context: Option<SecurityContext>,
}

/// The verbose part of a status. One that makes no sense costs no more than itself.
fn info(response: &ContainerStatusResponse) -> Info<'_> {
    let text = response.info.get("info").map_or("{}", String::as_str);
    serde_json::from_str(text).unwrap_or_else(|error| {
        tracing::debug!(%error, "a container's verbose status makes no sense");
        Info::default()
    })
}

/// The id of the sandbox, where the runtime adds it.
pub(super) fn sandbox_id(response: &ContainerStatusResponse) -> Option<String> {
    info(response).sandbox_id.and_then(some)
}

impl RuntimeFacts {
    /// Of a container, and its pod's sandbox; `None` if the answer has no container in it.
    pub(super) fn of_container(
        response: ContainerStatusResponse,
        sandbox: Option<PodSandboxStatusResponse>,
    ) -> Option<Self> {
        let Info {
            sandbox_id,
            privileged,
            config,
            runtime_spec,
        } = info(&response);
        let security_context = config.and_then(|config| config.linux?.security_context);
        let ordered = security_context.as_ref().map(|context| context.privileged);
        let seccomp = security_context.and_then(|context| context.seccomp());
        let bundle = runtime_spec.and_then(|spec| bundle::parse(spec.get().as_bytes()).ok());
        let privileged = ordered.or(privileged);
        let status = response.status?;
        let image_id = image_id(&status);
        let label = |key: &str| status.labels.get(key).cloned().and_then(some);
        let metadata = status.metadata.and_then(|metadata| some(metadata.name));
        let of_sandbox = sandbox.as_ref().map(SandboxOrders::of);
        let mut pod = sandbox.map(pod_of).unwrap_or_default();
        pod.name = label(POD_NAME).or(pod.name);
        pod.namespace = label(POD_NAMESPACE).or(pod.namespace);
        pod.uid = label(POD_UID).or(pod.uid);
        pod.sandbox_id = pod.sandbox_id.or(sandbox_id);
        Some(Self {
            is_sandbox: false,
            name: label(CONTAINER_NAME).or(metadata),
            image: status.image.and_then(|image| some(image.image)),
            image_id,
            image_digest: status
                .image_ref
                .split_once('@')
                .and_then(|(_, digest)| some(digest.to_owned())),
            privileged,
            start_ns: u64::try_from(status.started_at).ok().filter(|ns| *ns != 0),
            mounts: Some(status.mounts.into_iter().map(bind_mount).collect()),
            labels: Some(status.labels.into_iter().collect()),
            pod,
            bundle,
            seccomp,
            ordered: of_sandbox.unwrap_or_default(),
        })
    }

    /// Of a container of which nothing but the pod is known.
    #[cfg(test)]
    pub(crate) fn of_pod(namespace: &str, name: &str) -> Self {
        let pod = Pod {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..Pod::default()
        };
        Self {
            pod,
            ..Self::default()
        }
    }

    /// A sandbox of which nothing is known.
    #[cfg(test)]
    pub(crate) fn sandbox() -> Self {
        Self::of_sandbox(PodSandboxStatusResponse::default())
    }

    /// Of a sandbox.
    pub(super) fn of_sandbox(response: PodSandboxStatusResponse) -> Self {
        Self {
            is_sandbox: true,
            pod: pod_of(response),
            ..Self::default()
        }
    }

    /// Adds to a container what was not known of it. What the runtime was told of privileges is
    /// truer than what was concluded from the bundle.
    pub fn add_to(&self, container: &mut Container) {
        let bundle = self.bundle.as_ref();
        let pod = container.pod.take().unwrap_or_default();
        let mut pod = merged(pod, &self.pod);
        if let Some(bundle) = bundle {
            pod = merged(pod, &bundle.pod);
            fill(&mut container.name, &bundle.name);
            fill(&mut container.image, &bundle.image);
            fill(&mut container.root_read_only, &Some(bundle.root_read_only));
            fill(&mut container.volumes, &Some(bundle.volumes.clone()));
            fill(&mut container.mounts, &Some(bundle.mounts.clone()));
            fill(&mut container.runtime, &bundle.runtime);
        }
        if let (Some(name), Some(labels)) = (&pod.name, &pod.labels) {
            pod.owner = Owner::of(name, labels);
        }
        let posture = &mut container.posture;
        let name = self.seccomp.as_ref();
        let name = name.or(bundle.and_then(|bundle| bundle.seccomp.as_ref()));
        if let (Fact::Unknown(Why::Unnamed), Some(name)) = (&posture.seccomp, name) {
            posture.seccomp = Fact::Known(name.clone());
        }
        if bundle.is_some_and(|bundle| bundle.masks_proc) {
            posture.proc_mount = Fact::Known(ProcMount::Default);
        }
        self.ordered.add_to(posture);
        let gap = pod.name.is_none().then_some(Gap::NoPod);
        container.pod = (pod != Pod::default()).then_some(pod);
        container.runtime_gap(gap);
        fill(&mut container.name, &self.name);
        // An image that is named by its id says less than a name.
        fill(&mut container.image, &self.image);
        fill(&mut container.image_digest, &self.image_digest);
        fill(&mut container.image_id, &self.image_id);
        fill(&mut container.start_ns, &self.start_ns);
        fill(&mut container.labels, &self.labels);
        if self.mounts.is_some() {
            container.mounts.clone_from(&self.mounts);
        }
        let privileged = self.privileged.or(bundle.map(|bundle| bundle.privileged));
        if self.privileged.is_some() || container.gaps.contains(&Gap::NoBundle) {
            container.privileged = privileged.or(container.privileged);
        }
    }
}

/// The image's id. A reference that is a bare `sha256:...` is one: the digest of the image's
/// configuration. CRI-O leaves the algorithm out of ids.
fn image_id(status: &ContainerStatus) -> Option<String> {
    let is_bare = status.image_ref.starts_with("sha256:");
    let id = some(status.image_id.clone()).or_else(|| is_bare.then(|| status.image_ref.clone()))?;
    let is_digits = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some(match is_digits {
        true => format!("sha256:{id}"),
        false => id,
    })
}

/// The first, with what it lacks from the second.
fn merged(mut pod: Pod, more: &Pod) -> Pod {
    let Pod {
        uid,
        name,
        namespace,
        ip,
        labels,
        sandbox_id,
        owner,
        qos,
    } = more;
    fill(&mut pod.uid, uid);
    fill(&mut pod.name, name);
    fill(&mut pod.namespace, namespace);
    fill(&mut pod.ip, ip);
    fill(&mut pod.labels, labels);
    fill(&mut pod.sandbox_id, sandbox_id);
    fill(&mut pod.owner, owner);
    fill(&mut pod.qos, qos);
    pod
}

fn fill<T: Clone>(known: &mut Option<T>, more: &Option<T>) {
    if known.is_none() {
        known.clone_from(more);
    }
}

fn pod_of(response: PodSandboxStatusResponse) -> Pod {
    let PodSandboxStatus {
        id,
        metadata,
        network,
        labels,
    } = response.status.unwrap_or_default();
    let metadata = metadata.unwrap_or_default();
    Pod {
        uid: some(metadata.uid),
        name: some(metadata.name),
        namespace: some(metadata.namespace),
        ip: network.and_then(|network| some(network.ip)),
        labels: Some(pod_labels(labels)),
        sandbox_id: some(id),
        owner: None,
        qos: None,
    }
}

/// A pod's labels, without those that the kubelet adds for itself.
fn pod_labels(labels: HashMap<String, String>) -> BTreeMap<String, String> {
    let labels = labels.into_iter();
    labels
        .filter(|(key, _)| !key.starts_with(KUBELET))
        .collect()
}

fn bind_mount(mount: Mount) -> BindMount {
    let propagation = match mount.propagation() {
        MountPropagation::Private => "private",
        MountPropagation::HostToContainer => "rslave",
        MountPropagation::Bidirectional => "rshared",
    };
    BindMount {
        propagation,
        source: mount.host_path,
        destination: mount.container_path,
        read_only: mount.readonly,
    }
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests;
