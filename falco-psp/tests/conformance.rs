//! Verdicts of the real PodSecurityPolicy admission of Kubernetes 1.20, reproduced by our rules.
//!
//! Each line of the data is a policy and a pod with what admission said: denied on which controls,
//! or allowed, and then with what it filled in.

#![expect(clippy::unwrap_used, reason = "a test says best where it failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use falco_psp::event::{AuditEvent, Event};
use falco_psp::rules::{Priority, RuleSet};
use falco_psp::sources::k8s_audit::decode::decode;
use falco_psp::sources::manifest::Manifests;
use falco_psp::{convert, psp, rules};
use serde_json::{Value, json};

type Controls = BTreeSet<String>;

/// What rules say of a pod.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    denied: Controls,
    changed: Controls,
}

fn lines(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/conformance")
        .join(file);
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The audit event of a pod's creation, or of its update, as the API server logs it.
fn event(pod: &Value, operation: &str) -> AuditEvent {
    let verb = match operation {
        "UPDATE" => "update",
        _ => "create",
    };
    let audit = json!({
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "stage": "ResponseComplete",
        "verb": verb,
        "objectRef": {"resource": "pods", "namespace": pod["metadata"]["namespace"]},
        "responseStatus": {"code": 201},
        "requestObject": pod,
    });
    decode(audit.to_string().into(), 1).unwrap()
}

/// The same pod in a manifest.
fn manifest(pod: &Value) -> AuditEvent {
    let mut pod = pod.clone();
    pod["kind"] = "Pod".into();
    let mut manifests = Manifests::default();
    manifests.add_text(&"m.json".into(), &pod.to_string(), "default");
    assert!(manifests.errors.is_empty(), "{:?}", manifests.errors);
    manifests.declared[0].event(1, 0).unwrap()
}

/// The rules of a policy; `None` if the policy is refused.
fn rules_of(policy: &Value) -> Option<RuleSet> {
    let mut policy = policy.clone();
    policy["apiVersion"] = "policy/v1beta1".into();
    policy["kind"] = "PodSecurityPolicy".into();
    let (policy, _) = psp::parse(&"p".into(), &policy.to_string()).ok()?;
    let text = convert::rules_text(&policy).unwrap().text;
    let (rules, warnings) = rules::load(&"rules".into(), &text).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    Some(rules)
}

/// What the rules say of an event.
fn verdict(rules: &RuleSet, event: AuditEvent) -> Verdict {
    let event = Event::from(event);
    let mut verdict = Verdict {
        denied: Controls::new(),
        changed: Controls::new(),
    };
    for (_, rule) in rules.matching(&event) {
        let control = rule.control().unwrap().name().to_owned();
        match rule.priority {
            Priority::Warning => verdict.denied.insert(control),
            _ => verdict.changed.insert(control),
        };
        assert!(!rule.output.render(&event).contains('\n'));
    }
    verdict
}

/// The control that admission's error is about.
fn control_of_error(field: &str) -> &'static str {
    let ends = [
        ("hostIPC", "hostIPC"),
        ("hostPID", "hostPID"),
        ("hostNetwork", "hostNetwork"),
        ("hostPort", "hostPorts"),
        ("privileged", "privileged"),
        ("runtimeClassName", "runtimeClass"),
        ("procMount", "allowedProcMountTypes"),
        ("csi.driver", "allowedCSIDrivers"),
        ("driver", "allowedFlexVolumes"),
        ("runAsUser", "runAsUser"),
        ("runAsNonRoot", "runAsUser"),
        ("fsGroup", "fsGroup"),
        ("supplementalGroups", "supplementalGroups"),
        ("readOnlyRootFilesystem", "readOnlyRootFilesystem"),
        ("allowPrivilegeEscalation", "allowPrivilegeEscalation"),
        ("hostPath.pathPrefix", "allowedHostPaths"),
        ("readOnly", "allowedHostPaths"),
        // The strategy for groups names no field.
        ("securityContext", "runAsGroup"),
    ];
    let parts = [
        ("seLinuxOptions", "seLinux"),
        ("capabilities", "capabilities"),
        ("sysctls", "sysctls"),
        ("seccomp.security", "seccomp"),
        ("apparmor.security", "apparmor"),
    ];
    let by_part = parts.iter().find(|(part, _)| field.contains(part));
    let by_end = ends.iter().find(|(end, _)| field.ends_with(end));
    match by_part.or(by_end) {
        Some((_, control)) => control,
        None if field.starts_with("spec.volumes[") => "volumes",
        None => "unknown",
    }
}

/// The controls that a JSON patch is about.
fn controls_of_patch(patch: &Value, controls: &mut Controls) {
    fn visit(key: &str, value: &Value, controls: &mut Controls) {
        let control = match key {
            "runAsUser" | "runAsNonRoot" => "runAsUser",
            "seLinuxOptions" => "seLinux",
            "runtimeClassName" => "runtimeClass",
            "runAsGroup"
            | "fsGroup"
            | "supplementalGroups"
            | "capabilities"
            | "readOnlyRootFilesystem"
            | "allowPrivilegeEscalation" => key,
            key if key.contains("seccomp.security") => "seccomp",
            key if key.contains("apparmor.security") => "apparmor",
            _ => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    visit(key, value, controls);
                }
                return;
            }
        };
        controls.insert(control.to_owned());
    }
    let path = patch["path"].as_str().unwrap();
    let before = controls.len();
    let mut inner = Controls::new();
    for part in path.split('/') {
        visit(part, &Value::Null, &mut inner);
    }
    if inner.is_empty() {
        visit("", &patch["value"], &mut inner);
    }
    controls.extend(inner);
    assert!(controls.len() >= before);
}

fn expected(line: &Value) -> Verdict {
    let denied = match line["denied_controls"].as_array() {
        Some(controls) => controls
            .iter()
            .map(|c| c.as_str().unwrap().to_owned())
            .collect(),
        None => line["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|error| control_of_error(error["field"].as_str().unwrap()).to_owned())
            .collect(),
    };
    let mut changed = Controls::new();
    for patch in line["mutations"].as_array().unwrap() {
        controls_of_patch(patch, &mut changed);
    }
    Verdict { denied, changed }
}

fn check(file: &str) {
    let mut wrong = Vec::new();
    let mut compared = 0;
    let lines = lines(file);
    for line in &lines {
        let id = line["id"].as_str().unwrap();
        let allowed = line["allowed"].as_bool().unwrap();
        let Some(rules) = rules_of(&line["psp"]) else {
            // The API server refuses it, and so do we.
            if line["psp_valid"] != false {
                wrong.push(format!("{id}: the policy is refused"));
            }
            continue;
        };
        assert_ne!(line["psp_valid"], false, "{id}: the policy is not refused");
        let operation = line["operation"].as_str().unwrap_or_default();
        let found = verdict(&rules, event(&line["pod"], operation));
        assert_eq!(found, verdict(&rules, manifest(&line["pod"])), "{id}");
        if found.denied.is_empty() != allowed {
            wrong.push(format!("{id}: allowed {}", found.denied.is_empty()));
        }
        if !line["provider_error"].is_null() {
            // Admission skips the policy and says no more.
            continue;
        }
        let expected = expected(line);
        if found.denied != expected.denied {
            let (found, expected) = (&found.denied, &expected.denied);
            wrong.push(format!("{id}: denied {found:?}, not {expected:?}"));
        }
        // What a denied pod would have been changed to, admission does not tell.
        if allowed && found.changed != expected.changed {
            let (found, expected) = (&found.changed, &expected.changed);
            wrong.push(format!("{id}: changed {found:?}, not {expected:?}"));
        }
        compared += 1;
    }
    println!("{compared} of {} pairs compared", lines.len());
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        lines.len(),
        wrong[..wrong.len().min(40)].join("\n")
    );
}

#[test]
fn probes() {
    check("admission_probes.jsonl");
}

#[test]
fn random_pairs() {
    check("admission_random.jsonl");
}
