//! What a container runtime knows shows in alerts, and its absence costs no alert. The containerd
//! has its state where no bundle is looked for, so that all of it comes through the CRI.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    os::unix::net::UnixListener,
    thread,
};

use anyhow::{Context as _, Result};

use super::{
    agent::{Agent, Alert, RESTRICTED, controls},
    bundle::Bundle,
    container::Container,
    containerd::{Containerd, IMAGE, POD_IP, Pod},
    needs,
};

const HASH: &str = "5d69f7c8b";

/// A rule that prints what is known.
const RULES: &str = "
- rule: known
  desc: prints what is known of a container
  condition: evt.type=execve
  output: >
    %container.id %container.metadata.missing %container.image.digest %container.type %container.start_ts
    %container.privileged %k8s.pod.ip %k8s.pod.labels %k8s.pod.label[app] %k8s.pod.sandbox_id
    %k8s.owner.kind %k8s.owner.name %k8s.pod.name %k8s.pod.uid
    %container.seccomp %container.host_ports.of %container.sysctls
  priority: INFO
";

fn start(socket: &str) -> Result<(Agent, tempfile::NamedTempFile)> {
    let mut rules = tempfile::Builder::new().suffix(".yaml").tempfile()?;
    rules.write_all(RULES.as_bytes())?;
    let path = rules.path().to_str().context("no UTF-8")?.to_owned();
    let agent = Agent::start(RESTRICTED, &["--cri", socket, "--rules", &path, "--all"])?;
    Ok((agent, rules))
}

fn is_about(alert: &Alert, pod: &Pod) -> bool {
    alert.field("container.id") == Some(&pod.id[..12])
}

/// Whether there is an alert of the policy about the pod, with these values.
fn tells(alerts: &[Alert], pod: &Pod, expected: &[(&str, Option<&str>)]) -> bool {
    alerts.iter().any(|alert| {
        alert.control() == Some("runAsUser")
            && is_about(alert, pod)
            && expected
                .iter()
                .all(|(name, value)| alert.field(name) == *value)
    })
}

fn named(pod: &str) -> [(&'static str, Option<&str>); 4] {
    [
        ("k8s.ns.name", Some("shop")),
        ("k8s.pod.name", Some(pod)),
        ("container.name", Some("main")),
        ("container.image", Some(IMAGE)),
    ]
}

/// Whether there is an alert about the pod that gives this reason for not knowing more.
fn misses(alerts: &[Alert], pod: &Pod, reason: &str) -> bool {
    alerts.iter().any(|alert| {
        is_about(alert, pod)
            && alert.field("k8s.pod.name").is_none()
            && alert.output().contains(reason)
    })
}

#[test]
fn alerts_name_pods_as_the_runtime_does_and_come_without_it() -> Result<()> {
    if !needs::containerd() {
        return Ok(());
    }
    let mut containerd = Containerd::start()?;
    let socket = containerd.socket().display().to_string();
    let name = format!("web-{HASH}-aaaaa");
    let labels = [("app", "web"), ("pod-template-hash", HASH)];
    let good = containerd.pod("shop", "good", &[], false)?;
    let bad = containerd.pod("shop", &name, &labels, true)?;
    let (agent, _rules) = start(&socket)?;
    assert!(agent.wait_for(|alerts| tells(alerts, &bad, &named(&name))));
    // One that starts while the agent watches.
    let later = containerd.pod("shop", "later", &[], true)?;
    assert!(agent.wait_for(|alerts| tells(alerts, &later, &named("later"))));
    // What is known stays known, and what nobody tells of is judged.
    containerd.stop();
    let unknown = Container::start(Bundle::new()?)?;
    assert!(agent.wait_for(|alerts| controls(alerts, unknown.id()).contains("runAsUser")));
    let ended = agent.stop()?;
    drop(unknown);
    let of = |pod: &Pod| -> Vec<&Alert> {
        let alerts = ended.alerts.iter();
        alerts.filter(|alert| is_about(alert, pod)).collect()
    };
    assert!(!of(&good).is_empty(), "{}", ended.messages);
    for alert in of(&good) {
        assert_eq!(alert.field("k8s.pod.name"), Some("good"), "{alert:?}");
        assert_eq!(alert.control(), None, "{alert:?}");
    }
    for alert in of(&bad) {
        assert_eq!(alert.field("k8s.pod.name"), Some(&*name), "{alert:?}");
    }
    let known = of(&bad).into_iter().find(|alert| alert.control().is_none());
    let known = known.context("no alert of the user's own rule")?;
    for (field, expected) in [
        ("container.type", "containerd"),
        ("k8s.pod.ip", POD_IP),
        ("k8s.pod.labels", "app:web, pod-template-hash:5d69f7c8b"),
        ("k8s.pod.label[app]", "web"),
        ("k8s.pod.sandbox_id", &bad.sandbox[..12]),
        ("k8s.owner.kind", "Deployment"),
        ("k8s.owner.name", "web"),
        ("container.seccomp", "unconfined"),
    ] {
        assert_eq!(known.field(field), Some(expected), "{field}: {known:?}");
    }
    let told = "unconfined UDP 5353 (mapped to 53) net.core.somaxconn";
    assert!(known.output().ends_with(told), "{known:?}");
    // The kernel shows that there is a filter, the runtime which.
    let filtered = of(&good).into_iter().next().context("no alert")?;
    assert_eq!(filtered.field("container.seccomp"), Some("runtime/default"));
    for control in ["hostPorts", "sysctls"] {
        let is_told = |alert: &&Alert| alert.control() == Some(control);
        assert!(of(&bad).iter().any(is_told), "{control}");
    }
    let sandbox = |alert: &&Alert| alert.field("container.id") == Some(&bad.sandbox[..12]);
    assert_eq!(ended.alerts.iter().find(sandbox).map(Alert::output), None);
    assert!(
        of(&bad)
            .iter()
            .any(|alert| alert.control() == Some("privileged"))
    );

    // An agent that starts while the runtime is down, then silent, then back.
    let (agent, _rules) = start(&socket)?;
    assert!(agent.wait_for(|alerts| misses(alerts, &bad, "runtime is down")));
    let silent = UnixListener::bind(&socket)?;
    assert!(agent.wait_for(|alerts| misses(alerts, &bad, "runtime does not answer")));
    drop(silent);
    fs::remove_file(&socket)?;
    containerd.resume()?;
    assert!(agent.wait_for(|alerts| tells(alerts, &bad, &named(&name))));
    let again = containerd.pod("shop", "again", &[], true)?;
    assert!(agent.wait_for(|alerts| tells(alerts, &again, &named("again"))));
    agent.stop()?;

    // Pods are selected by labels that only the runtime tells.
    let options = [
        "--cri",
        &socket,
        "--selector",
        "app in (web)",
        "--duration",
        "3s",
    ];
    let ended = Agent::start(RESTRICTED, &options)?.wait()?;
    assert!(tells(&ended.alerts, &bad, &named(&name)));
    assert!(ended.alerts.iter().all(|alert| is_about(alert, &bad)));
    let options = ["--cri", "none", "--selector", "app=web", "--duration", "2s"];
    let ended = Agent::start(RESTRICTED, &options)?.wait()?;
    assert_eq!(ended.alerts.len(), 0);
    assert!(
        ended.messages.contains("unknown: labels of"),
        "{}",
        ended.messages
    );
    Ok(())
}

/// Answers the first request with a pod, and any other not at all.
fn api_server(pod: serde_json::Value) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        let list = serde_json::json!({ "kind": "PodList", "metadata": { "resourceVersion": "1" }, "items": [pod] });
        let mut kept = Vec::new();
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let mut head = BufReader::new(stream);
            let mut line = String::new();
            while head.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            let mut stream = head.into_inner();
            if number == 0 {
                let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
                // The agent may have ended.
                let _ = write!(stream, "{head}{list}");
            } else {
                kept.push(stream);
            }
        }
    });
    Ok(port)
}

#[test]
fn the_api_server_tells_who_made_a_pod() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let bundle = Bundle::new()?;
    let port = api_server(serde_json::json!({
        "metadata": {
            "name": "test", "namespace": "default", "uid": bundle.id().pod_uid(),
            "labels": { "app": "web" },
            "ownerReferences": [{ "kind": "Rollout", "name": "front", "controller": true }],
        },
    }))?;
    let folder = tempfile::tempdir()?;
    let kubeconfig = folder.path().join("kubeconfig");
    let config = format!(
        "current-context: c\ncontexts: [{{name: c, context: {{cluster: k}}}}]\n\
         clusters: [{{name: k, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\n"
    );
    fs::write(&kubeconfig, config)?;
    let rules = folder.path().join("rules.yaml");
    fs::write(&rules, RULES)?;
    let path = |path: &std::path::Path| path.to_str().map(str::to_owned).context("no text");
    let agent = Agent::start(
        RESTRICTED,
        &[
            "--cri",
            "none",
            "--kubeconfig",
            &path(&kubeconfig)?,
            "--node-name",
            "here",
            "--rules",
            &path(&rules)?,
            "--selector",
            "app=web",
        ],
    )?;
    let container = Container::start(bundle)?;
    let told = |alerts: &[Alert]| {
        alerts.iter().any(|alert| {
            alert.field("k8s.owner.kind") == Some("Rollout")
                && alert.field("k8s.owner.name") == Some("front")
                && alert.field("k8s.pod.label[app]") == Some("web")
        })
    };
    assert!(agent.wait_for(told), "{}", agent.said());
    // The labels select it for the policy, too.
    let violates = |alerts: &[Alert]| controls(alerts, container.id()).contains("runAsUser");
    assert!(agent.wait_for(violates), "{}", agent.said());
    let ended = agent.stop()?;
    assert!(
        ended.messages.contains("metadata by api: found 1,"),
        "{}",
        ended.messages
    );
    Ok(())
}
