//! Can an audit event be judged? Decided before any of the objects in it is looked at.
//!
//! The API server writes the fields of an event in a fixed order, and all that decides comes
//! before the objects. So most events are put aside after some hundred bytes; what follows is
//! then not even checked. Events with another order of fields are read in full.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use memchr::memmem::FinderRev;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::body::is_audit;
use crate::pod::{Pod, Text, or_default};

/// Whether an event can be judged.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is made once an event and never stored"
)]
pub enum Triage<'a> {
    /// It declares a pod.
    Judge(Envelope<'a>),
    /// It cannot be judged, or needs no verdict.
    Skip(Reason),
}

/// Why an event is not judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is about something else than pods.
    NotPod,
    /// It is about a part of a pod that no policy governs: exec, log, eviction, status, …
    Subresource,
    /// It only reads, or deletes.
    Verb,
    /// The API server had not answered yet; another event of the same request tells the end.
    Stage,
    /// The API server refused the request.
    Refused {
        /// The status code.
        code: i32,
        /// Whether one of Kubernetes' own controllers asked; these ask again and again.
        controller: bool,
    },
    /// The event lacks the object, as it is below level Request.
    NoObject {
        /// Whether the audit policy says Metadata; otherwise the object is missing for no reason.
        metadata: bool,
    },
    /// Only a patch is there, and what came of it is not: level Request.
    RawPatch,
    /// It is no audit event.
    Malformed(String),
}

impl Reason {
    /// For people.
    pub fn words(&self) -> String {
        match self {
            Self::NotPod => "it is about something else than pods".to_owned(),
            Self::Subresource => "it is about a part of a pod that no policy governs".to_owned(),
            Self::Verb => "it only reads, or deletes".to_owned(),
            Self::Stage => "the API server had not answered yet".to_owned(),
            Self::Refused { code, .. } => format!("the API server refused it with {code}"),
            Self::NoObject { .. } => "it lacks the object".to_owned(),
            Self::RawPatch => "it has the patch, not what came of it".to_owned(),
            Self::Malformed(why) => why.clone(),
        }
    }

    /// Whether a pod may have been missed, so that the user has to be told.
    pub fn is_blind(&self) -> bool {
        matches!(
            self,
            Self::NoObject { .. } | Self::RawPatch | Self::Malformed(_)
        )
    }
}

/// An event that can be judged.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// The object to judge: a Pod, or EphemeralContainers. Of a request, as it was given defaults
    /// and before admission, and admission judges the same; of a patch, what came of it.
    pub object: Object<'a>,
    /// The pod's namespace, name and so on. Objects may lack them.
    pub target: ObjectRef<'a>,
    /// The request's identity, the same in all its events.
    pub audit_id: Text<'a>,
    /// The stage.
    pub stage: Text<'a>,
    /// The verb.
    pub verb: Text<'a>,
    /// Path and query of the request.
    pub uri: Text<'a>,
    /// The status code.
    pub code: Option<i32>,
    /// When the event was made, RFC 3339.
    pub time: &'a str,
    /// Who asked.
    pub user: Text<'a>,
}

/// The object of an event.
#[derive(Debug)]
pub enum Object<'a> {
    /// Read on the way, as all that decides came before it.
    Read(Box<Pod<'a>>),
    /// Not looked at yet.
    Raw(&'a RawValue),
}

impl<'a> Object<'a> {
    /// The pod.
    ///
    /// # Errors
    /// It is none.
    pub fn into_pod(self) -> Result<Box<Pod<'a>>, Reason> {
        match self {
            Self::Read(pod) => Ok(pod),
            Self::Raw(raw) => serde_json::from_str(raw.get()).map_err(|error| no_pod(&error)),
        }
    }
}

fn no_pod(error: &serde_json::Error) -> Reason {
    Reason::Malformed(format!("its pod is none: {error}"))
}

/// Who asked.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct User<'a> {
    #[serde(borrow)]
    pub(super) username: Text<'a>,
}

/// Whether a request for `uri` was only a trial.
pub(super) fn is_dry_run(uri: &str) -> bool {
    let query = uri.split_once('?').map_or("", |(_, query)| query);
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.any(|(name, value)| name == "dryRun" && value == "All")
}

fn user(raw: Option<&RawValue>) -> Text<'_> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
        .map(|User { username }| username)
        .unwrap_or_default()
}

/// What a request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, bound(deserialize = "'de: 'a"))]
pub struct ObjectRef<'a> {
    /// The resource: `pods`.
    #[serde(deserialize_with = "or_default")]
    pub resource: Text<'a>,
    /// The namespace.
    #[serde(deserialize_with = "or_default")]
    pub namespace: Text<'a>,
    /// The name, unless the API server makes it.
    #[serde(deserialize_with = "or_default")]
    pub name: Text<'a>,
    /// The API group; pods have none.
    #[serde(deserialize_with = "or_default")]
    pub api_group: Text<'a>,
    /// The part that is asked for: `exec`, `ephemeralcontainers`, ...
    #[serde(deserialize_with = "or_default")]
    pub subresource: Text<'a>,
}

/// Decides whether an event can be judged. Does not fail: what is no event is
/// [`Reason::Malformed`].
pub fn triage(event: &[u8]) -> Triage<'_> {
    // All of the event is there, even if its end is never read.
    if event.trim_ascii_end().last() != Some(&b'}') {
        return Triage::Skip(Reason::Malformed("the event is cut off".to_owned()));
    }
    // Once for the whole event is cheaper than for each text in it.
    let event = match str::from_utf8(event) {
        Ok(event) => event,
        Err(error) => {
            let at = error.valid_up_to() + 1;
            return Triage::Skip(Reason::Malformed(format!("no UTF-8 at column {at}")));
        }
    };
    let mut seen = Seen::default();
    let mut json = serde_json::Deserializer::from_str(event);
    let read = Head(&mut seen).deserialize(&mut json);
    match (seen.reason.take(), read.and_then(|()| json.end())) {
        (Some(reason), _) => Triage::Skip(reason),
        // Its end holds nothing that is still needed but the time.
        (None, _) if seen.pod.is_some() => {
            let time = time_at_end(event).unwrap_or_default();
            seen.decide(time)
        }
        (None, Err(error)) if seen.in_pod => Triage::Skip(no_pod(&error)),
        (None, Err(error)) => Triage::Skip(Reason::Malformed(error.to_string())),
        (None, Ok(())) => {
            let time = seen.time.take();
            let Some(Text(Cow::Borrowed(time))) = time else {
                return seen.decide("");
            };
            seen.decide(time)
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Key {
    Kind,
    ApiVersion,
    Level,
    #[serde(rename = "auditID")]
    AuditId,
    Stage,
    #[serde(rename = "requestURI")]
    RequestUri,
    Verb,
    User,
    ObjectRef,
    ResponseStatus,
    RequestObject,
    ResponseObject,
    StageTimestamp,
    Items,
    #[serde(other)]
    Other,
}

/// The stage's time, as the API server writes it after the objects.
fn time_at_end(event: &str) -> Option<&str> {
    const KEY: &str = "\"stageTimestamp\":";
    static FINDER: LazyLock<FinderRev<'_>> = LazyLock::new(|| FinderRev::new(KEY));
    let after = FINDER.rfind(event)? + KEY.len();
    let text = event.get(after..)?.trim_start().strip_prefix('"')?;
    Some(text.split_once('"')?.0)
}

/// The answer's status.
#[derive(Deserialize)]
pub(super) struct Status {
    pub(super) code: Option<i32>,
}

/// What has been read of an event.
#[derive(Default)]
struct Seen<'a> {
    level: Option<Text<'a>>,
    audit_id: Option<Text<'a>>,
    stage: Option<Text<'a>>,
    uri: Option<Text<'a>>,
    verb: Option<Text<'a>>,
    user: Option<&'a RawValue>,
    target: Option<ObjectRef<'a>>,
    status: Option<Status>,
    /// The pod, if it was read at once.
    pod: Option<Box<Pod<'a>>>,
    /// Whether the pod is being read.
    in_pod: bool,
    request: Option<&'a RawValue>,
    response: Option<&'a RawValue>,
    time: Option<Text<'a>>,
    /// Set as soon as it is clear, at which the reading ends.
    reason: Option<Reason>,
    /// Where the pod is, as soon as all else is there that is needed.
    object_is: Option<Key>,
}

impl<'a> Seen<'a> {
    /// The reason why the event is not judged, if what has been read is enough for it.
    /// The order is that of the enum, whatever the order of the fields.
    fn early(&mut self) -> Option<Reason> {
        let target = self.target.as_ref()?;
        if &*target.resource != "pods" || !target.api_group.is_empty() {
            return Some(Reason::NotPod);
        }
        if !matches!(&*target.subresource, "" | "ephemeralcontainers") {
            return Some(Reason::Subresource);
        }
        let verb = self.verb.as_ref()?;
        if !matches!(&**verb, "create" | "update" | "patch") {
            return Some(Reason::Verb);
        }
        let stage = self.stage.as_ref()?;
        if matches!(&**stage, "RequestReceived" | "ResponseStarted") {
            return Some(Reason::Stage);
        }
        let code = self.status.as_ref()?.code?;
        if code >= 400 {
            let user = user(Some(self.user?));
            let controller = user
                .strip_prefix("system:serviceaccount:kube-system:")
                .is_some_and(|name| name.ends_with("-controller"));
            return Some(Reason::Refused { code, controller });
        }
        let is_patch = &**verb == "patch";
        self.object_is = match (self.user.is_some() && self.uri.is_some(), is_patch) {
            (false, _) => None,
            (true, true) => Some(Key::ResponseObject),
            (true, false) => Some(Key::RequestObject),
        };
        None
    }

    /// Decides with all of the event read that matters.
    fn decide(mut self, time: &'a str) -> Triage<'a> {
        let missing = |name: &str| {
            let message = format!("not an audit event: it has no {name}");
            Triage::Skip(Reason::Malformed(message))
        };
        let Some(stage) = self.stage.take() else {
            return missing("stage");
        };
        let Some(verb) = self.verb.take() else {
            return missing("verb");
        };
        // Requests for no resource (/healthz, /version) have none.
        let Some(target) = self.target.take() else {
            return Triage::Skip(Reason::NotPod);
        };
        let code = self.status.take().and_then(|status| status.code);
        if let Some(code) = code.filter(|code| *code >= 400) {
            let controller = false;
            return Triage::Skip(Reason::Refused { code, controller });
        }
        let object = match (self.pod, &*verb, self.request, self.response) {
            (Some(pod), ..) => Object::Read(pod),
            (None, "patch", _, Some(response)) => Object::Raw(response),
            (None, "patch", Some(_), None) => return Triage::Skip(Reason::RawPatch),
            (None, "create" | "update", Some(request), _) => Object::Raw(request),
            _ => {
                let metadata = matches!(&self.level, Some(level) if &**level == "Metadata");
                return Triage::Skip(Reason::NoObject { metadata });
            }
        };
        Triage::Judge(Envelope {
            object,
            target,
            audit_id: self.audit_id.unwrap_or_default(),
            stage,
            verb,
            uri: self.uri.unwrap_or_default(),
            code,
            time,
            user: user(self.user),
        })
    }
}

struct Head<'s, 'a>(&'s mut Seen<'a>);

impl<'de> DeserializeSeed<'de> for Head<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Head<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an audit event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let seen = self.0;
        while let Some(key) = map.next_key()? {
            if seen.object_is == Some(key) {
                seen.in_pod = true;
                seen.pod = map.next_value()?;
                seen.in_pod = false;
                if seen.pod.is_none() {
                    continue;
                }
                // Ends the reading.
                return Err(de::Error::custom(""));
            }
            match key {
                Key::Kind => {
                    if let Some(kind) = map.next_value::<Option<Text<'_>>>()?
                        && &*kind != "Event"
                    {
                        return Err(de::Error::custom(format_args!("kind is {:?}", &*kind)));
                    }
                    continue;
                }
                Key::ApiVersion => {
                    if let Some(version) = map.next_value::<Option<Text<'_>>>()?
                        && !is_audit(&version)
                    {
                        return Err(de::Error::custom(format_args!(
                            "apiVersion is {:?}, not audit.k8s.io/v1",
                            &*version
                        )));
                    }
                    continue;
                }
                Key::Items => return Err(de::Error::custom("a list where an event should be")),
                Key::Level => seen.level = map.next_value()?,
                Key::AuditId => seen.audit_id = map.next_value()?,
                Key::RequestUri => seen.uri = map.next_value()?,
                Key::RequestObject => seen.request = map.next_value()?,
                Key::ResponseObject => seen.response = map.next_value()?,
                Key::StageTimestamp => seen.time = map.next_value()?,
                Key::User => seen.user = map.next_value()?,
                Key::Stage => seen.stage = map.next_value()?,
                Key::Verb => seen.verb = map.next_value()?,
                Key::ObjectRef => seen.target = map.next_value()?,
                Key::ResponseStatus => seen.status = map.next_value()?,
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            }
            if seen.target.is_some() {
                seen.reason = seen.early();
                if seen.reason.is_some() {
                    // Ends the reading.
                    return Err(de::Error::custom(""));
                }
            }
        }
        Ok(())
    }
}
