use super::*;

#[test]
fn reads_identity_and_shape_as_containerd_writes_them() {
    let bundle = parse(
        br#"{
          "annotations": {
            "io.kubernetes.cri.container-type": "container",
            "io.kubernetes.cri.container-name": "web",
            "io.kubernetes.cri.sandbox-name": "web-0",
            "io.kubernetes.cri.sandbox-namespace": "shop",
            "io.kubernetes.cri.sandbox-uid": "u1",
            "io.kubernetes.cri.image-name": "docker.io/library/nginx:1.25"
          },
          "root": {"path": "rootfs", "readonly": true},
          "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/host", "type": "bind", "source": "/etc", "options": ["rbind", "ro"]}
          ],
          "linux": {"resources": {"devices": [{"allow": true, "access": "rwm"}]}}
        }"#,
    )
    .unwrap();
    assert_eq!(bundle.name.as_deref(), Some("web"));
    assert_eq!(bundle.pod.namespace.as_deref(), Some("shop"));
    assert!(bundle.privileged && bundle.root_read_only && !bundle.is_sandbox);
    assert_eq!(bundle.volumes.len(), 1);
    assert_eq!(bundle.volumes[0].host_path, "/etc");
    assert!(bundle.volumes[0].read_only);
}

#[test]
fn null_is_nothing() {
    let config = br#"{"annotations": null, "mounts": [{"type": "proc", "options": null}],
        "linux": {"maskedPaths": null, "readonlyPaths": null, "sysctl": null, "seccomp": null,
                  "resources": {"devices": null}}}"#;
    assert_eq!(parse(config).unwrap(), parse(b"{}").unwrap());
    let mounts = br#"{"mounts": null, "linux": {"resources": {}}}"#;
    assert_eq!(parse(mounts).unwrap(), parse(b"{}").unwrap());
}

#[test]
fn an_ordinary_container_is_not_privileged() {
    let devices = br#"{"linux": {"resources": {"devices": [
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}]}}}"#;
    assert!(!parse(devices).unwrap().privileged);
    let masked = br#"{"linux": {"maskedPaths": ["/proc/kcore"],
        "resources": {"devices": [{"allow": true, "access": "rwm"}]}}}"#;
    assert!(!parse(masked).unwrap().privileged);
    assert!(!parse(b"{}").unwrap().privileged);
}

#[test]
fn a_sandbox_is_known_by_its_annotation() {
    for key in [
        "io.kubernetes.cri.container-type",
        "io.kubernetes.cri-o.ContainerType",
    ] {
        let config = format!(r#"{{"annotations": {{"{key}": "sandbox"}}}}"#);
        assert!(parse(config.as_bytes()).unwrap().is_sandbox);
    }
}

#[test]
fn finds_bundles_of_each_runtime() {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let found = |id: &str| {
        let mut paths = candidates(root.path(), id)
            .into_iter()
            .map(|candidate| candidate.path);
        paths.find(|path| path.is_file() || path.starts_with("/bundles"))
    };
    write(
        "run/containerd/io.containerd.runtime.v2.task/k8s.io/c1/config.json",
        "{}",
    );
    write(
        "run/containerd/io.containerd.runtime.v2.task/moby/c2/config.json",
        "{}",
    );
    write(
        "var/lib/containers/storage/overlay-containers/c3/userdata/config.json",
        "{}",
    );
    write(
        "run/runc/c4/state.json",
        r#"{"config": {"labels": ["a=b", "bundle=/bundles/c4"]}}"#,
    );
    write("run/crun/c5/status", r#"{"bundle": "/bundles/c5"}"#);
    for id in ["c1", "c2", "c3", "c4", "c5"] {
        assert!(found(id).is_some(), "{id}");
    }
    assert_eq!(found("c6"), None);
    write("run/runc/c6/state.json", "not JSON");
    assert_eq!(found("c6"), None);
}

#[test]
fn an_id_does_not_lead_elsewhere() {
    for id in ["..", "../../etc", ""] {
        assert_eq!(find(id), Lookup::NotThere, "{id}");
    }
}

/// What each runtime writes, shortened to what matters, and where.
const LAYOUTS: [(&str, &str, Option<Runtime>); 7] = [
    (
        "run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json",
        CONTAINERD,
        Some(Runtime::Containerd),
    ),
    (
        "run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json",
        CONTAINERD,
        Some(Runtime::Containerd),
    ),
    (
        "run/containerd/io.containerd.runtime.v2.task/moby/ID/config.json",
        r#"{"ociVersion": "1.0.2", "hostname": "4f1c1c9d4d9e", "root": {"path": "/x"}}"#,
        Some(Runtime::Docker),
    ),
    (
        "run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/ID/config.json",
        r#"{"ociVersion": "1.0.2"}"#,
        Some(Runtime::Docker),
    ),
    (
        "run/containers/storage/overlay-containers/ID/userdata/config.json",
        CRIO,
        Some(Runtime::CriO),
    ),
    (
        "var/lib/containers/storage/overlay-containers/ID/userdata/config.json",
        PODMAN,
        Some(Runtime::Podman),
    ),
    (
        "run/containerd/io.containerd.runtime.v2.task/default/ID/config.json",
        r#"{"ociVersion": "1.0.2"}"#,
        Some(Runtime::Containerd),
    ),
];

const CONTAINERD: &str = r#"{"annotations": {
    "io.kubernetes.cri.container-name": "app",
    "io.kubernetes.cri.container-type": "container",
    "io.kubernetes.cri.image-name": "docker.io/library/nginx:1.25",
    "io.kubernetes.cri.sandbox-id": "s1",
    "io.kubernetes.cri.sandbox-name": "web-0",
    "io.kubernetes.cri.sandbox-namespace": "shop",
    "io.kubernetes.cri.sandbox-uid": "u1"}}"#;

const CRIO: &str = r#"{"annotations": {
    "io.container.manager": "cri-o",
    "io.kubernetes.container.name": "app",
    "io.kubernetes.cri-o.ContainerType": "container",
    "io.kubernetes.cri-o.ImageName": "docker.io/library/nginx:1.25",
    "io.kubernetes.cri-o.SandboxID": "s1",
    "io.kubernetes.pod.name": "web-0",
    "io.kubernetes.pod.namespace": "shop",
    "io.kubernetes.pod.uid": "u1"}}"#;

const PODMAN: &str = r#"{"annotations": {
    "io.container.manager": "libpod",
    "io.kubernetes.cri-o.Created": "2026-11-26T19:27:44.808144892Z",
    "io.kubernetes.cri-o.TTY": "false",
    "org.opencontainers.image.stopSignal": "15"},
    "mounts": [{"destination": "/data", "type": "bind", "source": "/srv",
        "options": ["rw", "rbind", "rslave"]}]}"#;

#[test]
fn every_layout_is_read() {
    for (path, config, runtime) in LAYOUTS {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(path.replace("ID", "c1"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, config).unwrap();
        let Lookup::Found(bundle) = find_below(root.path(), "c1") else {
            panic!("{}", path.display());
        };
        assert_eq!(bundle.runtime, runtime, "{}", path.display());
        if config.contains("web-0") {
            let pod = Pod {
                uid: Some("u1".to_owned()),
                name: Some("web-0".to_owned()),
                namespace: Some("shop".to_owned()),
                sandbox_id: Some("s1".to_owned()),
                ..Pod::default()
            };
            assert_eq!(bundle.pod, pod);
            assert_eq!(bundle.name.as_deref(), Some("app"));
            let image = Some("docker.io/library/nginx:1.25");
            assert_eq!(bundle.image.as_deref(), image);
        } else {
            assert_eq!((bundle.pod, bundle.name), (Pod::default(), None));
        }
        if config == PODMAN {
            let mount = BindMount {
                source: "/srv".to_owned(),
                destination: "/data".to_owned(),
                read_only: false,
                propagation: "rslave",
            };
            assert_eq!(bundle.mounts, [mount]);
        }
        assert_eq!(find_below(root.path(), "c2"), Lookup::NotThere);
        // What is there and makes no sense is not "not there".
        fs::write(&path, "{").unwrap();
        assert_eq!(find_below(root.path(), "c1"), Lookup::Bad);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(find_below(root.path(), "c1"), Lookup::Bad);
    }
}

proptest::proptest! {
    #[test]
    fn garbage_is_no_bundle_and_no_panic(
        bytes: Vec<u8>,
        key in "annotations|root|mounts|linux|process|x",
        value in r#"null|true|1|"x"|\[\]|\{\}|\[1\]|\[\{\}\]|\{"resources": \{"devices": \[\{"major": -1\}\]\}\}"#,
    ) {
        let _ = parse(&bytes);
        let _ = parse(format!(r#"{{"{key}": {value}}}"#).as_bytes());
        let _ = bundle_of_state(&bytes);
    }
}
