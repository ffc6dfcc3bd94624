//! The 24 rules that Falco's own converter wrote, by hand in our language: they load, and are right
//! about the pods about which Falco was wrong.

#![expect(clippy::unwrap_used, reason = "a test says best where it failed")]

use std::collections::BTreeSet;

use falco_psp::event::Event;
use falco_psp::rules::{self, RuleSet};
use falco_psp::sources::k8s_audit::decode::decode;
use serde_json::{Value, json};

fn load() -> RuleSet {
    let text = include_str!("converter/rules.yaml");
    let (rules, warnings) = rules::load(&"rules.yaml".into(), text).unwrap();
    // What needs a field that we lack says so, and is no silent nothing.
    let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("the rule \"12 readOnlyRootFilesystem, System Activity\" is skipped"),
        "{warnings:?}"
    );
    rules
}

/// The numbers of the rules that fire for the creation of a pod.
fn fired(rules: &RuleSet, spec: Value, code: u16) -> Result<BTreeSet<u8>, String> {
    let audit = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "stage": "ResponseComplete", "verb": "create",
        "objectRef": {"resource": "pods", "namespace": "ns"}, "responseStatus": {"code": code},
        "requestObject": {"kind": "Pod", "metadata": {"name": "p"}, "spec": spec},
    });
    let event = decode(audit.to_string().into(), 1).map_err(|reason| format!("{reason:?}"))?;
    let event = Event::from(event);
    let number = |name: &str| name.split(' ').next().unwrap().parse().unwrap();
    Ok(rules
        .matching(&event)
        .map(|(_, rule)| number(&rule.name))
        .collect())
}

fn pod(security: Value) -> Value {
    json!({"containers": [{"name": "a", "image": "i", "securityContext": security}]})
}

fn with_volume(source: Value) -> Value {
    let mut spec = pod(json!({}));
    let mut volume = json!({"name": "v"});
    for (key, value) in source.as_object().unwrap() {
        volume[key] = value.clone();
    }
    spec["volumes"] = json!([volume]);
    spec
}

#[test]
fn the_rules_are_right_where_falco_was_not() {
    let rules = load();
    assert_eq!(rules.rules().len(), 23);
    let containers = |all: Value| json!({ "containers": all });
    let cases: Vec<(&str, Value, &[u8])> = vec![
        ("nothing asked for", pod(json!({})), &[]),
        (
            "a host path at the prefix",
            with_volume(json!({"hostPath": {"path": "/etc"}})),
            &[],
        ),
        (
            "a host path below it",
            with_volume(json!({"hostPath": {"path": "/etc/ssl"}})),
            &[],
        ),
        (
            "a host path beside it",
            with_volume(json!({"hostPath": {"path": "/etcetera"}})),
            &[8],
        ),
        (
            "a driver that is listed",
            with_volume(json!({"flexVolume": {"driver": "acme/cifs"}})),
            &[],
        ),
        (
            "a driver that is not",
            with_volume(json!({"flexVolume": {"driver": "x/y"}})),
            &[9],
        ),
        (
            "a type that is not listed",
            with_volume(json!({"nfs": {}})),
            &[7],
        ),
        (
            "a container's port is not the host's",
            containers(json!([{"name": "a", "image": "i", "ports": [{"containerPort": 80}]}])),
            &[],
        ),
        (
            "a port of the host",
            containers(
                json!([{"name": "a", "image": "i", "ports": [{"containerPort": 80, "hostPort": 80}]}]),
            ),
            &[6],
        ),
        ("ranges in any order", pod(json!({"runAsUser": 12})), &[]),
        ("an id between ranges", pod(json!({"runAsUser": 27})), &[13]),
        ("root", pod(json!({"runAsUser": 0})), &[13, 15]),
        (
            "runAsNonRoot without an id",
            pod(json!({"runAsNonRoot": true})),
            &[],
        ),
        (
            "runAsNonRoot: false",
            pod(json!({"runAsNonRoot": false})),
            &[15],
        ),
        (
            "a privileged init container",
            json!({"initContainers": [{"name": "i", "image": "i", "securityContext": {"privileged": true}}], "containers": [{"name": "a", "image": "i"}]}),
            &[1],
        ),
        (
            "a privileged ephemeral container",
            json!({"ephemeralContainers": [{"name": "e", "image": "i", "securityContext": {"privileged": true}}], "containers": [{"name": "a", "image": "i"}]}),
            &[1],
        ),
        (
            "one group in range, one unset",
            containers(
                json!([{"name": "a", "image": "i", "securityContext": {"runAsGroup": 30}}, {"name": "b", "image": "i"}]),
            ),
            &[],
        ),
        ("a group outside", pod(json!({"runAsGroup": 7})), &[17, 19]),
        (
            "no supplemental groups where some must be",
            json!({"securityContext": {"supplementalGroups": []}, "containers": [{"name": "a", "image": "i"}]}),
            &[20],
        ),
        (
            "fsGroup outside",
            json!({"securityContext": {"fsGroup": 300}, "containers": [{"name": "a", "image": "i"}]}),
            &[10],
        ),
        (
            "a writable root",
            pod(json!({"readOnlyRootFilesystem": false})),
            &[11],
        ),
        (
            "more privileges",
            pod(json!({"allowPrivilegeEscalation": true})),
            &[22],
        ),
        (
            "a listed capability",
            pod(json!({"capabilities": {"add": ["NET_ADMIN"]}})),
            &[],
        ),
        (
            "another capability",
            pod(json!({"capabilities": {"add": ["NET_ADMIN", "SYS_TIME"]}})),
            &[23],
        ),
        (
            "an unmasked proc",
            pod(json!({"procMount": "Unmasked"})),
            &[24],
        ),
        (
            "the host's namespaces",
            json!({"hostPID": true, "hostIPC": true, "hostNetwork": true, "containers": [{"name": "a", "image": "i"}]}),
            &[3, 4, 5],
        ),
    ];
    for (case, spec, expected) in cases {
        let found = fired(&rules, spec, 201).unwrap();
        assert_eq!(found, expected.iter().copied().collect(), "{case}");
    }
    // What was refused already is no violation.
    let refused = fired(&rules, pod(json!({"privileged": true})), 403);
    assert!(refused.unwrap_err().contains("Refused"));
}
