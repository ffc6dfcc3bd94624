//! What the pods of the manifests ask for: options that there are, files that are mounted, and no
//! right too many.

use std::{collections::BTreeSet, fs, process::Command};

use clap::{CommandFactory as _, Parser as _};
use falco_psp::cli::Cli;
use falco_psp::collect::plugin::Plugin;
use serde_json::Value;

use super::kustomize::{self, OVERLAYS, deploy, only, render};

fn strings(list: &Value) -> Vec<&str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The pod templates of an overlay's objects.
fn pods(objects: &[Value]) -> impl Iterator<Item = &Value> {
    objects
        .iter()
        .filter(|object| object["kind"] == "DaemonSet" || object["kind"] == "Deployment")
        .map(|object| &object["spec"]["template"])
}

/// The name of an option: `listen` of `--listen=ADDR`.
fn option(argument: &str) -> &str {
    let name = argument.trim_start_matches('-');
    name.split('=').next().unwrap_or(name)
}

fn has_labels(object: &Value, selector: &Value) -> bool {
    let selector = selector.as_object().expect("a selector");
    !selector.is_empty()
        && selector
            .iter()
            .all(|(name, value)| object["metadata"]["labels"][name] == *value)
}

#[test]
fn options_are_those_of_the_program() {
    if !kustomize::available() {
        return;
    }
    let known: BTreeSet<String> = Cli::command()
        .get_arguments()
        .filter_map(|argument| argument.get_long().map(str::to_owned))
        .collect();
    for overlay in OVERLAYS {
        for pod in pods(&render(overlay)) {
            for container in each(&pod["spec"]["containers"]) {
                let arguments = strings(&container["args"]);
                for argument in &arguments {
                    assert!(known.contains(option(argument)), "{overlay}: {argument}");
                }
                let line = ["falco-psp"].into_iter().chain(arguments.iter().copied());
                if let Err(error) = Cli::try_parse_from(line) {
                    panic!("{overlay}: {error}");
                }
            }
        }
    }
}

#[test]
fn volumes_match_mounts_and_the_node_is_mounted_read_only() {
    if !kustomize::available() {
        return;
    }
    for overlay in OVERLAYS {
        for pod in pods(&render(overlay)) {
            let spec = &pod["spec"];
            let declared: Vec<_> = each(&spec["volumes"])
                .map(|volume| &volume["name"])
                .collect();
            let mut mounted = Vec::new();
            let mut places = BTreeSet::new();
            for mount in each(&spec["containers"]).flat_map(|one| each(&one["volumeMounts"])) {
                assert_eq!(mount["readOnly"], true, "{overlay}: {mount}");
                assert!(
                    places.insert(mount["mountPath"].as_str()),
                    "{overlay}: {mount}"
                );
                mounted.push(&mount["name"]);
            }
            assert_eq!(declared, mounted, "{overlay}");
            // The runtime's own places, where falco-psp looks for them.
            for volume in each(&spec["volumes"]).filter(|one| one["hostPath"].is_object()) {
                let path = &volume["hostPath"]["path"];
                let mounts = each(&spec["containers"][0]["volumeMounts"]);
                let mut own = mounts.filter(|mount| mount["name"] == volume["name"]);
                assert!(
                    own.all(|mount| mount["mountPath"] == *path),
                    "{overlay}: {path}"
                );
            }
        }
    }
}

#[test]
fn what_objects_name_is_there() {
    if !kustomize::available() {
        return;
    }
    for overlay in OVERLAYS {
        let objects = render(overlay);
        let of_kind = |kind: &str| {
            let kind = kind.to_owned();
            objects.iter().filter(move |object| object["kind"] == kind)
        };
        for object in &objects {
            let kind = object["kind"].as_str().unwrap_or_default();
            if kind != "Namespace" && !kind.starts_with("ClusterRole") {
                assert_eq!(
                    object["metadata"]["namespace"], "falco-psp",
                    "{overlay}: {object}"
                );
            }
        }
        for pod in pods(&objects) {
            let account = &pod["spec"]["serviceAccountName"];
            let mut accounts = of_kind("ServiceAccount");
            assert!(
                accounts.any(|one| one["metadata"]["name"] == *account),
                "{overlay}"
            );
            let container = &pod["spec"]["containers"][0];
            let ports: Vec<_> = each(&container["ports"])
                .map(|port| &port["name"])
                .collect();
            for probe in ["livenessProbe", "readinessProbe"] {
                let port = &container[probe]["httpGet"]["port"];
                assert!(ports.contains(&port), "{overlay}: {probe}");
            }
            for volume in each(&pod["spec"]["volumes"]) {
                let Some(name) = volume["configMap"]["name"].as_str() else {
                    continue;
                };
                let map = of_kind("ConfigMap").find(|map| map["metadata"]["name"] == name);
                let map = map.unwrap_or_else(|| panic!("{overlay}: no ConfigMap {name}"));
                assert!(map["data"]["policy.yaml"].is_string(), "{overlay}: {name}");
            }
            let image = format!("localhost/falco-psp:{}", env!("CARGO_PKG_VERSION"));
            assert_eq!(container["image"], image.as_str(), "{overlay}");
        }
        for workload in objects
            .iter()
            .filter(|object| object["spec"]["template"].is_object())
        {
            let spec = &workload["spec"];
            let labels = &spec["selector"]["matchLabels"];
            assert!(has_labels(&spec["template"], labels), "{overlay}: {labels}");
        }
        for service in of_kind("Service") {
            let selector = &service["spec"]["selector"];
            let selected = pods(&objects).find(|pod| has_labels(pod, selector));
            let pod = selected.unwrap_or_else(|| panic!("{overlay}: {selector}"));
            for port in each(&service["spec"]["ports"]) {
                let mut ports = each(&pod["spec"]["containers"][0]["ports"]);
                assert!(
                    ports.any(|own| own["name"] == port["targetPort"]),
                    "{overlay}: {port}"
                );
            }
        }
        for monitor in of_kind("ServiceMonitor") {
            let labels = &monitor["spec"]["selector"]["matchLabels"];
            let service = of_kind("Service").find(|service| has_labels(service, labels));
            let service = service.unwrap_or_else(|| panic!("{overlay}: {labels}"));
            let port = &monitor["spec"]["endpoints"][0]["port"];
            let mut ports = each(&service["spec"]["ports"]);
            assert!(ports.any(|own| own["name"] == *port), "{overlay}: {port}");
        }
    }
}

#[test]
fn no_role_has_a_wildcard_and_no_pod_a_token_without_a_role() {
    if !kustomize::available() {
        return;
    }
    for overlay in OVERLAYS {
        let objects = render(overlay);
        let is_role = |object: &&Value| {
            object["kind"]
                .as_str()
                .is_some_and(|kind| kind.ends_with("Role"))
        };
        for role in objects.iter().filter(is_role) {
            for rule in each(&role["rules"]) {
                for list in ["apiGroups", "resources", "verbs", "nonResourceURLs"] {
                    assert!(!strings(&rule[list]).contains(&"*"), "{overlay}: {rule}");
                }
            }
        }
        let has_role = objects.iter().any(|object| is_role(&object));
        for pod in pods(&objects) {
            let token = &pod["spec"]["automountServiceAccountToken"];
            assert_eq!(*token, has_role, "{overlay}");
        }
    }
}

#[test]
fn least_privilege_has_four_capabilities_and_no_more() {
    if !kustomize::available() {
        return;
    }
    let objects = render("least-privilege");
    let pod = &only(&objects, "DaemonSet")["spec"]["template"]["spec"];
    let security = &pod["containers"][0]["securityContext"];
    assert_eq!(security["privileged"], false);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(strings(&security["capabilities"]["drop"]), ["ALL"]);
    let expected = ["BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH"];
    assert_eq!(strings(&security["capabilities"]["add"]), expected);
    assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
}

#[test]
fn the_policy_is_the_example_and_loads() {
    let policy = deploy().join("common/policy.yaml");
    let example = deploy().join("../examples/restricted.yaml");
    assert_eq!(
        fs::read_to_string(&policy).unwrap(),
        fs::read_to_string(example).unwrap()
    );
    let output = Command::new(env!("CARGO_BIN_EXE_falco-psp"))
        .arg("convert")
        .arg(&policy)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// `kubectl falco-psp` finds what `deploy` installs, and its Role is enough for it and for no more.
#[test]
fn the_defaults_of_collecting_are_those_of_the_manifests() {
    if !kustomize::available() {
        return;
    }
    let plugin = Plugin::try_parse_from(["kubectl-falco_psp"]);
    let options = plugin.expect("options").options;
    for overlay in ["privileged", "least-privilege", "prometheus"] {
        let objects = render(overlay);
        let agents = only(&objects, "DaemonSet");
        assert_eq!(agents["metadata"]["namespace"], options.namespace.as_str());
        let pod = &agents["spec"]["template"];
        for label in options.selector.split(',') {
            let (name, value) = label.split_once('=').expect(label);
            assert_eq!(pod["metadata"]["labels"][name], value, "{overlay}");
        }
        // The API server asks the pod's own address.
        assert_ne!(pod["spec"]["hostNetwork"], true, "{overlay}");
        let listen = format!("--listen=0.0.0.0:{}", options.port);
        let arguments = strings(&pod["spec"]["containers"][0]["args"]);
        assert!(arguments.contains(&listen.as_str()), "{overlay}");
        let role = only(&objects, "Role");
        assert_eq!(role["metadata"]["namespace"], options.namespace.as_str());
        let rules: Vec<_> = each(&role["rules"])
            .map(|rule| (strings(&rule["resources"]), strings(&rule["verbs"])))
            .collect();
        let expected = [
            (vec!["pods"], vec!["list"]),
            (vec!["pods/proxy"], vec!["get"]),
        ];
        assert_eq!(rules, expected, "{overlay}");
        assert!(objects.iter().all(|object| object["kind"] != "RoleBinding"));
    }
}
