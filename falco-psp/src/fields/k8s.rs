//! `k8s`: the pod.

use super::Field;
use crate::event::SyscallEvent;

/// The fields.
pub(super) static FIELDS: [Field; 3] = [
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
];

fn pod(event: &SyscallEvent) -> Option<&crate::container::Pod> {
    event.container.pod.as_ref()
}
