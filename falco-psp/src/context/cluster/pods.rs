//! A pod as the API server writes it, as far as it matters here; all else, managed fields included,
//! is read over.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::container::Owner;

/// What a Deployment's controller gives the pods of a ReplicaSet, whose name ends with it.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// What the API server tells of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFacts {
    /// Its uid, as the kubelet uses it.
    pub uid: String,
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The workload that controls it.
    pub owner: Option<Owner>,
    /// Its first address, if it has a network of its own.
    pub ip: Option<String>,
}

/// One page of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodList {
    pub(super) kind: String,
    pub(super) metadata: ListMeta,
    pub(super) items: Vec<PodObject>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ListMeta {
    pub(super) resource_version: String,
    #[serde(rename = "continue")]
    pub(super) more: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodObject {
    pub(super) metadata: ObjectMeta,
    spec: Spec,
    status: PodStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ObjectMeta {
    name: String,
    namespace: String,
    uid: String,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<Annotations>,
    owner_references: Option<Vec<OwnerReference>>,
    pub(super) resource_version: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Annotations {
    /// On a static pod's mirror in the API: the uid under which the kubelet runs it
    /// (`ConfigHashAnnotationKey` in kubelet's `types/pod_update.go`).
    #[serde(rename = "kubernetes.io/config.hash")]
    config_hash: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OwnerReference {
    kind: String,
    name: String,
    controller: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    host_network: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodStatus {
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
}

impl PodObject {
    /// What it tells; `None` of something without uid or name, which is no pod.
    pub(super) fn facts(self) -> Option<PodFacts> {
        let meta = self.metadata;
        let hash = meta.annotations.and_then(|all| all.config_hash);
        let uid = hash.unwrap_or(meta.uid);
        if uid.is_empty() || meta.name.is_empty() {
            return None;
        }
        let labels = meta.labels.unwrap_or_default();
        let references = meta.owner_references.unwrap_or_default();
        let controller = references
            .into_iter()
            .find(|owner| owner.controller == Some(true));
        let has_network = self.spec.host_network != Some(true);
        let ip = self
            .status
            .pod_ip
            .filter(|ip| has_network && !ip.is_empty());
        Some(PodFacts {
            uid,
            name: meta.name,
            namespace: meta.namespace,
            owner: controller.map(|owner| workload(owner, &labels)),
            labels,
            ip,
        })
    }
}

/// The workload behind a controller: a ReplicaSet whose name is made of its Deployment's and the
/// hash in the pod's labels is that Deployment's.
fn workload(owner: OwnerReference, labels: &BTreeMap<String, String>) -> Owner {
    let OwnerReference { kind, name, .. } = owner;
    let deployment = || {
        let hash = labels.get(TEMPLATE_HASH).filter(|hash| !hash.is_empty())?;
        let name = name.strip_suffix(hash.as_str())?.strip_suffix('-')?;
        (!name.is_empty()).then(|| name.to_owned())
    };
    match (kind.as_str(), deployment()) {
        ("ReplicaSet", Some(name)) => Owner {
            kind: "Deployment".to_owned(),
            name,
        },
        _ => Owner { kind, name },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(text: &str) -> Option<PodFacts> {
        serde_json::from_str::<PodObject>(text).unwrap().facts()
    }

    #[test]
    fn a_pod_of_a_deployment() {
        let pod = facts(
            r#"{"metadata":{"name":"web-5d-x","namespace":"shop","uid":"u","labels":
            {"app":"web","pod-template-hash":"5d"},"annotations":null,"managedFields":[{"x":1}],
            "ownerReferences":[{"kind":"Node","name":"n"},
            {"kind":"ReplicaSet","name":"web-5d","controller":true,"uid":"r"}]},
            "spec":{"containers":[{"name":"c"}]},"status":{"podIP":"10.0.0.7","phase":"Running"}}"#,
        );
        let pod = pod.unwrap();
        let owner = pod.owner.unwrap();
        assert_eq!((&*owner.kind, &*owner.name), ("Deployment", "web"));
        assert_eq!(pod.labels["app"], "web");
        assert_eq!(pod.ip.as_deref(), Some("10.0.0.7"));
    }

    #[test]
    fn other_owners_are_named_as_they_are() {
        for (reference, expected) in [
            (
                r#"{"kind":"Rollout","name":"web","controller":true}"#,
                Some("Rollout/web"),
            ),
            // A ReplicaSet that someone has made himself.
            (
                r#"{"kind":"ReplicaSet","name":"web","controller":true}"#,
                Some("ReplicaSet/web"),
            ),
            (
                r#"{"kind":"Job","name":"backup-28","controller":true}"#,
                Some("Job/backup-28"),
            ),
            (r#"{"kind":"DaemonSet","name":"agent"}"#, None),
        ] {
            let pod = facts(&format!(
                r#"{{"metadata":{{"name":"p","uid":"u","ownerReferences":[{reference}]}}}}"#
            ));
            let owner = pod.unwrap().owner;
            let owner = owner.map(|owner| format!("{}/{}", owner.kind, owner.name));
            assert_eq!(owner.as_deref(), expected);
        }
    }

    #[test]
    fn a_static_pod_has_the_uid_of_the_kubelet() {
        let pod = facts(
            r#"{"metadata":{"name":"etcd-n","namespace":"kube-system","uid":"api",
            "annotations":{"kubernetes.io/config.hash":"0123","other":"x"}},
            "spec":{"hostNetwork":true},"status":{"podIP":"192.0.2.1"}}"#,
        );
        let pod = pod.unwrap();
        assert_eq!((&*pod.uid, pod.ip), ("0123", None));
    }

    #[test]
    fn what_is_no_pod_tells_nothing() {
        assert_eq!(facts("{}"), None);
        assert_eq!(facts(r#"{"metadata":{"name":"p"}}"#), None);
    }
}
