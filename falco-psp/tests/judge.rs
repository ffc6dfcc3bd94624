//! A policy, and what its rules say of events: from the text of the one to the controls that the
//! other violates.

#![expect(clippy::unwrap_used, reason = "a test says best where it failed")]

use std::collections::BTreeSet;
use std::sync::Arc;

use falco_psp::container::posture::{
    Fact, Facts, HostPort, Posture, ProcMount, Protocol, SeLinuxLabel, Way, Why,
};
use falco_psp::container::{Container, Pod, Volume};
use falco_psp::control::Control;
use falco_psp::event::{Activity, Capabilities, CommandLine, Event, Ids, Process, SyscallEvent};
use falco_psp::rules::{RuleSet, Source};
use falco_psp::{convert, psp, rules};
use proptest::prelude::*;

/// A policy that allows all that rules observe; `spec` replaces lines of the same key.
fn policy(name: &str, annotations: &str, spec: &str) -> String {
    let defaults = [
        "privileged: true",
        "hostPID: true",
        "hostIPC: true",
        "hostNetwork: true",
        "volumes: ['*']",
        "allowedCapabilities: ['*']",
        "runAsUser: {rule: RunAsAny}",
        "seLinux: {rule: RunAsAny}",
        "fsGroup: {rule: RunAsAny}",
        "supplementalGroups: {rule: RunAsAny}",
    ];
    let key = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
    let given: Vec<String> = spec.lines().map(key).collect();
    let mut text = format!(
        "apiVersion: policy/v1beta1\nkind: PodSecurityPolicy\nmetadata:\n  name: {name}\n  \
         annotations: {{{annotations}}}\nspec:\n"
    );
    let kept = defaults.iter().filter(|line| !given.contains(&key(line)));
    for line in kept.copied().chain(spec.lines()) {
        // `-` takes a line away.
        if !line.ends_with(": -") {
            text += &format!("  {line}\n");
        }
    }
    text
}

fn load(policy: &str) -> RuleSet {
    let file = Arc::from("p.yaml");
    let (policy, _) = psp::parse(&file, policy).unwrap();
    let text = convert::rules_text(&policy).unwrap().text;
    let (rules, warnings) = rules::load(&Arc::from("rules"), &text).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    rules
}

fn rules(spec: &str) -> RuleSet {
    load(&policy("p", "", spec))
}

/// The controls that an event violates.
fn violated(rules: &RuleSet, event: &SyscallEvent) -> BTreeSet<&'static str> {
    let event = Event::from(event.clone());
    let matching = rules.matching(&event);
    matching
        .filter_map(|(_, rule)| Some(rule.control()?.name()))
        .collect()
}

fn violates(spec: &str, event: &SyscallEvent) -> bool {
    !violated(&rules(spec), event).is_empty()
}

fn event(activity: Activity) -> SyscallEvent {
    SyscallEvent {
        number: 1,
        time_ns: 0,
        activity,
        process: Arc::new(Process {
            users: ids(1000),
            groups: ids(1000),
            ..Process::default()
        }),
        container: Arc::new(Container {
            id: "c".to_owned(),
            privileged: Some(false),
            host_pid: Some(false),
            host_ipc: Some(false),
            host_network: Some(false),
            root_read_only: Some(true),
            volumes: Some(Vec::new()),
            ..Container::default()
        }),
    }
}

fn ids(id: u32) -> Ids {
    Ids {
        real: id,
        effective: id,
        saved: id,
        filesystem: id,
    }
}

fn container(change: impl FnOnce(&mut Container)) -> SyscallEvent {
    let mut event = event(Activity::Container);
    change(Arc::make_mut(&mut event.container));
    event
}

fn exec(change: impl FnOnce(&mut Process)) -> SyscallEvent {
    call(Activity::Exec, change)
}

fn call(activity: Activity, change: impl FnOnce(&mut Process)) -> SyscallEvent {
    let mut event = event(activity);
    change(Arc::make_mut(&mut event.process));
    event
}

fn credentials(call: &'static str, result: i64) -> Activity {
    Activity::Credentials { call, result }
}

fn volume(volume_type: &str, host_path: &str, read_only: bool) -> Volume {
    Volume {
        volume_type: volume_type.to_owned(),
        host_path: host_path.to_owned(),
        mount_path: "/v".to_owned(),
        read_only,
        fs_group: None,
        driver: None,
    }
}

fn with_volumes(volumes: Vec<Volume>) -> SyscallEvent {
    container(|container| container.volumes = Some(volumes))
}

#[test]
fn flags_of_the_container() {
    type Set = fn(&mut Container, Option<bool>);
    let cases: [(&str, &str, bool, Set); 4] = [
        ("privileged", "privileged: false", true, |c, v| {
            c.privileged = v
        }),
        ("hostPID", "hostPID: false", true, |c, v| c.host_pid = v),
        ("hostIPC", "hostIPC: false", true, |c, v| c.host_ipc = v),
        ("hostNetwork", "hostNetwork: false", true, |c, v| {
            c.host_network = v
        }),
    ];
    for (control, restricting, bad, set) in cases {
        let with = |value| container(|c| set(c, value));
        let restricted = rules(restricting);
        assert_eq!(violated(&restricted, &with(Some(bad))), [control].into());
        assert!(violated(&restricted, &with(Some(!bad))).is_empty());
        assert!(
            violated(&restricted, &with(None)).is_empty(),
            "unknown is no violation"
        );
        // Absent means what Kubernetes means by it: false.
        let absent = rules(&format!("{control}: -"));
        assert_eq!(violated(&absent, &with(Some(bad))), [control].into());
        assert!(violated(&rules(""), &with(Some(bad))).is_empty());
        // The facts of a container are judged once, not with each of its processes.
        let mut other = with(Some(bad));
        other.activity = Activity::Exec;
        assert!(violated(&restricted, &other).is_empty());
    }
}

#[test]
fn writes_to_the_root_file_system() {
    let write = Activity::RootWrite {
        call: "openat",
        path: "/var/cache/x".to_owned(),
    };
    let write = call(write, |_| {});
    let violation = ["readOnlyRootFilesystem"].into();
    assert_eq!(
        violated(&rules("readOnlyRootFilesystem: true"), &write),
        violation
    );
    assert!(violated(&rules("readOnlyRootFilesystem: false"), &write).is_empty());
    assert!(violated(&rules(""), &write).is_empty());
    // That it could be written to breaks nothing.
    let writable = container(|container| container.root_read_only = Some(false));
    assert!(violated(&rules("readOnlyRootFilesystem: true"), &writable).is_empty());
}

#[test]
fn volume_types() {
    let of = |kind: &str| with_volumes(vec![volume(kind, "/x", true)]);
    for (list, kind, bad) in [
        ("-", "emptyDir", true),
        ("[]", "emptyDir", true),
        ("['*']", "hostPath", false),
        ("[emptyDir]", "emptyDir", false),
        ("[emptyDir]", "hostPath", true),
        // A claim hides what it is of.
        ("[persistentVolumeClaim]", "csi", false),
        ("[persistentVolumeClaim]", "nfs", false),
        ("[persistentVolumeClaim]", "hostPath", true),
        ("[emptyDir]", "persistentVolumeClaim", true),
        // A projected volume may be a token's, which goes as a secret.
        ("[secret]", "projected", false),
        ("[configMap]", "projected", true),
        ("[cephFS]", "cephFS", false),
    ] {
        assert_eq!(
            violates(&format!("volumes: {list}"), &of(kind)),
            bad,
            "{list} {kind}"
        );
    }
    assert!(!violates("volumes: []", &with_volumes(Vec::new())));
    let unknown = container(|container| container.volumes = None);
    assert!(!violates("volumes: []", &unknown));
    let mixed = with_volumes(vec![
        volume("emptyDir", "/a", true),
        volume("hostPath", "/b", true),
    ]);
    assert!(violates("volumes: [emptyDir]", &mixed));
}

#[test]
fn host_paths() {
    // Prefixes; paths, and whether they are mounted read-only; whether that is a violation.
    type Case<'a> = (&'a str, &'a [(&'a str, bool)], bool);
    let cases: &[Case<'_>] = &[
        ("", &[("/etc", false)], false),
        ("{pathPrefix: /foo}", &[("/foo", false)], false),
        ("{pathPrefix: /foo}", &[("/foo/bar", false)], false),
        ("{pathPrefix: /foo/}", &[("/foo/bar", false)], false),
        ("{pathPrefix: /foo}", &[("/foobar", false)], true),
        ("{pathPrefix: /foo}", &[("/", true)], true),
        ("{pathPrefix: /}", &[("/etc/x", false)], false),
        (
            "{pathPrefix: /foo}",
            &[("/foo", false), ("/bar", true)],
            true,
        ),
        (
            "{pathPrefix: /foo, readOnly: true}",
            &[("/foo/x", true)],
            false,
        ),
        (
            "{pathPrefix: /foo, readOnly: true}",
            &[("/foo/x", false)],
            true,
        ),
        // A writable prefix beats a read-only one, in any order, whichever is longer.
        (
            "{pathPrefix: /foo/x, readOnly: true}, {pathPrefix: /foo}",
            &[("/foo/x", false)],
            false,
        ),
        (
            "{pathPrefix: /foo}, {pathPrefix: /foo/x, readOnly: true}",
            &[("/foo/x/y", false)],
            false,
        ),
        (
            "{pathPrefix: /foo/x}, {pathPrefix: /foo, readOnly: true}",
            &[("/foo/y", false)],
            true,
        ),
        // Nothing in a prefix is a pattern.
        ("{pathPrefix: '/a*'}", &[("/abc", false)], true),
        ("{pathPrefix: '/a*'}", &[("/a*/c", false)], false),
        ("{pathPrefix: '/[ab]'}", &[("/a", false)], true),
    ];
    for (prefixes, paths, bad) in cases {
        let spec = format!("allowedHostPaths: [{prefixes}]");
        let volumes = paths.iter().map(|(path, ro)| volume("hostPath", path, *ro));
        let event = with_volumes(volumes.collect());
        assert_eq!(violates(&spec, &event), *bad, "{prefixes} {paths:?}");
    }
    // Only hostPath volumes have a host path that counts.
    let other = with_volumes(vec![volume("emptyDir", "/var/lib/kubelet/x", false)]);
    assert!(!violates("allowedHostPaths: [{pathPrefix: /foo}]", &other));
}

#[test]
fn user_ids() {
    let as_user = |ids| exec(|process| process.users = ids);
    let ranges = |text: &str| format!("runAsUser: {{rule: MustRunAs, ranges: [{text}]}}");
    for (text, id, bad) in [
        ("{min: 30, max: 40}", 30, false),
        ("{min: 30, max: 40}", 40, false),
        ("{min: 30, max: 40}", 29, true),
        ("{min: 30, max: 40}", 300, true),
        ("{min: 30, max: 40}", 4, true),
        // Overlapping, in both orders.
        ("{min: 20, max: 25}, {min: 1, max: 1500}", 1000, false),
        ("{min: 1, max: 1500}, {min: 20, max: 25}", 1000, false),
        ("{min: 0, max: 9223372036854775807}", u32::MAX - 1, false),
    ] {
        assert_eq!(
            violates(&ranges(text), &as_user(ids(id))),
            bad,
            "{text} {id}"
        );
    }
    let non_root = "runAsUser: {rule: MustRunAsNonRoot}";
    assert!(!violates(non_root, &as_user(ids(1000))));
    // One id of the four is enough.
    for root in [
        Ids {
            real: 0,
            ..ids(1000)
        },
        Ids {
            effective: 0,
            ..ids(1000)
        },
        Ids {
            saved: 0,
            ..ids(1000)
        },
        Ids {
            filesystem: 0,
            ..ids(1000)
        },
    ] {
        assert!(violates(non_root, &as_user(root)), "{root:?}");
    }
    assert!(!violates("runAsUser: {rule: RunAsAny}", &as_user(ids(0))));
    // What a call left behind counts, and only if it succeeded.
    for (name, result, bad) in [
        ("setuid", 0, true),
        ("setresuid", 0, true),
        ("setuid", -1, false),
    ] {
        let event = call(credentials(name, result), |process| process.users = ids(0));
        assert_eq!(violates(non_root, &event), bad, "{name} {result}");
    }
}

#[test]
fn group_ids() {
    let as_group = |id| exec(|process| process.groups = ids(id));
    for rule in ["MustRunAs", "MayRunAs"] {
        let spec = format!("runAsGroup: {{rule: {rule}, ranges: [{{min: 10, max: 20}}]}}");
        assert!(!violates(&spec, &as_group(10)), "{rule}");
        assert!(violates(&spec, &as_group(0)), "{rule}");
        let set = call(credentials("setgid", 0), |process| process.groups = ids(5));
        assert!(violates(&spec, &set), "{rule}");

        let with_groups = |groups: &[u32]| {
            let groups = groups.to_vec();
            exec(|process| process.supplementary_groups = groups)
        };
        let spec = format!("supplementalGroups: {{rule: {rule}, ranges: [{{min: 10, max: 20}}]}}");
        assert!(!violates(&spec, &with_groups(&[])), "{rule}");
        assert!(!violates(&spec, &with_groups(&[10, 20])), "{rule}");
        assert!(violates(&spec, &with_groups(&[10, 21])), "{rule}");
        // Runtimes repeat the process's own group.
        assert!(!violates(&spec, &with_groups(&[10, 1000])), "{rule}");
        // An fsGroup is a supplementary group of the process.
        let both = format!("{spec}\nfsGroup: {{rule: MayRunAs, ranges: [{{min: 7, max: 7}}]}}");
        assert!(!violates(&both, &with_groups(&[7, 10])), "{rule}");

        let spec = format!("fsGroup: {{rule: {rule}, ranges: [{{min: 10, max: 20}}]}}");
        let owned = |group| {
            let fs_group = Some(group);
            with_volumes(vec![Volume {
                fs_group,
                ..volume("emptyDir", "/v", false)
            }])
        };
        assert!(!violates(&spec, &owned(15)), "{rule}");
        assert!(violates(&spec, &owned(0)), "{rule}");
    }
}

fn with_posture(change: impl FnOnce(&mut Posture)) -> SyscallEvent {
    container(|container| change(&mut container.posture))
}

fn found<T>(found: Vec<T>) -> Facts<T> {
    Facts {
        found,
        missing: None,
    }
}

#[test]
fn host_ports() {
    let with = |ports: &[u16], missing| {
        let port = |port| HostPort {
            port,
            protocol: Protocol::Tcp,
            way: Way::Listens("0.0.0.0".parse().unwrap()),
        };
        let found = ports.iter().copied().map(port).collect();
        with_posture(|posture| posture.host_ports = Facts { found, missing })
    };
    let ranges = "hostPorts: [{min: 80, max: 80}, {min: 8000, max: 8080}]";
    for (spec, ports, expected) in [
        ("hostPorts: []", &[][..], false),
        ("hostPorts: []", &[80], true),
        (ranges, &[80, 8000, 8080], false),
        (ranges, &[80, 8081], true),
        ("hostPorts: [{min: 0, max: 65535}]", &[80], false),
    ] {
        assert_eq!(
            violates(spec, &with(ports, None)),
            expected,
            "{spec} {ports:?}"
        );
        // What is not known besides changes nothing.
        let unknown = Some(Why::NotTold);
        assert_eq!(
            violates(spec, &with(ports, unknown)),
            expected,
            "{spec} {ports:?}"
        );
    }
}

#[test]
fn drivers_of_volumes() {
    let of = |volume_type: &str, driver: Option<&str>| Volume {
        driver: driver.map(str::to_owned),
        ..volume(volume_type, "/v", false)
    };
    let csi = "allowedCSIDrivers: [{name: csi.acme.io}]";
    let flex = "allowedFlexVolumes: [{driver: acme/lvm}]";
    for (spec, volumes, expected) in [
        (csi, vec![of("csi", Some("csi.acme.io"))], false),
        (
            csi,
            vec![
                of("csi", Some("csi.acme.io")),
                of("csi", Some("csi.other.io")),
            ],
            true,
        ),
        // A claim leads to it, or nobody knows the driver.
        (
            csi,
            vec![of("persistentVolumeClaim", Some("csi.other.io"))],
            false,
        ),
        (csi, vec![of("csi", None)], false),
        (csi, vec![of("flexVolume", Some("other/lvm"))], false),
        (flex, vec![of("flexVolume", Some("acme/lvm"))], false),
        (flex, vec![of("flexVolume", Some("other/lvm"))], true),
        ("allowedCSIDrivers: []", vec![of("csi", Some("any"))], false),
    ] {
        let event = with_volumes(volumes);
        assert_eq!(violates(spec, &event), expected, "{spec} {event:?}");
    }
}

#[test]
fn proc_mounts() {
    let with = |proc_mount, privileged| {
        container(|container| {
            container.privileged = privileged;
            container.posture.proc_mount = Fact::Known(proc_mount);
        })
    };
    for (types, proc_mount, expected) in [
        ("[]", ProcMount::Default, false),
        ("[]", ProcMount::Unmasked, true),
        ("[Unmasked]", ProcMount::Default, true),
        ("[Unmasked, Default]", ProcMount::Unmasked, false),
    ] {
        let spec = format!("allowedProcMountTypes: {types}");
        assert_eq!(
            violates(&spec, &with(proc_mount, Some(false))),
            expected,
            "{types}"
        );
        // Privileged ones have nothing masked whatever their procMount.
        assert!(!violates(&spec, &with(proc_mount, Some(true))), "{types}");
    }
    let unknown = with_posture(|posture| posture.proc_mount = Fact::Unknown(Why::Ended));
    assert!(!violates("allowedProcMountTypes: []", &unknown));
}

#[test]
fn sysctls() {
    for (spec, sysctls, expected) in [
        ("", &[][..], false),
        ("", &["kernel.shm_rmid_forced"], false),
        ("", &["kernel.shm_rmid_forced", "kernel.msgmax"], true),
        (
            "allowedUnsafeSysctls: [kernel.msgmax]",
            &["kernel.msgmax"],
            false,
        ),
        (
            "allowedUnsafeSysctls: ['kernel.msg*']",
            &["kernel.msgmnb"],
            false,
        ),
        (
            "allowedUnsafeSysctls: ['kernel.msg*']",
            &["kernel.sem"],
            true,
        ),
        ("allowedUnsafeSysctls: ['*']", &["kernel.sem"], false),
        (
            "forbiddenSysctls: [kernel.shm_rmid_forced]",
            &["kernel.shm_rmid_forced"],
            true,
        ),
        (
            "forbiddenSysctls: ['net.*']",
            &["net.ipv4.tcp_syncookies"],
            true,
        ),
        (
            "forbiddenSysctls: ['*']",
            &["net.ipv4.tcp_syncookies"],
            true,
        ),
    ] {
        let names = sysctls.iter().map(|name| (*name).to_owned()).collect();
        let event = with_posture(|posture| posture.sysctls = found(names));
        assert_eq!(violates(spec, &event), expected, "{spec} {sysctls:?}");
    }
}

#[test]
fn labels_of_se_linux() {
    let with = |label: &str| {
        let label = SeLinuxLabel::parse(label).unwrap();
        with_posture(|posture| posture.se_linux = Fact::Known(label))
    };
    let options =
        |options: &str| format!("seLinux: {{rule: MustRunAs, seLinuxOptions: {{{options}}}}}");
    let label = "system_u:system_r:container_t:s0:c1.c3";
    for (options, expected) in [
        (options("type: container_t"), false),
        (options("type: spc_t"), true),
        (options("type: container_t, user: staff_u"), true),
        (options("role: system_r"), false),
        (options("level: 's0:c3,c2,c1'"), false),
        (options("level: 's0:c1,c2'"), true),
        ("seLinux: {rule: RunAsAny}".to_owned(), false),
    ] {
        assert_eq!(violates(&options, &with(label)), expected, "{options}");
    }
    let none = with_posture(|posture| posture.se_linux = Fact::Unknown(Why::NotInKernel));
    assert!(!violates(&options("type: container_t"), &none));
}

#[test]
fn profiles_of_seccomp_and_app_armor() {
    const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/allowedProfileNames";
    const APP_ARMOR: &str = "apparmor.security.beta.kubernetes.io/allowedProfileNames";
    let known = |profile: &str| Fact::Known(profile.to_owned());
    let seccomp = |profile: &str| with_posture(|posture| posture.seccomp = known(profile));
    let app_armor = |profile: &str| with_posture(|posture| posture.app_armor = known(profile));
    for (annotation, event, expected) in [
        (None, seccomp("unconfined"), false),
        (None, seccomp("runtime/default"), false),
        (None, seccomp("localhost/a.json"), true),
        (
            Some((SECCOMP, "docker/default")),
            seccomp("runtime/default"),
            false,
        ),
        (
            Some((SECCOMP, "docker/default")),
            seccomp("unconfined"),
            true,
        ),
        (
            Some((SECCOMP, "localhost/a.json")),
            seccomp("localhost/a.json"),
            false,
        ),
        (
            Some((SECCOMP, "localhost/a.json")),
            seccomp("localhost/b.json"),
            true,
        ),
        (Some((SECCOMP, "*")), seccomp("unconfined"), false),
        (None, app_armor("unconfined"), false),
        (
            Some((APP_ARMOR, "runtime/default")),
            app_armor("runtime/default"),
            false,
        ),
        (
            Some((APP_ARMOR, "runtime/default")),
            app_armor("unconfined"),
            true,
        ),
        (
            Some((APP_ARMOR, "localhost/web")),
            app_armor("localhost/web"),
            false,
        ),
        (
            Some((APP_ARMOR, "localhost/web")),
            app_armor("localhost/other"),
            true,
        ),
        (Some((APP_ARMOR, "")), app_armor("runtime/default"), true),
    ] {
        let annotations = annotation.map(|(key, value)| format!("{key}: '{value}'"));
        let rules = load(&policy("p", annotations.as_deref().unwrap_or_default(), ""));
        let found = !violated(&rules, &event).is_empty();
        assert_eq!(
            found, expected,
            "{annotation:?} {:?}",
            event.container.posture
        );
    }
    let unknown = with_posture(|posture| {
        posture.seccomp = Fact::Unknown(Why::Unnamed);
        posture.app_armor = Fact::Unknown(Why::NotInKernel);
    });
    let annotations = format!("{SECCOMP}: runtime/default, {APP_ARMOR}: runtime/default");
    let rules = load(&policy("p", &annotations, ""));
    assert!(violated(&rules, &unknown).is_empty());
    // A privileged container has no filter, whatever it asks for.
    let privileged = container(|container| {
        container.privileged = Some(true);
        container.posture.seccomp = known("unconfined");
    });
    assert!(!violated(&rules, &privileged).contains("seccomp"));
}

#[test]
fn capabilities() {
    const NET_ADMIN: u64 = 1 << 12;
    const SYS_ADMIN: u64 = 1 << 21;
    const DEFAULT: u64 = 0xa804_25fb;
    let holding = |set: u64| {
        exec(|process| {
            process.capabilities = Capabilities {
                permitted: set,
                ..Capabilities::default()
            };
        })
    };
    for (spec, set, bad) in [
        ("allowedCapabilities: -", DEFAULT, false),
        ("allowedCapabilities: []", DEFAULT | NET_ADMIN, true),
        (
            "allowedCapabilities: [NET_ADMIN]",
            DEFAULT | NET_ADMIN,
            false,
        ),
        ("allowedCapabilities: [NET_ADMIN]", SYS_ADMIN, true),
        ("allowedCapabilities: ['*']", u64::MAX, false),
        (
            "allowedCapabilities: []\nrequiredDropCapabilities: [ALL]",
            1,
            true,
        ),
        (
            "allowedCapabilities: []\nrequiredDropCapabilities: [ALL]",
            0,
            false,
        ),
        (
            "allowedCapabilities: []\nrequiredDropCapabilities: [CHOWN]",
            1,
            true,
        ),
        (
            "allowedCapabilities: []\nrequiredDropCapabilities: [CHOWN]",
            DEFAULT & !1,
            false,
        ),
        (
            "allowedCapabilities: []\ndefaultAddCapabilities: [SYS_ADMIN]",
            SYS_ADMIN,
            false,
        ),
    ] {
        assert_eq!(violates(spec, &holding(set)), bad, "{spec} {set:x}");
    }
    let strict = "allowedCapabilities: []";
    let nested = exec(|process| {
        process.capabilities.effective = SYS_ADMIN;
        process.nested_user_namespace = true;
    });
    assert!(!violates(strict, &nested));
    let mount = |result, nested| {
        let activity = Activity::Mount {
            call: "mount",
            result,
            source: "/dev/sda".to_owned(),
            target: "/mnt".to_owned(),
            fs_type: "ext4".to_owned(),
        };
        call(activity, |process| process.nested_user_namespace = nested)
    };
    assert!(violates(strict, &mount(0, false)));
    assert!(!violates(strict, &mount(-1, false)));
    assert!(!violates(strict, &mount(0, true)));
    assert!(!violates(
        "allowedCapabilities: [SYS_ADMIN]",
        &mount(0, false)
    ));
}

#[test]
fn privilege_escalation() {
    let gained = |no_new_privs| {
        exec(|process| {
            process.gained_privileges = true;
            process.no_new_privs = no_new_privs;
        })
    };
    let forbidden = "allowPrivilegeEscalation: false";
    assert!(violates(forbidden, &gained(Some(false))));
    assert!(
        violates(forbidden, &gained(None)),
        "a gain shows that nothing hindered it"
    );
    assert!(!violates(forbidden, &gained(Some(true))));
    assert!(!violates(
        forbidden,
        &exec(|process| process.no_new_privs = Some(false))
    ));
    assert!(!violates(
        "allowPrivilegeEscalation: true",
        &gained(Some(false))
    ));
    assert!(!violates("", &gained(Some(false))), "absent means true");
}

#[test]
fn scope_of_images_and_namespaces() {
    let of = |image: &str, namespace: &str| {
        container(|container| {
            container.privileged = Some(true);
            container.image = Some(image.to_owned());
            container.pod = Some(Pod {
                namespace: Some(namespace.to_owned()),
                ..Pod::default()
            });
        })
    };
    for (images, image, inside) in [
        ("[nginx]", "nginx", true),
        ("[nginx]", "docker.io/library/nginx:1.25", true),
        ("[nginx]", "localhost:5000/nginx", true),
        ("[nginx]", "docker.io/library/nginx@sha256:00", true),
        ("[nginx]", "docker.io/library/mynginx:1.25", false),
        ("[nginx]", "docker.io/nginx/other", false),
        ("[library/nginx]", "docker.io/library/nginx", true),
        ("[library/nginx]", "docker.io/team/nginx", false),
        ("['nginx:1.25']", "docker.io/library/nginx:1.25", true),
        ("['nginx:1.25']", "docker.io/library/nginx:1.26", false),
        ("['localhost:5000/nginx']", "localhost:5000/nginx:1", true),
        ("nginx, redis", "redis:7", true),
    ] {
        let annotations = format!("falco-rules-psp-images: \"{images}\"");
        let rules = load(&policy("p", &annotations, "privileged: false"));
        let found = !violated(&rules, &of(image, "shop")).is_empty();
        assert_eq!(found, inside, "{images} {image}");
    }
    let annotations = "falco-rules-psp-namespaces: \"[shop, default]\"";
    let rules = load(&policy("p", annotations, "privileged: false"));
    assert!(!violated(&rules, &of("x", "shop")).is_empty());
    assert!(violated(&rules, &of("x", "kube-system")).is_empty());
}

#[test]
fn any_name_of_a_policy_gives_the_same_verdicts() {
    let bad = container(|container| container.privileged = Some(true));
    let root = exec(|process| process.users = ids(0));
    for name in [
        "eks.privileged",
        "10-restricted",
        "a-b.c-d",
        "\"with spaces and: signs\"",
        "\"100% 'quoted' \\\"twice\\\"\"",
        // Words of conditions: names of lists are replaced wherever they stand.
        "container",
        "and",
        "exists",
        "evt.type",
    ] {
        let text = policy(
            name,
            "",
            "privileged: false\nvolumes: []\nrunAsUser: {rule: MustRunAs, ranges: [{min: 1, max: 9}]}",
        );
        let rules = load(&text);
        assert_eq!(violated(&rules, &bad), ["privileged"].into(), "{name}");
        assert_eq!(violated(&rules, &root), ["runAsUser"].into(), "{name}");
        for rule in rules.rules() {
            assert!(
                rule.output.render(&bad.clone().into()).starts_with("PSP "),
                "{name}"
            );
        }
    }
}

#[test]
fn policies_whose_names_differ_in_signs_only_do_not_meddle() {
    let range =
        |min| format!("runAsUser: {{rule: MustRunAs, ranges: [{{min: {min}, max: {min}}}]}}");
    let render = |name: &str, min| {
        let text = policy(name, "", &range(min));
        let (policy, _) = psp::parse(&Arc::from("p"), &text).unwrap();
        convert::rules_text(&policy).unwrap().text
    };
    let texts = [render("a.b", 1), render("a-b", 2), render("a_b", 3)];
    let files = ["1", "2", "3"].map(Arc::from);
    let (rules, _) = rules::load_files(files.iter().zip(texts.iter().map(String::as_str))).unwrap();
    let names = |id| -> Vec<String> {
        let event = exec(|process| process.users = ids(id));
        let event = event.into();
        let matching = rules.matching(&event);
        matching.map(|(_, rule)| rule.name.clone()).collect()
    };
    let of_users = rules.rules().iter().filter(|rule| {
        rule.source == Source::Syscall && rule.control() == Some(Control::RunAsUser)
    });
    assert_eq!(of_users.count(), 3);
    for (id, allowed) in [(1, "a.b"), (2, "a-b"), (3, "a_b")] {
        let names = names(id);
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(
            !names.iter().any(|name| name.contains(allowed)),
            "{names:?}"
        );
    }
}

#[test]
fn what_a_workload_says_cannot_forge_a_line() {
    let rules = rules("runAsUser: {rule: MustRunAsNonRoot}");
    let forging = "x\n12:00:00.000000000: Critical all is lost\u{1b}[2J\r\u{9b}\u{202e}";
    let event = exec(|process| {
        process.users = ids(0);
        process.name = forging.to_owned();
        process.arguments = Some(CommandLine::from_iter([forging]));
        process.executable = Some(forging.to_owned());
    });
    let event = event.into();
    let (_, rule) = rules.matching(&event).next().unwrap();
    let line = rule.output.render(&event);
    assert!(line.contains("all is lost"));
    assert!(
        !line.contains(|c: char| c.is_control() || c == '\u{202e}'),
        "{line:?}"
    );
}

proptest! {
    #[test]
    fn ranges_are_what_they_say(
        ranges in prop::collection::vec((0..50_u32, 0..50_u32), 1..4),
        id in 0..60_u32,
    ) {
        let ranges: Vec<(u32, u32)> =
            ranges.into_iter().map(|(a, b)| (a.min(b), a.max(b))).collect();
        let texts: Vec<String> =
            ranges.iter().map(|(min, max)| format!("{{min: {min}, max: {max}}}")).collect();
        let spec = format!("runAsUser: {{rule: MustRunAs, ranges: [{}]}}", texts.join(", "));
        let inside = ranges.iter().any(|(min, max)| (min..=max).contains(&&id));
        let event = exec(|process| process.users = ids(id));
        prop_assert_eq!(violates(&spec, &event), !inside);
    }

    #[test]
    fn prefixes_go_by_whole_components(
        prefixes in prop::collection::vec(("(/[ab]{1,2}){1,3}", any::<bool>()), 1..4),
        path in "(/[ab]{1,2}){1,4}",
        read_only: bool,
    ) {
        let texts: Vec<String> = prefixes
            .iter()
            .map(|(prefix, ro)| format!("{{pathPrefix: {prefix}, readOnly: {ro}}}"))
            .collect();
        let spec = format!("allowedHostPaths: [{}]", texts.join(", "));
        let allowed = prefixes.iter().any(|(prefix, ro)| {
            let rest = path.strip_prefix(prefix.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) && (read_only || !ro)
        });
        let event = with_volumes(vec![volume("hostPath", &path, read_only)]);
        prop_assert_eq!(violates(&spec, &event), !allowed);
    }
}
