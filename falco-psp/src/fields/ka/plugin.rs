//! The fields of Falco's plugin k8saudit that are parts of the event's JSON.
//!
//! Names, types and meanings are those of the plugin's 0.18 (`plugins/k8saudit/pkg/k8saudit`:
//! fields.go, extract.go): every value is text. Where the plugin does not do what its documentation
//! says, the documentation is followed, and the field's help says how.

use serde_json::Value as Json;
use serde_json::value::RawValue;

use crate::event::AuditEvent;
use crate::fields::image::Image;
use crate::fields::{Argument, Extract, Field, Kind, Value, jevt};

/// Where the values of a field are in an event.
#[derive(Clone, Copy, Debug)]
pub(in crate::fields) enum Part {
    /// One scalar, by its JSON pointer.
    One(&'static str),
    /// The items of a list.
    Items(&'static str),
    /// A part of each item of a list; the second pointer begins at the item.
    Each(&'static str, &'static str),
    /// What a function makes of each item of a list.
    Made(&'static str, Make),
    /// What a function finds, given the argument.
    Found(Find),
}

type Make = fn(&Json, &AuditEvent, &mut dyn FnMut(String));
type Find = fn(&AuditEvent, &str, &mut dyn FnMut(String));

impl Part {
    /// Gives the values that the field has in an event; `argument` is the index of an item, or
    /// what the field looks for.
    pub(in crate::fields) fn extract<'e>(
        self,
        event: &'e AuditEvent,
        argument: Option<&str>,
        give: &mut dyn FnMut(Value<'e>),
    ) {
        let mut give = |text: String| give(text.into());
        let list = |pointer| {
            let items: Option<Vec<Json>> =
                raw(event, pointer).and_then(|raw| serde_json::from_str(raw.get()).ok());
            items.unwrap_or_default()
        };
        let wanted = argument.and_then(|index| index.parse::<usize>().ok());
        let is_wanted = |index: usize| wanted.is_none_or(|wanted| wanted == index);
        match self {
            Self::One(pointer) => {
                if let Some(raw) = raw(event, pointer)
                    && let Ok(value) = serde_json::from_str::<Json>(raw.get())
                {
                    text(&value, &mut give);
                }
            }
            Self::Items(pointer) => {
                for (_, item) in list(pointer)
                    .iter()
                    .enumerate()
                    .filter(|(i, _)| is_wanted(*i))
                {
                    text(item, &mut give);
                }
            }
            Self::Each(pointer, inner) => {
                for (_, item) in list(pointer)
                    .iter()
                    .enumerate()
                    .filter(|(i, _)| is_wanted(*i))
                {
                    match item.pointer(inner) {
                        Some(Json::Array(items)) => {
                            items.iter().for_each(|item| text(item, &mut give));
                        }
                        Some(value) => text(value, &mut give),
                        None => {}
                    }
                }
            }
            Self::Made(pointer, make) => {
                for (_, item) in list(pointer)
                    .iter()
                    .enumerate()
                    .filter(|(i, _)| is_wanted(*i))
                {
                    make(item, event, &mut give);
                }
            }
            Self::Found(find) => find(event, argument.unwrap_or_default(), &mut give),
        }
    }
}

fn raw<'e>(event: &'e AuditEvent, pointer: &str) -> Option<&'e RawValue> {
    jevt::raw_part(&event.json, pointer)
}

/// A scalar as text, anything else as JSON; null is no value.
fn text(value: &Json, give: &mut dyn FnMut(String)) {
    match value {
        Json::Null => {}
        Json::String(text) => give(text.clone()),
        other => give(other.to_string()),
    }
}

fn value(event: &AuditEvent, pointer: &str) -> Option<Json> {
    serde_json::from_str(raw(event, pointer)?.get()).ok()
}

const fn one(name: &'static str, help: &'static str, pointer: &'static str) -> Field {
    Field::new(
        name,
        Kind::String,
        help,
        Extract::Plugin(Part::One(pointer)),
    )
}

/// A list without an index.
const fn plain(name: &'static str, help: &'static str, part: Part) -> Field {
    Field::new(name, Kind::String, help, Extract::Plugin(part)).list()
}

/// A list of which an index picks an item.
const fn items(name: &'static str, help: &'static str, part: Part) -> Field {
    let mut field = plain(name, help, part);
    field.argument = Argument::Index;
    field
}

const fn keyed(name: &'static str, help: &'static str, find: Find) -> Field {
    let mut field = Field::new(name, Kind::String, help, Extract::Plugin(Part::Found(find)));
    field.argument = Argument::Key;
    field
}

/// The repository of an image, with its registry: `quay.io:5000/team/app`.
fn repository(image: &Json, give: &mut dyn FnMut(String)) {
    if let Some(repository) = image
        .as_str()
        .and_then(|image| Image::parse(image).repository)
    {
        give(repository.to_owned());
    }
}

/// A container's id, or else the pod's, or else 0.
fn effective(container: &Json, event: &AuditEvent, key: &str) -> String {
    let own = container
        .pointer(&format!("/securityContext/{key}"))
        .cloned();
    let pod = || value(event, &format!("/requestObject/spec/securityContext/{key}"));
    own.filter(|id| !id.is_null())
        .or_else(pod)
        .filter(|id| !id.is_null())
        .map_or_else(|| "0".to_owned(), |id| id.to_string())
}

fn subjects(kind: &'static str, event: &AuditEvent, of: &str, give: &mut dyn FnMut(String)) {
    let all = value(event, "/requestObject/subjects");
    for subject in all.as_ref().and_then(Json::as_array).into_iter().flatten() {
        if subject["kind"] == kind {
            text(&subject[of], give);
        }
    }
}

/// The fields of one list of containers.
macro_rules! containers {
    ($prefix:literal, $section:literal) => {
        [
            items(
                concat!("ka.req.pod.", $prefix, ".name"),
                "names of the containers",
                Part::Each(concat!("/requestObject/spec/", $section), "/name"),
            ),
            items(
                concat!("ka.req.pod.", $prefix, ".image"),
                "images of the containers",
                Part::Each(concat!("/requestObject/spec/", $section), "/image"),
            ),
            items(
                concat!("ka.req.pod.", $prefix, ".image.repository"),
                "the images without tag and digest; a registry's port belongs to it, at which the \
                 plugin stops",
                Part::Made(
                    concat!("/requestObject/spec/", $section),
                    |container, _, give| {
                        repository(&container["image"], give);
                    },
                ),
            ),
            items(
                concat!("ka.req.pod.", $prefix, ".command"),
                "the words of the commands",
                Part::Each(concat!("/requestObject/spec/", $section), "/command"),
            ),
            items(
                concat!("ka.req.pod.", $prefix, ".args"),
                "the arguments",
                Part::Each(concat!("/requestObject/spec/", $section), "/args"),
            ),
            items(
                concat!("ka.req.pod.", $prefix, ".privileged"),
                "privileged, of the containers that say",
                Part::Each(
                    concat!("/requestObject/spec/", $section),
                    "/securityContext/privileged",
                ),
            ),
            items(
                concat!("ka.req.pod.", $prefix, ".allow_privilege_escalation"),
                "allowPrivilegeEscalation, of the containers that say",
                Part::Each(
                    concat!("/requestObject/spec/", $section),
                    "/securityContext/allowPrivilegeEscalation",
                ),
            ),
            items(
                concat!("ka.req.pod.", $prefix, ".read_only_fs"),
                "readOnlyRootFilesystem, of the containers that say",
                Part::Each(
                    concat!("/requestObject/spec/", $section),
                    "/securityContext/readOnlyRootFilesystem",
                ),
            ),
            items(
                concat!("ka.req.pod.", $prefix, ".run_as_user"),
                "runAsUser, of the containers that say",
                Part::Each(
                    concat!("/requestObject/spec/", $section),
                    "/securityContext/runAsUser",
                ),
            ),
            items(
                concat!("ka.req.pod.", $prefix, ".eff_run_as_user"),
                "runAsUser of the container, else of the pod, else 0; the plugin always says 0",
                Part::Made(
                    concat!("/requestObject/spec/", $section),
                    |container, event, give| {
                        give(effective(container, event, "runAsUser"));
                    },
                ),
            ),
            items(
                concat!("ka.req.pod.", $prefix, ".run_as_group"),
                "runAsGroup, of the containers that say",
                Part::Each(
                    concat!("/requestObject/spec/", $section),
                    "/securityContext/runAsGroup",
                ),
            ),
            items(
                concat!("ka.req.pod.", $prefix, ".eff_run_as_group"),
                "runAsGroup of the container, else of the pod, else 0; the plugin always says 0",
                Part::Made(
                    concat!("/requestObject/spec/", $section),
                    |container, event, give| {
                        give(effective(container, event, "runAsGroup"));
                    },
                ),
            ),
            items(
                concat!("ka.req.pod.", $prefix, ".proc_mount"),
                "procMount, of the containers that say",
                Part::Each(
                    concat!("/requestObject/spec/", $section),
                    "/securityContext/procMount",
                ),
            ),
            items(
                concat!("ka.req.pod.", $prefix, ".add_capabilities"),
                "added capabilities; the plugin gives each container's as one text of JSON",
                Part::Each(
                    concat!("/requestObject/spec/", $section),
                    "/securityContext/capabilities/add",
                ),
            ),
            items(
                concat!("ka.req.pod.", $prefix, ".host_port"),
                "ports: the host's, or else the container's",
                Part::Made(
                    concat!("/requestObject/spec/", $section),
                    |container, _, give| {
                        for port in container["ports"].as_array().into_iter().flatten() {
                            match &port["hostPort"] {
                                Json::Null => text(&port["containerPort"], give),
                                port => text(port, give),
                            }
                        }
                    },
                ),
            ),
        ]
    };
}

pub(in crate::fields) static CONTAINERS: [Field; 15] = containers!("containers", "containers");
pub(in crate::fields) static INIT_CONTAINERS: [Field; 15] =
    containers!("initContainers", "initContainers");
pub(in crate::fields) static EPHEMERAL_CONTAINERS: [Field; 15] =
    containers!("ephemeralContainers", "ephemeralContainers");

pub(in crate::fields) static FIELDS: [Field; 48] = [
    one(
        "ka.auth.decision",
        "whether the request was allowed",
        "/annotations/authorization.k8s.io~1decision",
    ),
    one(
        "ka.auth.reason",
        "why",
        "/annotations/authorization.k8s.io~1reason",
    ),
    one(
        "ka.auth.openshift.decision",
        "OpenShift's decision",
        "/annotations/authentication.openshift.io~1decision",
    ),
    one(
        "ka.auth.openshift.username",
        "OpenShift's user",
        "/annotations/authentication.openshift.io~1username",
    ),
    one(
        "ka.validations.admission.policy.failure",
        "failures of admission policies",
        "/annotations/validation.policy.admission.k8s.io~1validation_failure",
    ),
    one(
        "ka.security.pod.violations",
        "violations of Pod Security Standards",
        "/annotations/pod-security.kubernetes.io~1audit-violations",
    ),
    plain(
        "ka.user.groups",
        "groups of who asked",
        Part::Items("/user/groups"),
    ),
    one(
        "ka.impuser.name",
        "whom the request impersonates",
        "/impersonatedUser/username",
    ),
    keyed(
        "ka.uri.param",
        "value of a parameter of the URI, the first if there are several; decoded",
        |event, key, give| {
            let query = event.request.uri.split_once('?');
            let query = query.map_or("", |(_, query)| query);
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            if let Some((_, value)) = pairs.find(|(name, _)| name == key) {
                give(value.into_owned());
            }
        },
    ),
    Field::new(
        "ka.target.pod.name",
        Kind::String,
        "name of the pod that it is about",
        Extract::Plugin(Part::Found(|event, _, give| {
            if event.request.resource == "pods" && !event.request.name.is_empty() {
                give(event.request.name.clone());
            }
        })),
    ),
    plain(
        "ka.req.binding.subjects",
        "subjects of a binding, as JSON",
        Part::Items("/requestObject/subjects"),
    ),
    plain(
        "ka.req.binding.subjects.user_names",
        "users of a binding",
        Part::Found(|event, _, give| subjects("User", event, "name", give)),
    ),
    plain(
        "ka.req.binding.subjects.serviceaccount_names",
        "service accounts of a binding",
        Part::Found(|event, _, give| subjects("ServiceAccount", event, "name", give)),
    ),
    plain(
        "ka.req.binding.subjects.serviceaccount_ns_names",
        "service accounts of a binding, as namespace:name",
        Part::Found(|event, _, give| {
            let all = value(event, "/requestObject/subjects");
            for subject in all.as_ref().and_then(Json::as_array).into_iter().flatten() {
                if let (Some("ServiceAccount"), Some(namespace), Some(name)) = (
                    subject["kind"].as_str(),
                    subject["namespace"].as_str(),
                    subject["name"].as_str(),
                ) {
                    give(format!("{namespace}:{name}"));
                }
            }
        }),
    ),
    plain(
        "ka.req.binding.subjects.group_names",
        "groups of a binding",
        Part::Found(|event, _, give| subjects("Group", event, "name", give)),
    ),
    one(
        "ka.req.binding.role",
        "role of a binding",
        "/requestObject/roleRef/name",
    ),
    keyed(
        "ka.req.binding.subject.has_name",
        "whether a subject of a binding has the name: true or false",
        |event, key, give| {
            let all = value(event, "/requestObject/subjects");
            let mut all = all
                .as_ref()
                .and_then(Json::as_array)
                .into_iter()
                .flatten()
                .peekable();
            if all.peek().is_some() {
                give(all.any(|subject| subject["name"] == key).to_string());
            }
        },
    ),
    one(
        "ka.req.configmap.name",
        "name of a ConfigMap",
        "/objectRef/name",
    ),
    one(
        "ka.req.configmap.obj",
        "data of a ConfigMap, as JSON",
        "/requestObject/data",
    ),
    Field::new(
        "ka.req.container.image",
        Kind::String,
        "image of the first container",
        Extract::Plugin(Part::One("/requestObject/spec/containers/0/image")),
    ),
    Field::new(
        "ka.req.container.image.repository",
        Kind::String,
        "the same without tag and digest",
        Extract::Plugin(Part::Found(|event, _, give| {
            if let Some(image) = value(event, "/requestObject/spec/containers/0/image") {
                repository(&image, give);
            }
        })),
    ),
    one(
        "ka.req.pod.host_ipc",
        "hostIPC",
        "/requestObject/spec/hostIPC",
    ),
    one(
        "ka.req.pod.host_network",
        "hostNetwork",
        "/requestObject/spec/hostNetwork",
    ),
    one(
        "ka.req.container.host_network",
        "the same",
        "/requestObject/spec/hostNetwork",
    ),
    one(
        "ka.req.pod.host_pid",
        "hostPID",
        "/requestObject/spec/hostPID",
    ),
    one(
        "ka.req.container.privileged",
        "privileged of the first container",
        "/requestObject/spec/containers/0/securityContext/privileged",
    ),
    one(
        "ka.req.pod.run_as_user",
        "runAsUser of the pod",
        "/requestObject/spec/securityContext/runAsUser",
    ),
    one(
        "ka.req.pod.run_as_group",
        "runAsGroup of the pod",
        "/requestObject/spec/securityContext/runAsGroup",
    ),
    one(
        "ka.req.pod.fs_group",
        "fsGroup",
        "/requestObject/spec/securityContext/fsGroup",
    ),
    plain(
        "ka.req.pod.supplemental_groups",
        "supplementalGroups",
        Part::Items("/requestObject/spec/securityContext/supplementalGroups"),
    ),
    items(
        "ka.req.role.rules",
        "rules of a role, as JSON",
        Part::Items("/requestObject/rules"),
    ),
    items(
        "ka.req.role.rules.apiGroups",
        "their API groups",
        Part::Each("/requestObject/rules", "/apiGroups"),
    ),
    items(
        "ka.req.role.rules.nonResourceURLs",
        "their URLs",
        Part::Each("/requestObject/rules", "/nonResourceURLs"),
    ),
    items(
        "ka.req.role.rules.verbs",
        "their verbs",
        Part::Each("/requestObject/rules", "/verbs"),
    ),
    items(
        "ka.req.role.rules.resources",
        "their resources",
        Part::Each("/requestObject/rules", "/resources"),
    ),
    one(
        "ka.req.service.type",
        "type of a service",
        "/requestObject/spec/type",
    ),
    items(
        "ka.req.service.ports",
        "ports of a service, as JSON",
        Part::Items("/requestObject/spec/ports"),
    ),
    items(
        "ka.req.pod.volumes.hostpath",
        "the host's paths",
        Part::Each("/requestObject/spec/volumes", "/hostPath/path"),
    ),
    keyed(
        "ka.req.volume.hostpath",
        "whether a hostPath volume has the path, or begins so if it ends in *: true or false",
        |event, key, give| {
            let volumes = value(event, "/requestObject/spec/volumes");
            let mut paths = volumes
                .as_ref()
                .and_then(Json::as_array)
                .into_iter()
                .flatten()
                .filter_map(|volume| volume["hostPath"]["path"].as_str());
            let has = paths.any(|path| match key.strip_suffix('*') {
                Some(prefix) => path.starts_with(prefix),
                None => path == key,
            });
            give(has.to_string());
        },
    ),
    items(
        "ka.req.pod.volumes.flexvolume_driver",
        "drivers of flexVolumes",
        Part::Each("/requestObject/spec/volumes", "/flexVolume/driver"),
    ),
    items(
        "ka.req.pod.volumes.volume_type",
        "keys of the volumes' sources",
        Part::Made("/requestObject/spec/volumes", |volume, _, give| {
            for key in volume
                .as_object()
                .into_iter()
                .flat_map(|volume| volume.keys())
            {
                if key != "name" {
                    give(key.clone());
                }
            }
        }),
    ),
    one(
        "ka.response.reason",
        "the answer's reason",
        "/responseStatus/reason",
    ),
    one("ka.useragent", "the client's program", "/userAgent"),
    items(
        "ka.sourceips",
        "addresses of the client; the plugin never has any",
        Part::Items("/sourceIPs"),
    ),
    one(
        "ka.cluster.name",
        "name of the cluster, if the event has one",
        "/annotations/cluster",
    ),
    one(
        "jevt.time",
        "when the request reached its stage, as the event says it",
        "/stageTimestamp",
    ),
    one("jevt.rawtime", "the same", "/stageTimestamp"),
    Field::new(
        "jevt.obj",
        Kind::String,
        "the whole event as JSON",
        Extract::Plugin(Part::Found(|event, _, give| {
            if let Ok(text) = str::from_utf8(&event.json) {
                give(text.to_owned());
            }
        })),
    ),
];
