//! From the JSON of an audit event to the event that rules judge.

use bytes::Bytes;
use jiff::Timestamp;

use super::triage::{Reason, Triage, triage};
use crate::event::{AuditEvent, Request};
use crate::pod::{Pod, PodFacts};

/// Decodes an event, if it can be judged.
///
/// # Errors
/// Why it cannot be judged, or need not be.
pub fn decode(json: Bytes, number: u64) -> Result<AuditEvent, Reason> {
    let envelope = match triage(&json) {
        Triage::Judge(envelope) => envelope,
        Triage::Skip(reason) => return Err(reason),
    };
    let pod: Pod<'_> = serde_json::from_str(envelope.object.get())
        .map_err(|error| Reason::Malformed(format!("its pod is none: {error}")))?;
    let facts = PodFacts::of(&pod);
    let target = &envelope.target;
    let or_pods = |target: &str, pods: &str| match target {
        "" => pods.to_owned(),
        target => target.to_owned(),
    };
    let time = envelope.time.parse::<Timestamp>().ok();
    let time = time.and_then(|time| u64::try_from(time.as_nanosecond()).ok());
    let request = Request {
        dry_run: envelope.is_dry_run(),
        audit_id: envelope.audit_id.to_string(),
        stage: envelope.stage.to_string(),
        verb: envelope.verb.to_string(),
        uri: envelope.uri.to_string(),
        user: envelope.user.to_string(),
        code: envelope.code,
        resource: target.resource.to_string(),
        subresource: target.subresource.to_string(),
        namespace: or_pods(&target.namespace, pod.namespace()),
        name: or_pods(&target.name, &facts.name),
    };
    Ok(AuditEvent {
        number,
        time_ns: time.unwrap_or_default(),
        request,
        pod: facts.into(),
        json,
    })
}
