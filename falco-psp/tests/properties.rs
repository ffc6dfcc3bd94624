//! Verdicts on random policies and pods, against what Kubernetes' own code says in a few lines.
//!
//! From the policy's YAML through templates, rules and the audit event's JSON, as in a run.

#![expect(clippy::unwrap_used, reason = "a test says best where it failed")]

use std::collections::BTreeSet;

use falco_psp::event::Event;
use falco_psp::rules::{self, Priority};
use falco_psp::sources::k8s_audit::decode::decode;
use falco_psp::{convert, psp};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

/// The controls on which a pod is denied, and those that are filled in. `None`: the API server
/// would refuse the policy.
fn judged(spec: Value, pod: Value) -> Option<[BTreeSet<&'static str>; 2]> {
    let any = json!({"rule": "RunAsAny"});
    let mut policy = json!({
        "apiVersion": "policy/v1beta1", "kind": "PodSecurityPolicy", "metadata": {"name": "p"},
        "spec": {"seLinux": any, "runAsUser": any, "fsGroup": any, "supplementalGroups": any, "volumes": ["*"]},
    });
    for (key, value) in spec.as_object().unwrap() {
        policy["spec"][key] = value.clone();
    }
    let (policy, _) = psp::parse(&"p".into(), &policy.to_string()).ok()?;
    let text = convert::rules_text(&policy).unwrap().text;
    let (rules, _) = rules::load(&"rules".into(), &text).unwrap();
    let audit = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "stage": "ResponseComplete", "verb": "create",
        "objectRef": {"resource": "pods", "namespace": "ns"}, "responseStatus": {"code": 201},
        "requestObject": {"kind": "Pod", "metadata": {"name": "p"}, "spec": pod},
    });
    let event = Event::from(decode(audit.to_string().into(), 1).unwrap());
    let mut found = [BTreeSet::new(), BTreeSet::new()];
    for (_, rule) in rules.matching(&event) {
        let kind = usize::from(rule.priority == Priority::Notice);
        found[kind].insert(rule.control().unwrap().name());
    }
    Some(found)
}

/// `hasPathPrefix` of pkg/security/podsecuritypolicy/util.
fn has_path_prefix(path: &str, prefix: &str) -> bool {
    let path = path.strip_suffix('/').unwrap_or(path);
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    match path.strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

/// Paths that share beginnings, with all that makes paths odd.
fn path() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("a".to_owned()),
        Just("ab".to_owned()),
        Just(String::new()),
        Just(".".to_owned()),
        Just("*".to_owned()),
        "[a-b%\\[?*!=é\\\\\" -]{1,3}",
    ];
    (vec(part, 0..4), any::<bool>())
        .prop_map(|(parts, slash)| format!("/{}{}", parts.join("/"), if slash { "/" } else { "" }))
}

fn capability() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["CHOWN", "KILL", "NET_RAW", "SYS_ADMIN", "X"]).prop_map(str::to_owned)
}

fn capabilities() -> impl Strategy<Value = BTreeSet<String>> {
    btree_set(capability(), 0..4)
}

fn ranges() -> impl Strategy<Value = Vec<(i64, i64)>> {
    vec((0_i64..20, 0_i64..8), 1..4)
        .prop_map(|ranges| ranges.into_iter().map(|(min, n)| (min, min + n)).collect())
}

fn strategy(rule: &str, ranges: &[(i64, i64)]) -> Value {
    let ranges: Vec<Value> = ranges
        .iter()
        .map(|(min, max)| json!({"min": min, "max": max}))
        .collect();
    json!({"rule": rule, "ranges": ranges})
}

fn allows(ranges: &[(i64, i64)], id: i64) -> bool {
    ranges.iter().any(|(min, max)| (*min..=*max).contains(&id))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 192,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn host_paths(
        prefixes in vec((path(), any::<bool>()), 1..4),
        volumes in vec((path(), prop::option::of(any::<bool>())), 0..3),
    ) {
        let allowed: Vec<Value> = prefixes
            .iter()
            .map(|(prefix, read_only)| json!({"pathPrefix": prefix, "readOnly": read_only}))
            .collect();
        let mut pod = json!({"containers": [{"name": "c", "image": "i", "volumeMounts": []}], "volumes": []});
        for (n, (path, mounted)) in volumes.iter().enumerate() {
            let name = format!("v{n}");
            pod["volumes"].as_array_mut().unwrap().push(json!({"name": name, "hostPath": {"path": path}}));
            if let Some(read_only) = mounted {
                let mounts = pod["containers"][0]["volumeMounts"].as_array_mut().unwrap();
                mounts.push(json!({"name": name, "mountPath": "/m", "readOnly": read_only}));
            }
        }
        // `AllowsHostVolumePath` and its use in provider.go.
        let denied = volumes.iter().any(|(path, mounted)| {
            let below: Vec<_> = prefixes.iter().filter(|(prefix, _)| has_path_prefix(path, prefix)).collect();
            below.is_empty()
                || (*mounted == Some(false) && below.iter().all(|(_, read_only)| *read_only))
        });
        let Some([found, _]) = judged(json!({"allowedHostPaths": allowed}), pod) else {
            return Ok(());
        };
        prop_assert_eq!(found.contains("allowedHostPaths"), denied);
    }

    #[test]
    fn capability_sets(
        allowed in prop_oneof![capabilities().boxed(), Just(BTreeSet::from(["*".to_owned()])).boxed()],
        default_add in capabilities(),
        required_drop in capabilities(),
        containers in vec((capabilities(), capabilities()), 1..4),
    ) {
        let each: Vec<Value> = containers.iter().enumerate().map(|(n, (add, drop))| json!({
            "name": format!("c{n}"), "image": "i", "securityContext": {"capabilities": {"add": add, "drop": drop}},
        })).collect();
        let policy = json!({
            "allowedCapabilities": allowed, "defaultAddCapabilities": default_add,
            "requiredDropCapabilities": required_drop,
        });
        let Some([denied, changed]) = judged(policy, json!({"containers": each})) else {
            // It would forbid what it allows (ValidatePodSecurityPolicySpec).
            prop_assert!(allowed.contains("*") && !required_drop.is_empty() || !required_drop.is_disjoint(&allowed) || !required_drop.is_disjoint(&default_add));
            return Ok(());
        };
        // capabilities.go: Validate, then Generate.
        let is_allowed = |cap: &String| allowed.contains("*") || allowed.contains(cap) || default_add.contains(cap);
        let is_denied = containers.iter().any(|(add, _)| !add.iter().all(is_allowed));
        let is_changed = containers.iter().any(|(add, drop)| {
            !required_drop.is_subset(drop)
                || default_add.iter().any(|cap| !add.contains(cap) && !drop.contains(cap))
        });
        prop_assert_eq!(denied.contains("capabilities"), is_denied);
        prop_assert_eq!(changed.contains("capabilities"), is_changed);
    }

    #[test]
    fn id_ranges(
        user_ranges in ranges(),
        group_ranges in ranges(),
        must in any::<bool>(),
        pod_user in prop::option::of(0_i64..30),
        users in vec(prop::option::of(0_i64..30), 1..4),
        fs_group in prop::option::of(0_i64..30),
        groups in prop::option::of(vec(0_i64..30, 1..4)),
    ) {
        let rule = if must { "MustRunAs" } else { "MayRunAs" };
        let policy = json!({
            "runAsUser": strategy("MustRunAs", &user_ranges),
            "fsGroup": strategy(rule, &group_ranges),
            "supplementalGroups": strategy(rule, &group_ranges),
        });
        let containers: Vec<Value> = users.iter().enumerate().map(|(n, user)| json!({
            "name": format!("c{n}"), "image": "i", "securityContext": {"runAsUser": user},
        })).collect();
        let pod = json!({
            "securityContext": {"runAsUser": pod_user, "fsGroup": fs_group, "supplementalGroups": groups},
            "containers": containers,
        });
        let [denied, changed] = judged(policy, pod).unwrap();
        let effective: Vec<_> = users.iter().map(|user| user.or(pod_user)).collect();
        let bad = |id: &i64, ranges: &[(i64, i64)]| !allows(ranges, *id);
        prop_assert_eq!(
            denied.contains("runAsUser"),
            effective.iter().flatten().any(|id| bad(id, &user_ranges))
        );
        prop_assert_eq!(changed.contains("runAsUser"), effective.contains(&None));
        prop_assert_eq!(denied.contains("fsGroup"), fs_group.iter().any(|id| bad(id, &group_ranges)));
        prop_assert_eq!(changed.contains("fsGroup"), must && fs_group.is_none());
        prop_assert_eq!(
            denied.contains("supplementalGroups"),
            groups.iter().flatten().any(|id| bad(id, &group_ranges))
        );
        prop_assert_eq!(changed.contains("supplementalGroups"), must && groups.is_none());
    }
}
