//! From the JSON of an audit event to the event that rules judge.

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;

use super::triage::{ObjectRef, Reason, Status, Triage, User, is_dry_run, triage};
use crate::event::{AuditEvent, Request};
use crate::pod::{PodFacts, Text, or_default};

/// Decodes an event, if policies can judge it.
///
/// # Errors
/// Why it cannot be judged, or need not be.
pub fn decode(json: Bytes, number: u64) -> Result<AuditEvent, Reason> {
    let envelope = match triage(&json) {
        Triage::Judge(envelope) => envelope,
        Triage::Skip(reason) => return Err(reason),
    };
    let pod = envelope.object.into_pod()?;
    let facts = PodFacts::of(&pod);
    let target = &envelope.target;
    let or_pods = |target: &str, pods: &str| match target {
        "" => pods.to_owned(),
        target => target.to_owned(),
    };
    let request = Request {
        dry_run: is_dry_run(&envelope.uri),
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
        time_ns: nanoseconds(envelope.time),
        request,
        pod: Some(facts.into()),
        json,
    })
}

/// RFC 3339 to nanoseconds since the Unix epoch; 0 for what is no time after it.
fn nanoseconds(time: &str) -> u64 {
    let time = time.parse::<Timestamp>().ok();
    let time = time.and_then(|time| u64::try_from(time.as_nanosecond()).ok());
    time.unwrap_or_default()
}

/// Decodes any event, of which no pod is looked at: rules may ask for requests of every kind.
///
/// # Errors
/// Why it is no audit event.
pub fn decode_request(json: Bytes, number: u64) -> Result<AuditEvent, String> {
    let head: Head<'_> = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
    let target = head.object_ref;
    let request = Request {
        dry_run: is_dry_run(&head.request_uri),
        audit_id: head.audit_id.to_string(),
        stage: head.stage.to_string(),
        verb: head.verb.to_string(),
        uri: head.request_uri.to_string(),
        user: head.user.username.to_string(),
        code: head.response_status.and_then(|status| status.code),
        resource: target.resource.to_string(),
        subresource: target.subresource.to_string(),
        namespace: target.namespace.to_string(),
        name: target.name.to_string(),
    };
    Ok(AuditEvent {
        number,
        time_ns: nanoseconds(&head.stage_timestamp),
        request,
        pod: None,
        json,
    })
}

/// What every event has, whatever it is about.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
struct Head<'a> {
    #[serde(rename = "auditID", default, deserialize_with = "or_default")]
    audit_id: Text<'a>,
    stage: Text<'a>,
    verb: Text<'a>,
    #[serde(rename = "requestURI", default, deserialize_with = "or_default")]
    request_uri: Text<'a>,
    #[serde(default, deserialize_with = "or_default")]
    user: User<'a>,
    #[serde(default, deserialize_with = "or_default")]
    object_ref: ObjectRef<'a>,
    response_status: Option<Status>,
    #[serde(default, deserialize_with = "or_default")]
    stage_timestamp: Text<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The API server's order of fields lets most of an event go unread. Any other order means the
    /// same.
    #[test]
    fn the_order_of_fields_means_nothing() {
        let mut judged = 0;
        for line in include_str!("../../../tests/audit/audit_nopsp.log").lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            // Sorted by name.
            let sorted = decode(value.to_string().into(), 1);
            match (decode(line.to_owned().into(), 1), sorted) {
                (Ok(event), Ok(sorted)) => {
                    judged += 1;
                    assert_eq!(event.request, sorted.request, "{line}");
                    assert_eq!(event.pod, sorted.pod, "{line}");
                    assert_eq!(event.time_ns, sorted.time_ns, "{line}");
                    assert_ne!(event.time_ns, 0, "{line}");
                }
                (event, sorted) => assert_eq!(event.err(), sorted.err(), "{line}"),
            }
        }
        assert_eq!(judged, 34);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>, at in 0_usize..4000, byte: u8) {
            let _ = decode(bytes.into(), 1);
            let log = include_str!("../../../tests/audit/audit_nopsp.log");
            for line in log.lines().filter(|line| line.contains("\"Pod\"")).take(8) {
                let mut line = line.as_bytes().to_vec();
                if let Some(old) = line.get_mut(at) {
                    *old = byte;
                }
                let _ = decode(line.clone().into(), 1);
                line.truncate(at);
                let _ = decode(line.into(), 1);
            }
        }
    }
}
