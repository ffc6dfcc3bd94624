use super::super::messages::{
    ContainerMetadata, ContainerStatus, ImageSpec, PodSandboxMetadata, PodSandboxNetworkStatus,
};
use super::*;
use crate::container::posture::Posture;

const DIGEST: &str = "sha256:0123";

fn map(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| ((*key).into(), (*value).into()))
        .collect()
}

fn status(info: &str) -> ContainerStatusResponse {
    ContainerStatusResponse {
        status: Some(ContainerStatus {
            id: "c1".into(),
            metadata: Some(ContainerMetadata { name: "app".into() }),
            started_at: 7,
            image: Some(ImageSpec {
                image: "docker.io/library/nginx:1.25".into(),
            }),
            image_ref: format!("docker.io/library/nginx@{DIGEST}"),
            image_id: "c0ffee".repeat(11)[..64].into(),
            labels: map(&[
                (POD_NAME, "web-5d69f7c8b-x2x9k"),
                (POD_NAMESPACE, "shop"),
                (POD_UID, "u1"),
                (CONTAINER_NAME, "app"),
            ]),
            mounts: vec![Mount {
                container_path: "/host".into(),
                host_path: "/etc".into(),
                readonly: true,
                propagation: 1,
            }],
        }),
        info: map(&[("info", info)]),
    }
}

fn sandbox() -> PodSandboxStatusResponse {
    PodSandboxStatusResponse {
        status: Some(PodSandboxStatus {
            id: "s1".into(),
            metadata: Some(PodSandboxMetadata {
                name: "web-5d69f7c8b-x2x9k".into(),
                uid: "u1".into(),
                namespace: "shop".into(),
            }),
            network: Some(PodSandboxNetworkStatus {
                ip: "10.0.0.7".into(),
            }),
            labels: map(&[
                ("app", "web"),
                ("pod-template-hash", "5d69f7c8b"),
                (POD_NAME, "web-5d69f7c8b-x2x9k"),
            ]),
        }),
        info: HashMap::new(),
    }
}

fn learnt(response: ContainerStatusResponse, known: Container) -> Container {
    let facts = RuntimeFacts::of_container(response, Some(sandbox())).unwrap();
    let mut container = known;
    facts.add_to(&mut container);
    container
}

#[test]
fn all_that_a_runtime_tells_is_learnt() {
    let info = r#"{"sandboxID": "s1", "pid": 5, "config": {"linux": {"security_context": {}}},
        "runtimeSpec": {"root": {"readonly": true}, "linux": {"maskedPaths": ["/proc/kcore"]}}}"#;
    assert_eq!(sandbox_id(&status(info)).as_deref(), Some("s1"));
    let container = learnt(status(info), Container::default());
    assert_eq!(container.name.as_deref(), Some("app"));
    assert_eq!(
        container.image.as_deref(),
        Some("docker.io/library/nginx:1.25")
    );
    assert_eq!(container.image_digest.as_deref(), Some(DIGEST));
    let image_id = format!("sha256:{}", &"c0ffee".repeat(11)[..64]);
    assert_eq!(container.image_id, Some(image_id));
    assert_eq!(container.privileged, Some(false));
    assert_eq!(container.root_read_only, Some(true));
    let masked = Fact::Known(ProcMount::Default);
    assert_eq!(container.posture.proc_mount, masked);
    assert_eq!(container.start_ns, Some(7));
    let mounts = container.mounts.unwrap();
    assert_eq!(
        (&*mounts[0].source, mounts[0].propagation),
        ("/etc", "rslave")
    );
    assert_eq!(container.gaps, []);
    let pod = container.pod.unwrap();
    assert_eq!(pod.namespace.as_deref(), Some("shop"));
    assert_eq!(pod.ip.as_deref(), Some("10.0.0.7"));
    let labels: Vec<String> = pod.labels.unwrap().into_keys().collect();
    assert_eq!(labels, ["app", "pod-template-hash"]);
    let owner = pod.owner.unwrap();
    assert_eq!((&*owner.kind, &*owner.name), ("Deployment", "web"));
}

#[test]
fn what_the_runtime_was_told_of_privileges_is_true() {
    let privileged = r#"{"config": {"linux": {"security_context": {"privileged": true}}}}"#;
    let crio = r#"{"privileged": true}"#;
    for info in [privileged, crio] {
        let known = Container {
            privileged: Some(false),
            ..Container::default()
        };
        assert_eq!(learnt(status(info), known).privileged, Some(true), "{info}");
    }
    // Nothing is told: what was concluded stays.
    for info in ["{}", "", "nonsense", r#"{"runtimeSpec": {}}"#] {
        let known = Container {
            privileged: Some(true),
            ..Container::default()
        };
        assert_eq!(learnt(status(info), known).privileged, Some(true), "{info}");
    }
}

#[test]
fn what_the_bundle_told_stays() {
    let known = Container {
        name: Some("known".into()),
        image: Some("known:1".into()),
        gaps: vec![Gap::NotYet],
        ..Container::default()
    };
    let container = learnt(status("{}"), known);
    assert_eq!(container.name.as_deref(), Some("known"));
    assert_eq!(container.image.as_deref(), Some("known:1"));
    assert_eq!(container.gaps, []);
}

#[test]
fn a_container_of_no_pod_is_told_as_one() {
    let mut response = status("{}");
    response.status.as_mut().unwrap().labels.clear();
    let facts = RuntimeFacts::of_container(response, None).unwrap();
    let mut container = Container::default();
    facts.add_to(&mut container);
    assert_eq!(container.gaps, [Gap::NoPod]);
    assert_eq!(container.pod, None);
    assert_eq!(
        RuntimeFacts::of_container(ContainerStatusResponse::default(), None),
        None
    );
}

/// What is learnt of a container of whose profile nothing is known but that it has one, in the
/// pod of this sandbox.
fn posture(info: &str, sandbox_info: &str) -> Posture {
    let mut sandbox = sandbox();
    sandbox.info = map(&[("info", sandbox_info)]);
    let facts = RuntimeFacts::of_container(status(info), Some(sandbox)).unwrap();
    let mut container = Container::default();
    container.posture.seccomp = Fact::Unknown(Why::Unnamed);
    container.posture.host_ports.missing = Some(Why::NotTold);
    facts.add_to(&mut container);
    container.posture
}

#[test]
fn a_seccomp_filter_gets_its_name() {
    let context = |context: &str| {
        format!(r#"{{"config": {{"linux": {{"security_context": {{{context}}}}}}}}}"#)
    };
    for (info, expected) in [
        (context(r#""seccomp": {}"#), Some("runtime/default")),
        (
            context(r#""seccomp": {"profile_type": 1}"#),
            Some("unconfined"),
        ),
        (
            context(
                r#""seccomp": {"profile_type": 2,
                   "localhost_ref": "/var/lib/kubelet/seccomp/team/a.json"}"#,
            ),
            Some("localhost/team/a.json"),
        ),
        (context(r#""seccomp": {"profile_type": 9}"#), None),
        (
            context(r#""seccomp_profile_path": "docker/default""#),
            Some("runtime/default"),
        ),
        (context(""), None),
        ("{}".to_owned(), None),
        (
            r#"{"runtimeSpec": {"annotations":
               {"io.kubernetes.cri-o.SeccompProfilePath": "RuntimeDefault"}}}"#
                .to_owned(),
            Some("runtime/default"),
        ),
    ] {
        let found = posture(&info, "{}").seccomp;
        assert_eq!(found.known().map(String::as_str), expected, "{info}");
    }
    // What the kernel shows is not overruled.
    let facts = RuntimeFacts::of_container(status(&context(r#""seccomp": {}"#)), None).unwrap();
    let mut container = Container::default();
    container.posture.seccomp = Fact::Known("unconfined".to_owned());
    facts.add_to(&mut container);
    assert_eq!(container.posture.seccomp.known().unwrap(), "unconfined");
}

#[test]
fn a_pods_sysctls_and_ports_are_those_that_the_kubelet_ordered() {
    let info = r#"{"config": {
        "port_mappings": [
            {"host_port": 8080, "container_port": 80},
            {"host_port": 53, "container_port": 53, "protocol": 1, "host_ip": "10.0.0.1"},
            {"container_port": 9090}],
        "linux": {"sysctls": {"net.core.somaxconn": "1024"}}},
      "runtimeSpec": {"linux": {"sysctl": {"net.ipv4.ip_unprivileged_port_start": "80"}}}}"#;
    let ports = |posture: &Posture| -> Vec<String> {
        let ports = posture.host_ports.found.iter();
        ports.map(ToString::to_string).collect()
    };
    let found = posture("{}", info);
    assert_eq!(
        ports(&found),
        ["TCP 8080 (mapped to 80)", "UDP 53 (mapped to 53)"]
    );
    assert_eq!(found.sysctls.found, ["net.core.somaxconn"]);
    assert_eq!(
        (found.sysctls.missing, found.host_ports.missing),
        (None, None)
    );

    let crio = r#"{"runtimeSpec": {
        "annotations": {"io.kubernetes.cri-o.PortMappings":
            "[{\"hostPort\":443,\"containerPort\":8443,\"protocol\":\"TCP\"}]"},
        "linux": {"sysctl": {"kernel.msgmax": "65536"}}}}"#;
    let found = posture("{}", crio);
    assert_eq!(ports(&found), ["TCP 443 (mapped to 8443)"]);
    assert_eq!(found.sysctls.found, ["kernel.msgmax"]);

    for nothing in ["", "{}", "[]", "nonsense", r#"{"runtimeSpec": 1}"#] {
        let found = posture("{}", nothing);
        assert_eq!(found.host_ports.missing, Some(Why::NotTold), "{nothing}");
        assert!(found.sysctls.missing.is_some(), "{nothing}");
    }
}
