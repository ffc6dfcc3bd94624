//! `k8s`: the pod.

use super::{Field, labels};
use crate::container::short_id;
use crate::event::SyscallEvent;

/// The fields.
pub(super) static FIELDS: [Field; 11] = [
    Field::text("k8s.ns.name", "the pod's namespace", |event, _, give| {
        if let Some(namespace) = pod(event).and_then(|pod| pod.namespace.as_deref()) {
            give(namespace.into());
        }
    }),
    Field::text("k8s.pod.name", "the pod's name", |event, _, give| {
        if let Some(name) = pod(event).and_then(|pod| pod.name.as_deref()) {
            give(name.into());
        }
    }),
    Field::text("k8s.pod.uid", "the pod's uid", |event, _, give| {
        if let Some(uid) = pod(event).and_then(|pod| pod.uid.as_deref()) {
            give(uid.into());
        }
    }),
    Field::text(
        "k8s.pod.ip",
        "the pod's first address, if it has a network of its own",
        |event, _, give| {
            if let Some(ip) = pod(event).and_then(|pod| pod.ip.as_deref()) {
                give(ip.into());
            }
        },
    ),
    Field::text(
        "k8s.pod.labels",
        "the pod's labels: key:value, key:value",
        |event, _, give| labels::all(pod(event).and_then(|pod| pod.labels.as_ref()), give),
    ),
    Field::text(
        "k8s.pod.label",
        "one of the pod's labels",
        |event, argument, give| {
            let labels = pod(event).and_then(|pod| pod.labels.as_ref());
            labels::one(labels, argument, give);
        },
    )
    .keyed(),
    Field::text(
        "k8s.pod.sandbox_id",
        "the id of the pod's sandbox, its first 12 characters",
        |event, _, give| {
            if let Some(id) = pod(event).and_then(|pod| pod.sandbox_id.as_deref()) {
                give(short_id(id).into());
            }
        },
    ),
    Field::text(
        "k8s.pod.full_sandbox_id",
        "the full id of the pod's sandbox",
        |event, _, give| {
            if let Some(id) = pod(event).and_then(|pod| pod.sandbox_id.as_deref()) {
                give(id.into());
            }
        },
    ),
    Field::text(
        "k8s.pod.qos",
        "the pod's class of service, as the path of its control group tells: Guaranteed, \
         Burstable or BestEffort",
        |event, _, give| {
            if let Some(qos) = pod(event).and_then(|pod| pod.qos) {
                give(qos.name().into());
            }
        },
    )
    .ours(),
    Field::text(
        "k8s.owner.kind",
        "the kind of the workload that made the pod, as the API server tells it or the pod's labels \
         and name prove it: Deployment, StatefulSet, DaemonSet, Job or another",
        |event, _, give| {
            if let Some(owner) = pod(event).and_then(|pod| pod.owner.as_ref()) {
                give(owner.kind.as_str().into());
            }
        },
    )
    .ours(),
    Field::text(
        "k8s.owner.name",
        "the name of the workload that made the pod, as the API server tells it or the pod's labels \
         and name prove it",
        |event, _, give| {
            if let Some(owner) = pod(event).and_then(|pod| pod.owner.as_ref()) {
                give(owner.name.as_str().into());
            }
        },
    )
    .ours(),
];

fn pod(event: &SyscallEvent) -> Option<&crate::container::Pod> {
    event.container.pod.as_ref()
}
