//! `ka`: Kubernetes audit events. `ka.pod.*` are ours: what a pod asks for, over init, normal and
//! ephemeral containers alike.

pub(super) mod plugin;

use std::collections::BTreeSet;

use serde::Deserialize;

use super::image::Image;
use super::posture::{beginnings, sysctl_parts};
use super::{Extract, Field, Kind, Value, jevt};
use crate::event::{AuditEvent, Request};
use crate::pod::{Named, Pod, PodFacts, path_components};

/// How a field of this class is had.
#[derive(Clone, Copy, Debug)]
pub(super) enum Get {
    /// By code of its own.
    Each(for<'e> fn(&'e AuditEvent, &mut dyn FnMut(Value<'e>))),
    /// A text of the request.
    Text(for<'e> fn(&'e Request) -> &'e str),
    /// By code of its own that needs the pod alone.
    OfPod(for<'e> fn(&'e PodFacts, &mut dyn FnMut(Value<'e>))),
    /// A fact of the pod.
    Flag(fn(&PodFacts) -> bool),
    /// Facts of the pod.
    Texts(for<'e> fn(&'e PodFacts) -> &'e [String]),
    /// Facts of the pod.
    Set(for<'e> fn(&'e PodFacts) -> &'e BTreeSet<String>),
    /// Facts of the pod.
    Ints(for<'e> fn(&'e PodFacts) -> &'e [i64]),
    /// Facts of the pod with what they are of; read off the event anew.
    Named(Named),
}

impl Get {
    /// Gives the values that the field has in `event`.
    pub(super) fn extract<'e>(self, event: &'e AuditEvent, give: &mut dyn FnMut(Value<'e>)) {
        let (request, pod) = (&event.request, event.pod.as_deref());
        match (self, pod) {
            (Self::Each(each), _) => each(event, give),
            (Self::Text(get), _) => {
                let text = get(request);
                if !text.is_empty() {
                    give(text.into());
                }
            }
            // The other fields are of pods.
            (_, None) => {}
            (Self::OfPod(get), Some(pod)) => get(pod, give),
            (Self::Flag(get), Some(pod)) => give(get(pod).into()),
            (Self::Texts(get), Some(pod)) => {
                let texts = get(pod).iter();
                texts.for_each(|text| give(text.as_str().into()));
            }
            (Self::Set(get), Some(pod)) => {
                let texts = get(pod).iter();
                texts.for_each(|text| give(text.as_str().into()));
            }
            (Self::Ints(get), Some(pod)) => {
                let numbers = get(pod).iter();
                numbers.for_each(|number| give((*number).into()));
            }
            (Self::Named(named), Some(_)) => {
                // What a patch has made is in the answer.
                let object = match request.verb.as_str() {
                    "patch" => "/responseObject",
                    _ => "/requestObject",
                };
                if let Some(raw) = jevt::raw_part(&event.json, object)
                    && let Ok(pod) = serde_json::from_str::<Pod<'_>>(raw.get())
                {
                    named.of(&pod, &mut |text| give(text.into()));
                }
            }
        }
    }
}

const fn field(name: &'static str, kind: Kind, help: &'static str, get: Get) -> Field {
    Field::new(name, kind, help, Extract::Audit(get))
}

const fn text(name: &'static str, help: &'static str, get: fn(&Request) -> &str) -> Field {
    field(name, Kind::String, help, Get::Text(get))
}

const fn flag(name: &'static str, help: &'static str, get: fn(&PodFacts) -> bool) -> Field {
    field(name, Kind::Bool, help, Get::Flag(get)).ours()
}

const fn texts(name: &'static str, help: &'static str, get: fn(&PodFacts) -> &[String]) -> Field {
    field(name, Kind::String, help, Get::Texts(get))
        .list()
        .ours()
}

const fn set(
    name: &'static str,
    help: &'static str,
    get: fn(&PodFacts) -> &BTreeSet<String>,
) -> Field {
    field(name, Kind::String, help, Get::Set(get)).list().ours()
}

const fn named(name: &'static str, help: &'static str, named: Named) -> Field {
    field(name, Kind::String, help, Get::Named(named))
        .list()
        .ours()
}

const fn ints(name: &'static str, help: &'static str, get: fn(&PodFacts) -> &[i64]) -> Field {
    field(name, Kind::Int, help, Get::Ints(get)).list().ours()
}

fn paths<'e>(paths: &'e [String], give: &mut dyn FnMut(Value<'e>)) {
    let paths = paths.iter();
    paths.for_each(|path| give(path_components(path).into()));
}

/// `responseObject.metadata.name`. Rules seldom ask for it, and so it is looked for only then.
fn response_name(json: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Audit {
        response_object: Option<Object>,
    }
    #[derive(Deserialize)]
    struct Object {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        name: String,
    }
    let audit: Audit = serde_json::from_slice(json).ok()?;
    Some(audit.response_object?.metadata.name)
}

/// The fields.
pub(super) static FIELDS: &[Field] = &[
    text("ka.auditid", "the event's id", |r| &r.audit_id),
    text("ka.stage", "the stage of the request", |r| &r.stage),
    text("ka.verb", "the request's verb", |r| &r.verb),
    text("ka.uri", "the request's URI", |r| &r.uri),
    text("ka.user.name", "who asked", |r| &r.user),
    text("ka.target.name", "name of the object", |r| &r.name),
    text("ka.target.namespace", "namespace of the object", |r| {
        &r.namespace
    }),
    text("ka.target.resource", "resource of the object", |r| {
        &r.resource
    }),
    text("ka.target.subresource", "its subresource", |r| {
        &r.subresource
    }),
    field(
        "ka.response.code",
        Kind::String,
        "the answer's code",
        Get::Each(|event, give| {
            if let Some(code) = event.request.code {
                give(code.to_string().into());
            }
        }),
    ),
    field(
        "ka.resp.name",
        Kind::String,
        "name of the object in the answer",
        Get::Each(|event, give| {
            if let Some(name) = response_name(&event.json) {
                give(name.into());
            }
        }),
    ),
    field(
        "ka.dry_run",
        Kind::Bool,
        "whether the request was only a trial (?dryRun=All)",
        Get::Each(|event, give| give(event.request.dry_run.into())),
    )
    .ours(),
    texts("ka.pod.images", "images of all containers", |pod| {
        &pod.images
    }),
    field(
        "ka.pod.images.names",
        Kind::String,
        "the images' names in every form: with and without registry, tag and digest",
        Get::OfPod(|pod, give| {
            let images = pod.images.iter();
            images.for_each(|image| {
                Image::parse(image).for_each_name(|name| give(Value::Text(name)))
            });
        }),
    )
    .list()
    .ours(),
    flag(
        "ka.pod.whole",
        "whether all of the pod is known; of the subresource ephemeralcontainers some API servers \
         tell these containers alone",
        |pod| pod.whole,
    ),
    field(
        "ka.pod.name",
        Kind::String,
        "the pod's name; what it is generated from and *, where it has none yet",
        Get::OfPod(|pod, give| give(pod.name.as_str().into())),
    )
    .ours(),
    flag("ka.pod.host_pid", "hostPID", |pod| pod.host_pid),
    flag("ka.pod.host_ipc", "hostIPC", |pod| pod.host_ipc),
    flag("ka.pod.host_network", "hostNetwork", |pod| pod.host_network),
    texts(
        "ka.pod.privileged",
        "names of the privileged containers",
        |pod| &pod.containers.privileged,
    ),
    ints(
        "ka.pod.host_ports",
        "the host's ports that it uses",
        |pod| &pod.containers.host_ports,
    ),
    texts(
        "ka.pod.volumes.types",
        "types of its volumes, in the policy's words",
        |pod| &pod.volumes.types,
    ),
    texts("ka.pod.volumes.host_path", "the host's paths", |pod| {
        &pod.volumes.host_paths
    }),
    field(
        "ka.pod.volumes.host_path.parts",
        Kind::String,
        "the host's paths, so that pmatch compares them as admission does",
        Get::OfPod(|pod, give| paths(&pod.volumes.host_paths, give)),
    )
    .list()
    .ours(),
    field(
        "ka.pod.volumes.host_path.writable.parts",
        Kind::String,
        "the same for those that a container mounts writable",
        Get::OfPod(|pod, give| paths(&pod.volumes.writable_host_paths, give)),
    )
    .list()
    .ours(),
    texts(
        "ka.pod.volumes.flex_drivers",
        "drivers of its flexVolumes",
        |pod| &pod.volumes.flex_drivers,
    ),
    texts(
        "ka.pod.volumes.csi_drivers",
        "drivers of its inline csi volumes",
        |pod| &pod.volumes.csi_drivers,
    ),
    field(
        "ka.pod.fs_group",
        Kind::Int,
        "fsGroup",
        Get::OfPod(|pod, give| {
            if let Some(group) = pod.fs_group {
                give(group.into());
            }
        }),
    )
    .ours(),
    flag(
        "ka.pod.supplemental_groups.set",
        "whether it names supplemental groups",
        |pod| pod.supplemental_groups.is_some(),
    ),
    ints("ka.pod.supplemental_groups", "supplementalGroups", |pod| {
        pod.supplemental_groups.as_deref().unwrap_or_default()
    }),
    ints("ka.pod.users", "user ids of the containers", |pod| {
        &pod.containers.users
    }),
    texts(
        "ka.pod.users.unset",
        "containers without a user id",
        |pod| &pod.containers.without_user,
    ),
    texts(
        "ka.pod.non_root.false",
        "containers with runAsNonRoot: false",
        |pod| &pod.containers.may_be_root,
    ),
    texts(
        "ka.pod.non_root.unset",
        "containers with neither user id nor runAsNonRoot",
        |pod| &pod.containers.without_user_and_non_root,
    ),
    ints("ka.pod.groups", "group ids of the containers", |pod| {
        &pod.containers.groups
    }),
    texts(
        "ka.pod.groups.unset",
        "containers without a group id",
        |pod| &pod.containers.without_group,
    ),
    texts(
        "ka.pod.selinux",
        "SELinux labels: user|role|type|level",
        |pod| &pod.profiles.labels,
    ),
    flag(
        "ka.pod.selinux.unset",
        "whether the pod has no SELinux options",
        |pod| pod.profiles.without_label,
    ),
    texts(
        "ka.pod.writable_root",
        "containers with readOnlyRootFilesystem: false",
        |pod| &pod.containers.writable_root,
    ),
    texts(
        "ka.pod.read_only_root.unset",
        "containers without readOnlyRootFilesystem",
        |pod| &pod.containers.without_read_only_root,
    ),
    texts(
        "ka.pod.escalation",
        "containers with allowPrivilegeEscalation: true",
        |pod| &pod.containers.escalating,
    ),
    texts(
        "ka.pod.escalation.unset",
        "containers without allowPrivilegeEscalation",
        |pod| &pod.containers.without_escalation,
    ),
    set(
        "ka.pod.caps.added",
        "capabilities that a container adds",
        |pod| &pod.capabilities.added,
    ),
    set(
        "ka.pod.caps.dropped",
        "capabilities that every container drops",
        |pod| &pod.capabilities.dropped_by_all,
    ),
    set(
        "ka.pod.caps.named",
        "capabilities that every container adds or drops",
        |pod| &pod.capabilities.named_by_all,
    ),
    texts("ka.pod.sysctls", "sysctls that it sets", |pod| &pod.sysctls),
    field(
        "ka.pod.sysctls.parts",
        Kind::String,
        "the sysctls as paths that end in \"=\", so that pmatch compares patterns",
        Get::OfPod(|pod, give| {
            let names = pod.sysctls.iter();
            names.for_each(|name| give(sysctl_parts(name).into()));
        }),
    )
    .list()
    .ours(),
    field(
        "ka.pod.sysctls.prefixes",
        Kind::String,
        "every beginning of the sysctls' names",
        Get::OfPod(|pod, give| {
            let names = pod.sysctls.iter();
            names.for_each(|name| beginnings(name, give));
        }),
    )
    .list()
    .ours(),
    texts("ka.pod.proc_mounts", "kinds of /proc", |pod| {
        &pod.containers.proc_mounts
    }),
    field(
        "ka.pod.runtime_class",
        Kind::String,
        "runtimeClassName",
        Get::OfPod(|pod, give| {
            if let Some(class) = pod.runtime_class.as_deref() {
                give(class.into());
            }
        }),
    )
    .ours(),
    field(
        "ka.pod.seccomp",
        Kind::String,
        "the pod's profile",
        Get::OfPod(|pod, give| {
            if let Some(profile) = pod.profiles.seccomp.as_deref() {
                give(profile.into());
            }
        }),
    )
    .ours(),
    texts(
        "ka.pod.seccomp.containers",
        "profiles of containers",
        |pod| &pod.profiles.container_seccomp,
    ),
    flag(
        "ka.pod.seccomp.annotated",
        "whether the pod's profile is its annotation's",
        |pod| pod.profiles.seccomp_annotated,
    ),
    texts(
        "ka.pod.apparmor",
        "AppArmor profiles of containers",
        |pod| &pod.profiles.app_armor,
    ),
    texts(
        "ka.pod.apparmor.unset",
        "containers without an AppArmor profile",
        |pod| &pod.profiles.without_app_armor,
    ),
    named(
        "ka.pod.host_ports.of",
        "ports of the host with their containers: web:80",
        Named::HostPorts,
    ),
    named(
        "ka.pod.users.of",
        "user ids with their containers: web:0",
        Named::Users,
    ),
    named(
        "ka.pod.groups.of",
        "group ids with their containers",
        Named::Groups,
    ),
    named(
        "ka.pod.caps.added.of",
        "added capabilities with their containers: web:NET_ADMIN",
        Named::Capabilities,
    ),
    named(
        "ka.pod.proc_mounts.of",
        "kinds of /proc with their containers",
        Named::ProcMounts,
    ),
    named(
        "ka.pod.seccomp.containers.of",
        "seccomp profiles with their containers",
        Named::Seccomp,
    ),
    named(
        "ka.pod.selinux.of",
        "SELinux labels with their containers: web:user:role:type:level",
        Named::SeLinux,
    ),
    named(
        "ka.pod.apparmor.of",
        "AppArmor profiles with their containers",
        Named::AppArmor,
    ),
    named(
        "ka.pod.volumes.types.of",
        "types of volumes with their volumes: logs:hostPath",
        Named::VolumeTypes,
    ),
    named(
        "ka.pod.volumes.host_path.of",
        "the host's paths with their volumes: logs:/var/log",
        Named::HostPaths,
    ),
    named(
        "ka.pod.volumes.flex_drivers.of",
        "drivers of flexVolumes with their volumes",
        Named::FlexDrivers,
    ),
    named(
        "ka.pod.volumes.csi_drivers.of",
        "drivers of inline csi volumes with their volumes",
        Named::CsiDrivers,
    ),
];

#[cfg(test)]
mod tests;
