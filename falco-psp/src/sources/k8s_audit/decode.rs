//! From the JSON of an audit event to the event that rules judge.

use bytes::Bytes;
use jiff::Timestamp;

use super::triage::{Reason, Triage, triage};
use crate::event::{AuditEvent, Request};
use crate::pod::PodFacts;

/// Decodes an event, if it can be judged.
///
/// # Errors
/// Why it cannot be judged, or need not be.
pub fn decode(json: Bytes, number: u64) -> Result<AuditEvent, Reason> {
    let envelope = match triage(&json) {
        Triage::Judge(envelope) => envelope,
        Triage::Skip(reason) => return Err(reason),
    };
    let is_dry_run = envelope.is_dry_run();
    let pod = envelope.object.into_pod()?;
    let facts = PodFacts::of(&pod);
    let target = &envelope.target;
    let or_pods = |target: &str, pods: &str| match target {
        "" => pods.to_owned(),
        target => target.to_owned(),
    };
    let time = envelope.time.parse::<Timestamp>().ok();
    let time = time.and_then(|time| u64::try_from(time.as_nanosecond()).ok());
    let request = Request {
        dry_run: is_dry_run,
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
