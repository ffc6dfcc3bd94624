//! What confines a container, from what the kernel shows and what the bundles order.

use super::bundle::{self, Bundle, Lookup};
use super::lsm::Modules;
use super::volumes::MountFacts;
use crate::container::posture::{Fact, Facts, Posture, ProcMount, Why};
use crate::event::Process;

/// Where facts of a container come from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sources<'a> {
    /// Its bundle.
    pub(super) bundle: Option<&'a Bundle>,
    /// That of its pod's sandbox.
    pub(super) sandbox: Option<&'a Bundle>,
    /// Its mount table.
    pub(super) mounts: Option<&'a MountFacts>,
    /// One of its processes.
    pub(super) process: &'a Process,
    /// Whether it is in the host's network.
    pub(super) host_network: Option<bool>,
    /// The kernel's security modules.
    pub(super) modules: &'a Modules,
}

/// The bundle of the sandbox that the bundle of a container names. A pod's sysctls are ordered in
/// that one.
pub(super) fn sandbox_of(bundle: &Bundle) -> Option<Bundle> {
    match bundle::find(bundle.pod.sandbox_id.as_deref()?) {
        Lookup::Found(sandbox) => Some(*sandbox),
        Lookup::NotThere | Lookup::Bad => None,
    }
}

impl Sources<'_> {
    /// All that they tell.
    pub(super) fn posture(self) -> Posture {
        let Self {
            bundle, process, ..
        } = self;
        let app_armor = bundle.and_then(|bundle| bundle.app_armor.as_deref());
        let se_linux = bundle.and_then(|bundle| bundle.se_linux.as_deref());
        Posture {
            seccomp: self.seccomp(),
            app_armor: self.modules.app_armor(process.pid, app_armor),
            se_linux: self.modules.se_linux(process.pid, se_linux),
            proc_mount: self.proc_mount(),
            sysctls: self.sysctls(),
            host_ports: self.host_ports(),
            // Known as they happen.
            root_writes: None,
        }
    }

    /// The kernel shows whether there is a filter, not which profile it is made of. A filter that
    /// no bundle orders is the program's own.
    fn seccomp(self) -> Fact<String> {
        let no_filter = self.process.seccomp_mode == 0;
        let none_ordered = self.bundle.is_some_and(|bundle| !bundle.has_seccomp);
        if no_filter || none_ordered {
            return Fact::Known("unconfined".to_owned());
        }
        match self.bundle.and_then(|bundle| bundle.seccomp.clone()) {
            Some(profile) => Fact::Known(profile),
            None => Fact::Unknown(Why::Unnamed),
        }
    }

    /// What this kernel does not have in `/proc` is ordered to be masked all the same.
    fn proc_mount(self) -> Fact<ProcMount> {
        let seen = self.mounts.map(|mounts| mounts.masks_proc);
        let ordered = self.bundle.map(|bundle| bundle.masks_proc);
        match (seen, ordered) {
            (None, None) => Fact::Unknown(Why::Ended),
            (seen, ordered) => {
                let is_masked = seen == Some(true) || ordered == Some(true);
                Fact::Known(ProcMount::of(is_masked))
            }
        }
    }

    fn sysctls(self) -> Facts<String> {
        let bundles = [self.bundle, self.sandbox].into_iter().flatten();
        let mut found: Vec<_> = bundles.flat_map(|bundle| bundle.sysctls.clone()).collect();
        found.sort_unstable();
        found.dedup();
        // What is in no pod has no sandbox.
        let in_pod = self
            .bundle
            .is_none_or(|bundle| bundle.pod.sandbox_id.is_some() || bundle.pod.name.is_some());
        let missing = in_pod && self.sandbox.is_none();
        Facts {
            found,
            missing: missing.then_some(Why::NoSandbox),
        }
    }

    /// In the host's network listening sockets tell; they are looked at later. In any other, the
    /// runtime knows which ports of the host lead there.
    fn host_ports(self) -> Facts<crate::container::posture::HostPort> {
        let mapped = [self.sandbox, self.bundle].into_iter().flatten();
        let mapped = mapped.filter_map(|bundle| bundle.host_ports.clone()).next();
        let missing = match self.host_network {
            Some(false) if mapped.is_some() => None,
            Some(false) => Some(Why::NotTold),
            Some(true) | None => Some(Why::NotLookedAt),
        };
        Facts {
            found: mapped.unwrap_or_default(),
            missing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The posture of a container with this bundle, if any, and this seccomp mode.
    fn posture(bundle: Option<&str>, sandbox: Option<&str>, mode: u32) -> Posture {
        let parse = |text: &str| bundle::parse(text.as_bytes()).unwrap();
        let (bundle, sandbox) = (bundle.map(parse), sandbox.map(parse));
        let process = Process {
            pid: u32::MAX,
            seccomp_mode: mode,
            ..Process::default()
        };
        let sources = Sources {
            bundle: bundle.as_ref(),
            sandbox: sandbox.as_ref(),
            mounts: None,
            process: &process,
            host_network: Some(false),
            modules: &Modules::find(),
        };
        sources.posture()
    }

    const FILTER: &str = r#"{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO"}}}"#;

    #[test]
    fn the_kernel_shows_a_filter_and_others_tell_its_name() {
        let known = |name: &str| Fact::Known(name.to_owned());
        let unnamed = Fact::Unknown(Why::Unnamed);
        let crio = |name: &str| {
            FILTER.replacen(
                '{',
                &format!(
                    r#"{{"annotations": {{"io.kubernetes.cri-o.SeccompProfilePath": "{name}"}}, "#
                ),
                1,
            )
        };
        for (bundle, mode, expected) in [
            (None, 0, known("unconfined")),
            (None, 2, unnamed.clone()),
            (Some(FILTER.to_owned()), 2, unnamed),
            // The kernel knows better than the bundle.
            (Some(FILTER.to_owned()), 0, known("unconfined")),
            // Some programs give themselves a filter.
            (Some("{}".to_owned()), 2, known("unconfined")),
            (Some(crio("runtime/default")), 2, known("runtime/default")),
            (Some(crio("RuntimeDefault")), 2, known("runtime/default")),
            (
                Some(crio("localhost//var/lib/kubelet/seccomp/team/a.json")),
                2,
                known("localhost/team/a.json"),
            ),
            (Some(crio("localhost/a.json")), 2, known("localhost/a.json")),
        ] {
            let found = posture(bundle.as_deref(), None, mode).seccomp;
            assert_eq!(found, expected, "{bundle:?} {mode}");
        }
    }

    #[test]
    fn proc_is_masked_or_not() {
        for (bundle, expected) in [
            (Some("{}"), Fact::Known(ProcMount::Unmasked)),
            (
                Some(r#"{"linux": {"maskedPaths": ["/proc/kcore"]}}"#),
                Fact::Known(ProcMount::Default),
            ),
            (
                Some(r#"{"linux": {"readonlyPaths": ["/proc/sys"]}}"#),
                Fact::Known(ProcMount::Default),
            ),
            (
                Some(r#"{"linux": {"maskedPaths": ["/sys/firmware"]}}"#),
                Fact::Known(ProcMount::Unmasked),
            ),
            (None, Fact::Unknown(Why::Ended)),
        ] {
            assert_eq!(posture(bundle, None, 0).proc_mount, expected, "{bundle:?}");
        }
    }

    #[test]
    fn sysctls_are_those_of_the_container_and_of_its_pods_sandbox() {
        let facts = |found: &[&str], missing| Facts {
            found: found.iter().map(|name| (*name).to_owned()).collect(),
            missing,
        };
        let own = r#"{"linux": {"sysctl": {"net.core.somaxconn": "1024"}}}"#;
        let in_pod = r#"{"annotations": {"io.kubernetes.cri.sandbox-id": "s"}}"#;
        let sandbox = r#"{"linux": {"sysctl": {
            "kernel.msgmax": "65536",
            "net.ipv4.ip_unprivileged_port_start": "0",
            "net.ipv4.ping_group_range": "0 2147483647"}}}"#;
        let set = r#"{"linux": {"sysctl": {"net.ipv4.ip_unprivileged_port_start": "80"}}}"#;
        let no_sandbox = Some(Why::NoSandbox);
        for (bundle, sandbox, expected) in [
            (Some(own), None, facts(&["net.core.somaxconn"], None)),
            (Some(in_pod), Some(sandbox), facts(&["kernel.msgmax"], None)),
            (Some(in_pod), None, facts(&[], no_sandbox)),
            (None, None, facts(&[], no_sandbox)),
            (
                Some(in_pod),
                Some(set),
                facts(&["net.ipv4.ip_unprivileged_port_start"], None),
            ),
        ] {
            assert_eq!(posture(bundle, sandbox, 0).sysctls, expected, "{bundle:?}");
        }
    }

    #[test]
    fn ports_of_the_host_are_noted_in_the_sandbox_of_crio() {
        let mappings = r#"[{"hostPort":8080,"containerPort":80,"protocol":"TCP","hostIP":""},
            {"hostPort":0,"containerPort":81,"protocol":"TCP","hostIP":""},
            {"hostPort":53,"containerPort":53,"protocol":"UDP","hostIP":""}]"#;
        let noted = |mappings: &str| {
            let annotations = serde_json::json!({"io.kubernetes.cri-o.PortMappings": mappings});
            serde_json::json!({ "annotations": annotations }).to_string()
        };
        let ports = posture(Some("{}"), Some(&noted(mappings)), 0).host_ports;
        let told: Vec<String> = ports.found.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["TCP 8080 (mapped to 80)", "UDP 53 (mapped to 53)"]);
        assert_eq!(ports.missing, None);
        assert_eq!(
            posture(None, Some(&noted("{}")), 0).host_ports.missing,
            Some(Why::NotTold)
        );
    }
}
