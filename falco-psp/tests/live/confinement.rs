//! What confines a container besides its namespaces: seccomp, sysctls, what is masked in `/proc`,
//! drivers and groups of volumes, and the ports of the host that it takes.

use std::{
    fs::{self, Permissions},
    net::{TcpListener, UdpSocket},
    ops::RangeInclusive,
    os::unix::fs::{PermissionsExt as _, chown},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{
    agent::{Agent, Alert, about_host, controls},
    bundle::Bundle,
    container::Container,
    needs,
    workload::{WORKLOAD, workload},
};

const POLICY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/live/confinement.yaml");
/// The ports that the policy allows.
const ALLOWED: RangeInclusive<u16> = 21_000..=21_999;
/// Others, which the kernel gives to nobody by itself.
const OTHERS: RangeInclusive<u16> = 22_000..=22_999;

/// A port that nobody has.
fn free_port(range: RangeInclusive<u16>) -> Result<String> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = range.end() - range.start();
    let mut tries =
        (0..count).map(|_| range.start() + NEXT.fetch_add(1, Ordering::Relaxed) % count);
    let is_free = |port: &u16| {
        let address = ("0.0.0.0", *port);
        TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
    };
    let port = tries.find(is_free).context("no free port")?;
    Ok(port.to_string())
}

/// A benign container with a filter that the policy allows.
fn benign() -> Result<Bundle> {
    Ok(Bundle::benign()?.seccomp(Some("runtime/default")))
}

/// A container that listens, in its own network or the host's.
fn listens(protocol: &str, port: &str, in_hosts: bool) -> Result<Bundle> {
    let bundle = benign()?.program(workload()?, WORKLOAD, 0o755)?;
    let bundle = bundle.args(&[WORKLOAD, "listen", protocol, port]);
    Ok(match in_hosts {
        true => bundle.host_namespace("network"),
        false => bundle,
    })
}

fn csi(data: &str) -> Result<Bundle> {
    benign()?.kubelet_volume("kubernetes.io~csi", &[("vol_data.json", data)])
}

/// A container with a volume that the kubelet has given to a group.
fn of_group(group: u32) -> Result<Bundle> {
    let bundle = benign()?.kubelet_volume("kubernetes.io~empty-dir", &[])?;
    let volume = bundle
        .kubelet_folder("kubernetes.io~empty-dir")
        .join("mount");
    chown(&volume, None, Some(group))?;
    fs::set_permissions(&volume, Permissions::from_mode(0o2775))?;
    Ok(bundle)
}

/// A kind of container, and the control that it must alert for, if any.
type Fixture = (&'static str, fn() -> Result<Bundle>, Option<&'static str>);

const FIXTURES: &[Fixture] = &[
    ("benign", benign, None),
    ("no seccomp", Bundle::benign, Some("seccomp")),
    (
        "an allowed profile of the node",
        || {
            let path = "localhost//var/lib/kubelet/seccomp/team/good.json";
            Ok(Bundle::benign()?.seccomp(Some(path)))
        },
        None,
    ),
    (
        "another profile of the node",
        || Ok(Bundle::benign()?.seccomp(Some("localhost/other.json"))),
        Some("seccomp"),
    ),
    (
        "a filter of which nobody tells the name",
        || Ok(Bundle::benign()?.seccomp(None)),
        None,
    ),
    (
        "unmasked /proc",
        || Ok(benign()?.unmasked_proc()),
        Some("allowedProcMountTypes"),
    ),
    (
        "privileged, which has no filter and /proc unmasked",
        || Bundle::benign()?.user(0, 1000, &[]).privileged(),
        None,
    ),
    (
        "a safe sysctl and an allowed one",
        || {
            let bundle = benign()?.sysctl("net.ipv4.ping_group_range", "0 1");
            Ok(bundle.sysctl("net.core.somaxconn", "1024"))
        },
        None,
    ),
    (
        "an unsafe sysctl",
        || Ok(benign()?.sysctl("net.ipv4.tcp_keepalive_time", "600")),
        Some("sysctls"),
    ),
    (
        "a safe sysctl that is forbidden",
        || Ok(benign()?.sysctl("net.ipv4.tcp_syncookies", "1")),
        Some("sysctls"),
    ),
    (
        "a listed CSI driver",
        || csi(r#"{"driverName": "csi.acme.io", "volumeLifecycleMode": "Ephemeral"}"#),
        None,
    ),
    (
        "another CSI driver",
        || csi(r#"{"driverName": "csi.other.io", "volumeLifecycleMode": "Ephemeral"}"#),
        Some("allowedCSIDrivers"),
    ),
    (
        "another CSI driver behind a claim",
        || csi(r#"{"driverName": "csi.other.io", "volumeLifecycleMode": "Persistent"}"#),
        None,
    ),
    (
        "a listed flexVolume driver",
        || benign()?.kubelet_volume("acme~lvm", &[]),
        None,
    ),
    (
        "another flexVolume driver",
        || benign()?.kubelet_volume("other~lvm", &[]),
        Some("allowedFlexVolumes"),
    ),
    ("a volume of an allowed fsGroup", || of_group(2000), None),
    (
        "a volume of another fsGroup",
        || of_group(3000),
        Some("fsGroup"),
    ),
    (
        "another primary group",
        || Ok(benign()?.user(1000, 3000, &[3000])),
        Some("runAsGroup"),
    ),
    (
        "listens at an allowed port of the host",
        || listens("tcp", &free_port(ALLOWED)?, true),
        None,
    ),
    (
        "listens at another port of the host",
        || listens("tcp", &free_port(OTHERS)?, true),
        Some("hostPorts"),
    ),
    (
        "listens at another port of the host, UDP",
        || listens("udp", &free_port(OTHERS)?, true),
        Some("hostPorts"),
    ),
    (
        "asks by UDP in the host's network",
        || listens("udp", "0", true),
        None,
    ),
    (
        "listens in its own network",
        || listens("tcp", &free_port(OTHERS)?, false),
        None,
    ),
];

#[test]
fn what_confines_a_container_is_seen_with_its_neighbours_left_alone() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let start_all = || -> Result<Vec<Container>> {
        let bundles = FIXTURES.iter().map(|(_, bundle, _)| bundle());
        bundles.map(|bundle| Container::start(bundle?)).collect()
    };
    let before = start_all()?;
    let agent = Agent::start(POLICY, &["--cri", "none"])?;
    let after = start_all()?;
    let all = || {
        let both = [("before", &before), ("after", &after)];
        both.into_iter().flat_map(|(when, containers)| {
            let pairs = FIXTURES.iter().zip(containers);
            pairs.map(move |(fixture, container)| (when, fixture, container))
        })
    };
    let found = |alerts: &[Alert], container: &Container| -> Vec<String> {
        controls(alerts, container.id()).into_iter().collect()
    };
    agent.wait_for(|alerts| {
        all().all(|(_, (_, _, control), container)| {
            control.is_none_or(|control| found(alerts, container) == [control])
        })
    });
    // What should not come has time to come, and ports to be looked at.
    thread::sleep(Duration::from_secs(3));
    let ended = agent.stop()?;
    let mut wrong = Vec::new();
    for (when, (name, _, control), container) in all() {
        let found = found(&ended.alerts, container);
        let expected: Vec<&str> = control.iter().copied().collect();
        if found != expected {
            wrong.push(format!(
                "{name}, started {when}: {expected:?}, found {found:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), ended.messages);
    let host = about_host(&ended.alerts);
    assert!(host.is_empty(), "alerts about the host: {host:?}");
    // What nobody tells is told as unknown.
    let unnamed = "(nobody tells the name of the profile in force); not judged by it";
    let is_told = |line: &str| line.starts_with("unknown: seccomp of ") && line.ends_with(unnamed);
    assert!(ended.messages.lines().any(is_told), "{}", ended.messages);
    Ok(())
}

#[test]
fn an_alert_about_a_port_names_who_listens() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let bundle = benign()?.program(workload()?, WORKLOAD, 0o755)?;
    let bundle = bundle.host_namespace("network");
    let container = Container::start(bundle)?;
    let agent = Agent::start(POLICY, &["--cri", "none"])?;
    let port = free_port(OTHERS)?;
    // Long after the container was found.
    let background = format!("{WORKLOAD} listen tcp {port} >/dev/null 2>&1 &");
    let output = container.exec(&["/bin/sh", "-c", &background])?;
    assert!(output.status.success(), "{output:?}");
    let is_port =
        |alert: &&Alert| alert.is_about(container.id()) && alert.control() == Some("hostPorts");
    agent.wait_for(|alerts| alerts.iter().any(|alert| is_port(&alert)));
    let ended = agent.stop()?;
    let Some(alert) = ended.alerts.iter().find(is_port) else {
        panic!("no alert; {}", ended.messages);
    };
    let command = format!("{WORKLOAD} listen tcp {port}");
    assert_eq!(alert.field("proc.cmdline"), Some(&*command), "{alert:?}");
    let told = format!("the host ports TCP 0.0.0.0:{port} and the policy allows 21000:21999");
    assert!(alert.output().contains(&told), "{alert:?}");
    Ok(())
}

/// A policy that asks for an AppArmor profile and an SELinux type.
fn labelled(app_armor: &str) -> Result<tempfile::NamedTempFile> {
    let text = fs::read_to_string(POLICY)?;
    let named = "allowedProfileNames: runtime/default,localhost/team/good.json";
    let both = format!(
        "{named}\n    apparmor.security.beta.kubernetes.io/allowedProfileNames: {app_armor}"
    );
    let text = text.replace(named, &both).replace(
        "seLinux: { rule: RunAsAny }",
        "seLinux: { rule: MustRunAs, seLinuxOptions: { type: nobody_has_this_t } }",
    );
    let file = tempfile::Builder::new().suffix(".yaml").tempfile()?;
    fs::write(&file, text)?;
    Ok(file)
}

#[test]
fn labels_are_judged_where_they_are_in_force_and_unknown_elsewhere() -> Result<()> {
    if !needs::containers() {
        return Ok(());
    }
    let says = |path: &str, word: &str| fs::read_to_string(path).is_ok_and(|t| t.contains(word));
    let in_force = [
        (
            "apparmor",
            says("/sys/module/apparmor/parameters/enabled", "Y"),
        ),
        ("seLinux", says("/proc/filesystems", "selinuxfs")),
    ];
    let container = Container::start(benign()?)?;
    for (app_armor, is_allowed) in [("localhost/other", false), ("unconfined", true)] {
        let policy = labelled(app_armor)?;
        let path = policy.path().to_str().context("no UTF-8")?;
        let agent = Agent::start(path, &["--cri", "none", "--duration", "1s"])?;
        let ended = agent.wait()?;
        let found = controls(&ended.alerts, container.id());
        for (control, in_force) in in_force {
            let is_violated = in_force && !(control == "apparmor" && is_allowed);
            assert_eq!(
                found.contains(control),
                is_violated,
                "{control} {app_armor}"
            );
            let unknown = format!("unknown: {control} of ");
            let is_told = ended.messages.contains(&unknown);
            assert_eq!(is_told, !in_force, "{}", ended.messages);
        }
    }
    Ok(())
}
