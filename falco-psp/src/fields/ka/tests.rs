//! The plugin's fields on events that have all of it.

use super::plugin::{CONTAINERS, EPHEMERAL_CONTAINERS, FIELDS, INIT_CONTAINERS};
use crate::event::{AuditEvent, Event, Request};
use crate::fields::{Argument, Value, lookup};

/// An event of everything: no request is about all of that at once.
const EVENT: &str = r#"{
 "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": "RBAC",
  "authentication.openshift.io/decision": "allow", "authentication.openshift.io/username": "ann",
  "validation.policy.admission.k8s.io/validation_failure": "[]",
  "pod-security.kubernetes.io/audit-violations": "would violate", "cluster": "c1"},
 "user": {"groups": ["g1", "g2"]}, "impersonatedUser": {"username": "bob"},
 "sourceIPs": ["10.0.0.1"], "userAgent": "kubectl", "stageTimestamp": "2026-01-01T00:00:00Z",
 "responseStatus": {"reason": "ok"}, "objectRef": {"name": "cm"},
 "requestObject": {
  "data": {"k": "v"}, "roleRef": {"name": "admin"},
  "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "namespace": "n", "name": "s"},
   {"kind": "Group", "name": "g"}],
  "rules": [{"apiGroups": [""], "verbs": ["get", "list"], "resources": ["pods"], "nonResourceURLs": ["/x"]}],
  "spec": {
   "type": "NodePort", "ports": [{"port": 1}], "hostIPC": true, "hostNetwork": true, "hostPID": true,
   "securityContext": {"runAsUser": 5, "runAsGroup": 6, "fsGroup": 7, "supplementalGroups": [8, 9]},
   "volumes": [{"name": "v", "hostPath": {"path": "/etc"}}, {"name": "w", "flexVolume": {"driver": "d"}}],
   "containers": [
    {"name": "a", "image": "r:5000/x:1", "command": ["sh", "-c"], "args": ["y"], "ports": [{"containerPort": 80}, {"hostPort": 90}],
     "securityContext": {"privileged": true, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
      "runAsUser": 0, "runAsGroup": 1, "procMount": "Default", "capabilities": {"add": ["A", "B"]}}},
    {"name": "b", "image": "i"}],
   "initContainers": [CONTAINER], "ephemeralContainers": [CONTAINER]}}}"#;

fn event() -> Event {
    let container = r#"{"name": "a", "image": "i", "command": ["sh"], "args": ["y"], "ports": [{"containerPort": 80}],
     "securityContext": {"privileged": true, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
      "runAsUser": 0, "runAsGroup": 1, "procMount": "Default", "capabilities": {"add": ["A"]}}}"#;
    Event::from(AuditEvent {
        number: 1,
        time_ns: 0,
        request: Request {
            uri: "/api/v1/pods?limit=5&x&command=id%3B+echo&command=2".to_owned(),
            resource: "pods".to_owned(),
            name: "p".to_owned(),
            ..Request::default()
        },
        pod: Default::default(),
        json: EVENT.replace("CONTAINER", container).into(),
    })
}

fn values(name: &str, argument: Option<&str>) -> Vec<String> {
    let mut values = Vec::new();
    let event = event();
    lookup(name, argument).unwrap().extract(&event, |value| {
        if let Value::Text(text) = value {
            values.push(text.into_owned());
        }
    });
    values
}

#[test]
fn every_field_finds_its_part() {
    let all = FIELDS.iter().chain(&CONTAINERS).chain(&INIT_CONTAINERS);
    for field in all.chain(&EPHEMERAL_CONTAINERS) {
        let argument = match field.argument {
            Argument::Key => Some("limit"),
            _ => None,
        };
        assert!(!values(field.name, argument).is_empty(), "{}", field.name);
    }
}

#[test]
fn values_are_those_of_the_documentation() {
    for (name, argument, expected) in [
        ("ka.user.groups", None, &["g1", "g2"][..]),
        ("ka.uri.param", Some("limit"), &["5"]),
        ("ka.uri.param", Some("x"), &[""]),
        ("ka.uri.param", Some("command"), &["id; echo"]),
        ("ka.uri.param", Some("y"), &[]),
        ("ka.req.binding.subjects.user_names", None, &["u"]),
        (
            "ka.req.binding.subjects.serviceaccount_ns_names",
            None,
            &["n:s"],
        ),
        ("ka.req.binding.subject.has_name", Some("g"), &["true"]),
        ("ka.req.binding.subject.has_name", Some("h"), &["false"]),
        ("ka.req.role.rules.verbs", None, &["get", "list"]),
        ("ka.req.role.rules.verbs", Some("1"), &[]),
        ("ka.req.configmap.obj", None, &[r#"{"k":"v"}"#]),
        ("ka.req.pod.host_pid", None, &["true"]),
        ("ka.req.pod.supplemental_groups", None, &["8", "9"]),
        ("ka.req.pod.containers.image", None, &["r:5000/x:1", "i"]),
        ("ka.req.pod.containers.image", Some("1"), &["i"]),
        (
            "ka.req.pod.containers.image.repository",
            None,
            &["r:5000/x", "i"],
        ),
        ("ka.req.pod.containers.host_port", None, &["80", "90"]),
        ("ka.req.pod.containers.privileged", None, &["true"]),
        ("ka.req.pod.containers.run_as_user", None, &["0"]),
        ("ka.req.pod.containers.eff_run_as_user", None, &["0", "5"]),
        ("ka.req.pod.containers.eff_run_as_group", None, &["1", "6"]),
        ("ka.req.pod.containers.add_capabilities", None, &["A", "B"]),
        (
            "ka.req.pod.volumes.volume_type",
            None,
            &["hostPath", "flexVolume"],
        ),
        ("ka.req.pod.volumes.volume_type", Some("1"), &["flexVolume"]),
        ("ka.req.volume.hostpath", Some("/etc"), &["true"]),
        ("ka.req.volume.hostpath", Some("/e*"), &["true"]),
        ("ka.req.volume.hostpath", Some("/e"), &["false"]),
        ("ka.sourceips", Some("0"), &["10.0.0.1"]),
    ] {
        assert_eq!(values(name, argument), expected, "{name}[{argument:?}]");
    }
}
