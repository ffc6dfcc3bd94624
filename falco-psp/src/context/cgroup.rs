//! Which container a control group belongs to: read off its path.
//!
//! Forms that are known: Kubernetes' with the cgroupfs driver
//! (`/kubepods/burstable/pod<uid>/<id>`) and with the systemd driver
//! (`kubepods-burstable-pod<uid>.slice/cri-containerd-<id>.scope`), containerd's, CRI-O's, Docker's
//! and podman's own, and plain runc's or crun's, whose containers have any name: there the
//! runtime's state directory tells.

use std::fs;
use std::path::Path;

use crate::container::{Qos, Runtime};

/// A container as its control group names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerRef {
    /// The runtime's id.
    pub id: String,
    /// The uid of the pod, where the path has it.
    pub pod_uid: Option<String>,
}

/// What runtimes put before an id.
const PREFIXES: [&str; 6] = [
    "cri-containerd-",
    "crio-",
    "docker-",
    "libpod-",
    "nerdctl-",
    "runc-",
];

/// Helpers of runtimes that have a control group of their own and are no containers.
const HELPERS: [&str; 2] = ["libpod-conmon-", "crio-conmon-"];

/// The container whose control group, or an ancestor of it, is `path`. `is_known` tells whether a
/// runtime knows a container of that name: needed only for names that no runtime's scheme gives
/// away.
pub fn identify(path: &str, is_known: impl Fn(&str) -> bool) -> Option<ContainerRef> {
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    // From the inside out: a container may run in a container, or make groups of its own.
    for (depth, name) in names.iter().enumerate().rev() {
        if HELPERS.iter().any(|helper| name.starts_with(helper)) {
            return None;
        }
        let parents = &names[..depth];
        let pod_uid = parents
            .iter()
            .rev()
            .find_map(|parent| pod_uid(parent))
            .or_else(|| pod_uid(name.split_once(':')?.0));
        let id = scheme_id(name)
            // Directly below a pod stand only containers.
            .or_else(|| {
                parents
                    .last()
                    .and_then(|parent| pod_uid_of_cgroupfs(parent))
                    .map(|_| *name)
            })
            .or_else(|| is_known(name).then_some(*name));
        if let Some(id) = id {
            return Some(ContainerRef {
                id: id.to_owned(),
                pod_uid,
            });
        }
    }
    None
}

/// The software that runs the container, where the path tells.
pub fn runtime(path: &str) -> Option<Runtime> {
    let names = path.split('/').rev();
    let of_name = |name: &str| match name {
        "docker" => Some(Runtime::Docker),
        "libpod_parent" => Some(Runtime::Podman),
        _ if name.starts_with("cri-containerd-") || name.contains(":cri-containerd:") => {
            Some(Runtime::Containerd)
        }
        _ if name.starts_with("crio-") => Some(Runtime::CriO),
        _ if name.starts_with("docker-") => Some(Runtime::Docker),
        _ if name.starts_with("libpod-") => Some(Runtime::Podman),
        _ => None,
    };
    // The innermost: a cluster may run in a container of another runtime. What is below a pod
    // without such a name is of a runtime that is not told, whatever is around.
    for name in names {
        if let Some(runtime) = of_name(name) {
            return Some(runtime);
        }
        if pod_uid(name).is_some() {
            return None;
        }
    }
    None
}

/// The pod's class of service, which the kubelet gives a parent group of its own to all but one
/// class (kubelet's `cm/qos_container_manager_linux.go` and `pod_container_manager_linux.go`).
pub fn qos(path: &str) -> Option<Qos> {
    let names: Vec<&str> = path.split('/').collect();
    let (depth, name) = names.iter().enumerate().rev().find_map(|(depth, name)| {
        // Old containerd's systemd driver: `<slice>:cri-containerd:<id>`.
        let slice = name.split(':').next()?;
        pod_uid(slice).map(|_| (depth, slice))
    })?;
    let parent = depth.checked_sub(1).and_then(|parent| names.get(parent));
    let classes = [
        ("burstable", Qos::Burstable),
        ("besteffort", Qos::BestEffort),
    ];
    if let Some((before, _)) = name.rsplit_once("-pod") {
        let class = classes.into_iter().find(|(word, _)| before.ends_with(word));
        return Some(class.map_or(Qos::Guaranteed, |(_, class)| class));
    }
    let parent = *parent?;
    let class = classes.into_iter().find(|(word, _)| *word == parent);
    class
        .map(|(_, class)| class)
        .or_else(|| parent.contains("kubepods").then_some(Qos::Guaranteed))
}

/// The id in a name that follows a runtime's scheme.
fn scheme_id(name: &str) -> Option<&str> {
    // With the systemd driver of old containerd: `<slice>:cri-containerd:<id>`.
    if let Some((_, id)) = name.rsplit_once(':')
        && is_long_id(id)
    {
        return Some(id);
    }
    let scope = name.strip_suffix(".scope").unwrap_or(name);
    for prefix in PREFIXES {
        if let Some(id) = scope.strip_prefix(prefix)
            && (is_long_id(id) || (name != scope && !id.is_empty()))
        {
            return Some(id);
        }
    }
    is_long_id(scope).then_some(scope)
}

/// 64 hexadecimal digits: how all but plain runc name containers.
fn is_long_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The pod's uid in the name of a pod's control group.
fn pod_uid(name: &str) -> Option<String> {
    pod_uid_of_cgroupfs(name).or_else(|| {
        // systemd: kubepods[-qos]-pod<uid>.slice, with `_` for the `-` of the uid.
        let slice = name.strip_suffix(".slice")?;
        let (before, uid) = slice.rsplit_once("-pod")?;
        (before.contains("kubepods") && is_uid(uid)).then(|| uid.replace('_', "-"))
    })
}

fn pod_uid_of_cgroupfs(name: &str) -> Option<String> {
    let uid = name.strip_prefix("pod")?;
    is_uid(uid).then(|| uid.replace('_', "-"))
}

/// A uid as Kubernetes writes it: 36 characters with dashes, or 32 digits for a static pod.
fn is_uid(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_hexdigit).count();
    let dashes = text
        .bytes()
        .filter(|byte| matches!(byte, b'-' | b'_'))
        .count();
    digits == 32 && digits + dashes == text.len() && matches!(dashes, 0 | 4)
}

/// Where runtimes keep the state of the containers that they know by any name.
const STATE_DIRECTORIES: [&str; 2] = ["run/runc", "run/crun"];
/// The same for containerd, whose `ctr` takes any name: below it is a directory a namespace.
const CONTAINERD_TASKS: &str = "run/containerd/io.containerd.runtime.v2.task";

/// Whether a runtime knows a container of this name.
pub fn is_known_to_runtime(name: &str) -> bool {
    is_known_below(Path::new("/"), name)
}

fn is_known_below(root: &Path, name: &str) -> bool {
    if matches!(name, "." | "..") {
        return false;
    }
    let namespaces = fs::read_dir(root.join(CONTAINERD_TASKS));
    let namespaces = namespaces.into_iter().flatten().flatten();
    STATE_DIRECTORIES
        .iter()
        .map(|directory| root.join(directory))
        .chain(namespaces.map(|entry| entry.path()))
        .any(|directory| directory.join(name).is_dir())
}

/// The path in the text of a `/proc/PID/cgroup` that tells most: that of the unified hierarchy,
/// or of the `pids` controller where the unified one says only `/`.
pub fn path_of_proc(text: &str) -> Option<&str> {
    let entries = text.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let _hierarchy = parts.next()?;
        Some((parts.next()?, parts.next()?))
    });
    let mut unified = None;
    let mut pids = None;
    let mut other = None;
    for (controllers, path) in entries {
        if controllers.is_empty() {
            unified = Some(path);
        } else if controllers
            .split(',')
            .any(|controller| controller == "pids")
        {
            pids = Some(path);
        } else if path != "/" {
            other = Some(path);
        }
    }
    unified
        .filter(|path| *path != "/")
        .or(pids)
        .or(other)
        .or(unified)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4f1c1c9d4d9e0e9b2b2cbe6ab3f0f2b1f3c5d7e9a1b3c5d7e9f1a3b5c7d9e1f3";
    const UID: &str = "b7f2a8e4-93f1-4f52-9c4e-0a1b2c3d4e5f";

    fn found(path: &str) -> Option<(String, Option<String>)> {
        identify(path, |name| name == "web").map(|found| (found.id, found.pod_uid))
    }

    #[test]
    fn kubernetes_with_both_drivers() {
        let expected = Some((ID.to_owned(), Some(UID.to_owned())));
        let underscored = UID.replace('-', "_");
        for path in [
            format!("/kubepods/besteffort/pod{UID}/{ID}"),
            format!("/kubepods/burstable/pod{UID}/{ID}"),
            format!("/kubepods/pod{UID}/{ID}"),
            format!("/kubepods/besteffort/pod{UID}/crio-{ID}"),
            format!(
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{underscored}.slice/cri-containerd-{ID}.scope"
            ),
            format!("/kubepods.slice/kubepods-pod{underscored}.slice/crio-{ID}.scope"),
            format!("/kubepods.slice/kubepods-pod{underscored}.slice/docker-{ID}.scope"),
            format!(
                "/system.slice/containerd.service/kubepods-burstable-pod{underscored}.slice:cri-containerd:{ID}"
            ),
            // Groups that the container makes inside its own, and a cluster in a container.
            format!("/kubepods/besteffort/pod{UID}/{ID}/init.scope"),
            format!(
                "/docker/{}/kubelet/kubepods/besteffort/pod{UID}/{ID}",
                "a".repeat(64)
            ),
        ] {
            assert_eq!(found(&path), expected, "{path}");
        }
    }

    #[test]
    fn static_pods_have_a_uid_without_dashes() {
        let uid = "0123456789abcdef0123456789abcdef";
        assert_eq!(
            found(&format!("/kubepods/burstable/pod{uid}/{ID}")),
            Some((ID.to_owned(), Some(uid.to_owned())))
        );
    }

    #[test]
    fn runtimes_outside_kubernetes() {
        for path in [
            format!("/docker/{ID}"),
            format!("/system.slice/docker-{ID}.scope"),
            format!("/machine.slice/libpod-{ID}.scope"),
            format!("/machine.slice/libpod-{ID}.scope/container"),
            format!("/libpod_parent/libpod-{ID}"),
            format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope"),
            format!("/default/{ID}"),
        ] {
            assert_eq!(found(&path), Some((ID.to_owned(), None)), "{path}");
        }
        assert_eq!(found("/web"), Some(("web".to_owned(), None)));
        assert_eq!(
            found("/system.slice/runc-web.scope"),
            Some(("web".to_owned(), None))
        );
    }

    #[test]
    fn the_runtime_is_told_by_the_innermost_name() {
        let pod = format!("kubepods-pod{}.slice", UID.replace('-', "_"));
        let outer = "a".repeat(64);
        for (path, expected) in [
            (
                format!("/{pod}/cri-containerd-{ID}.scope"),
                Some(Runtime::Containerd),
            ),
            (format!("/{pod}/crio-{ID}.scope"), Some(Runtime::CriO)),
            (format!("/{pod}/docker-{ID}.scope"), Some(Runtime::Docker)),
            (
                format!("/system.slice/containerd.service/{pod}:cri-containerd:{ID}"),
                Some(Runtime::Containerd),
            ),
            (format!("/docker/{ID}"), Some(Runtime::Docker)),
            (
                format!("/machine.slice/libpod-{ID}.scope/container"),
                Some(Runtime::Podman),
            ),
            (format!("/libpod_parent/libpod-{ID}"), Some(Runtime::Podman)),
            // A cluster in a Docker container: its pods are not Docker's.
            (
                format!("/docker/{outer}/kubelet/kubepods/pod{UID}/{ID}"),
                None,
            ),
            (
                format!(
                    "/system.slice/docker-{outer}.scope/kubelet.slice/{pod}/cri-containerd-{ID}.scope"
                ),
                Some(Runtime::Containerd),
            ),
            (format!("/kubepods/besteffort/pod{UID}/{ID}"), None),
            (format!("/default/{ID}"), None),
            (String::new(), None),
        ] {
            assert_eq!(runtime(&path), expected, "{path}");
        }
    }

    #[test]
    fn the_class_of_service_is_told_by_the_groups_around_a_pod() {
        let underscored = UID.replace('-', "_");
        for (path, expected) in [
            (
                format!("/kubepods/besteffort/pod{UID}/{ID}"),
                Some(Qos::BestEffort),
            ),
            (
                format!("/kubepods/burstable/pod{UID}/{ID}"),
                Some(Qos::Burstable),
            ),
            (format!("/kubepods/pod{UID}/{ID}"), Some(Qos::Guaranteed)),
            (
                format!(
                    "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{underscored}.slice/cri-containerd-{ID}.scope"
                ),
                Some(Qos::BestEffort),
            ),
            (
                format!(
                    "/a/kubelet.slice/kubelet-kubepods-pod{underscored}.slice/crio-{ID}.scope/x"
                ),
                Some(Qos::Guaranteed),
            ),
            (
                format!(
                    "/system.slice/containerd.service/kubepods-burstable-pod{underscored}.slice:cri-containerd:{ID}"
                ),
                Some(Qos::Burstable),
            ),
            // The names of the groups around are someone's own (the kubelet's --cgroup-root).
            (format!("/mine/pod{UID}/{ID}"), None),
            (format!("pod{UID}/{ID}"), None),
            (format!("/docker/{ID}"), None),
            (String::new(), None),
        ] {
            assert_eq!(qos(&path), expected, "{path}");
        }
    }

    #[test]
    fn clusters_in_containers_and_other_roots() {
        let underscored = UID.replace('-', "_");
        let outer = "a".repeat(64);
        let expected = Some((ID.to_owned(), Some(UID.to_owned())));
        for path in [
            // kind and minikube, with both drivers.
            format!("/docker/{outer}/kubelet/kubepods/burstable/pod{UID}/{ID}"),
            format!("/docker/{outer}/docker/{outer}/kubepods/pod{UID}/{ID}"),
            format!(
                "/system.slice/docker-{outer}.scope/kubelet.slice/kubelet-kubepods.slice/\
                 kubelet-kubepods-besteffort.slice/\
                 kubelet-kubepods-besteffort-pod{underscored}.slice/cri-containerd-{ID}.scope"
            ),
            format!(
                "/machine.slice/libpod-{outer}.scope/container/kubelet.slice/\
                 kubelet-kubepods-pod{underscored}.slice/crio-{ID}.scope"
            ),
            // As a process sees it that is in a namespace of control groups of its own.
            format!("/../../kubepods/besteffort/pod{UID}/{ID}"),
            format!("/../../../kubepods-pod{underscored}.slice/cri-containerd-{ID}.scope/a/b"),
            // CRI-O's own group below that of the container.
            format!("/kubepods.slice/kubepods-pod{underscored}.slice/crio-{ID}.scope/container"),
        ] {
            assert_eq!(found(&path), expected, "{path}");
        }
        // The node of such a cluster is itself a container.
        let node = found(&format!("/docker/{outer}/kubelet"));
        assert_eq!(node, Some((outer.clone(), None)));
        for path in [
            format!("/machine.slice/machine-libpod_pod_{outer}.slice/libpod-{ID}.scope"),
            format!("/libpod_parent/{outer}/libpod-{ID}"),
            format!("/k8s.io/{ID}"),
            format!("/system.slice/nerdctl-{ID}.scope"),
        ] {
            assert_eq!(found(&path), Some((ID.to_owned(), None)), "{path}");
        }
    }

    #[test]
    fn a_short_name_below_a_pod_is_a_container() {
        assert_eq!(
            found(&format!("/kubepods/besteffort/pod{UID}/falco-psp-test-1")),
            Some(("falco-psp-test-1".to_owned(), Some(UID.to_owned())))
        );
    }

    #[test]
    fn what_is_no_container() {
        let digits = "0".repeat(63);
        for path in [
            "",
            "/",
            "///",
            "/../..",
            &format!("/docker/{digits}"),
            &format!("/system.slice/docker-{digits}x"),
            &format!("/kubepods/pod{digits}"),
            "/machine.slice/machine-libpod_pod_x.slice",
            "/crio-.scope",
            ":",
            "/init.scope",
            "/system.slice/ssh.service",
            "/user.slice/user-0.slice/session-1.scope",
            "/kubepods/besteffort",
            "/kubepods.slice/kubepods-besteffort.slice",
            "/webserver",
        ] {
            assert_eq!(found(path), None, "{path}");
        }
        assert_eq!(found(&format!("/kubepods/besteffort/pod{UID}")), None);
        assert_eq!(
            found(&format!("/machine.slice/libpod-conmon-{ID}.scope")),
            None
        );
        assert_eq!(found(&format!("/x/crio-conmon-{ID}.scope")), None);
    }

    #[test]
    fn runtimes_are_asked_for_names_of_any_form() {
        let root = tempfile::tempdir().unwrap();
        for state in [
            "run/runc/a",
            "run/crun/b",
            "run/containerd/io.containerd.runtime.v2.task/default/c",
        ] {
            fs::create_dir_all(root.path().join(state)).unwrap();
        }
        for (name, known) in [
            ("a", true),
            ("b", true),
            ("c", true),
            ("d", false),
            ("..", false),
        ] {
            assert_eq!(is_known_below(root.path(), name), known, "{name}");
        }
    }

    #[test]
    fn takes_the_hierarchy_that_tells_most() {
        assert_eq!(path_of_proc("0::/kubepods/x\n"), Some("/kubepods/x"));
        assert_eq!(
            path_of_proc("9:name=systemd:/a\n8:pids:/kubepods/x\n1:cpu,cpuacct:/\n0::/\n"),
            Some("/kubepods/x")
        );
        assert_eq!(path_of_proc("4:memory:/only\n0::/\n"), Some("/only"));
        assert_eq!(path_of_proc("garbage"), None);
        assert_eq!(path_of_proc("0::/a:b\n"), Some("/a:b"));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(path in "[a-z0-9:/._-]{0,80}", text: String) {
            for text in [&path, &text] {
                let _ = found(text);
                let _ = path_of_proc(text);
                let _ = runtime(text);
            }
        }
    }
}
