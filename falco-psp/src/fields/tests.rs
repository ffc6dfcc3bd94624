use std::collections::BTreeSet;
use std::sync::Arc;

use super::image::Image;
use super::*;
use crate::container::posture::{
    Fact, Facts, HostPort, Posture, ProcMount, Protocol, SeLinuxLabel, Way, Why,
};
use crate::container::{BindMount, Container, Gap, Owner, Pod, Runtime, Volume};
use crate::event::{Activity, Capabilities, CommandLine, Process, SyscallEvent};

fn event(activity: Activity) -> SyscallEvent {
    SyscallEvent {
        number: 1,
        time_ns: 0,
        activity,
        process: Arc::new(Process::default()),
        container: Arc::new(Container::default()),
    }
}

fn mount(call: &'static str, result: i64) -> SyscallEvent {
    event(Activity::Mount {
        call,
        result,
        source: "tmpfs".to_owned(),
        target: "/mnt".to_owned(),
        fs_type: "tmpfs".to_owned(),
    })
}

/// The values of a field, as text.
fn values(name: &str, event: &SyscallEvent) -> Vec<String> {
    let mut values = Vec::new();
    let event = Event::from(event.clone());
    lookup(name, None).unwrap().extract(&event, |value| {
        values.push(match value {
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Text(text) => text.into_owned(),
        });
    });
    values
}

#[test]
fn names_are_unique_and_of_their_class() {
    let names: BTreeSet<_> = all().map(|field| field.name).collect();
    assert_eq!(names.len(), all().count());
    for (class, prefix) in CLASSES.iter().zip([
        "evt.",
        "proc.",
        "thread.",
        "user.",
        "group.",
        "container.",
        "container.",
        "container.",
        "k8s.",
    ]) {
        assert!(class.iter().all(|field| field.name.starts_with(prefix)));
    }
    assert!(all().all(|field| !field.help.is_empty() && !field.help.ends_with('.')));
}

/// A field gives values of its type only, and no more than one unless it is a list.
#[test]
fn values_are_of_the_declared_kind() {
    for event in [
        event(Activity::Exec),
        mount("mount", -1),
        event(Activity::Container),
    ] {
        for field in all() {
            let argument = match field.argument {
                Argument::None | Argument::Any => None,
                Argument::OneOf(known) => known.first().copied(),
                Argument::Pointer => Some("/kind"),
                Argument::Key => Some("x"),
                Argument::Index => Some("0"),
            };
            let mut count = 0;
            lookup(field.name, argument)
                .unwrap()
                .extract(&event.clone().into(), |value| {
                    count += 1;
                    let kind = match value {
                        Value::Bool(_) => Kind::Bool,
                        Value::Int(_) => Kind::Int,
                        Value::Text(_) => Kind::String,
                    };
                    assert_eq!(kind, field.kind, "{}", field.name);
                });
            assert!(field.list || count <= 1, "{}", field.name);
        }
    }
}

#[test]
fn arguments_may_be_written_with_a_dot() {
    let event = mount("mount", 0);
    assert_eq!(values("evt.arg.dir", &event), ["/mnt"]);
    assert!(lookup("evt.arg", Some("dir")).is_ok());
    assert_eq!(
        lookup("proc.nme", None).unwrap_err(),
        LookupError::Unknown(Some("proc.name"))
    );
    assert_eq!(
        lookup("what.ever", Some("x")).unwrap_err(),
        LookupError::Unknown(None)
    );
    assert!(matches!(
        lookup("ka.uri.param", None),
        Err(LookupError::Argument(_))
    ));
    assert!(matches!(
        lookup("proc.name.x", None),
        Err(LookupError::Unknown(_))
    ));
}

#[test]
fn results_have_names() {
    assert_eq!(values("evt.res", &mount("mount", 0)), ["SUCCESS"]);
    assert_eq!(values("evt.res", &mount("open_tree", 5)), ["SUCCESS"]);
    assert_eq!(values("evt.res", &mount("mount", -1)), ["EPERM"]);
    assert_eq!(values("evt.res", &mount("mount", -133)), ["EHWPOISON"]);
    assert_eq!(values("evt.res", &mount("mount", -41)), ["-41"]);
    assert_eq!(values("evt.res", &mount("mount", i64::MIN)).len(), 1);
    assert_eq!(values("evt.rawres", &mount("mount", -1)), ["-1"]);
    assert_eq!(values("evt.failed", &mount("mount", -1)), ["true"]);
    assert_eq!(values("evt.failed", &event(Activity::Exec)), ["false"]);
    let container = event(Activity::Container);
    for name in ["evt.res", "evt.rawres", "evt.failed"] {
        assert!(values(name, &container).is_empty());
    }
}

#[test]
fn only_a_mount_that_succeeded_has_used_a_capability() {
    assert_eq!(values("evt.caps", &mount("mount", 0)), ["SYS_ADMIN"]);
    assert_eq!(values("evt.caps", &mount("fsmount", 3)), ["SYS_ADMIN"]);
    assert!(values("evt.caps", &mount("mount", -1)).is_empty());
    assert!(values("evt.caps", &mount("open_tree", 3)).is_empty());
    assert!(values("evt.caps", &event(Activity::Exec)).is_empty());
}

#[test]
fn times_have_nine_digits() {
    let mut event = event(Activity::Exec);
    event.time_ns = 1_561_593_996_000_000_032;
    let [time] = values("evt.time", &event).try_into().unwrap();
    assert_eq!(time.len(), "HH:MM:SS.nnnnnnnnn".len());
    assert!(time.ends_with(":36.000000032"), "{time}");
    event.time_ns = u64::MAX;
    values("evt.time", &event);
    assert_eq!(values("evt.rawtime", &event), [i64::MAX.to_string()]);
}

#[test]
fn the_command_line_falls_back_to_the_name() {
    let mut event = event(Activity::Exec);
    let process = Arc::make_mut(&mut event.process);
    process.name = "sh".to_owned();
    assert_eq!(values("proc.cmdline", &event), ["sh"]);
    assert!(values("proc.args", &event).is_empty());
    assert!(values("proc.exe", &event).is_empty());
    Arc::make_mut(&mut event.process).arguments = Some(CommandLine::default());
    assert_eq!(values("proc.cmdline", &event), ["sh"]);
    assert_eq!(values("proc.args", &event), [""]);
    let arguments = CommandLine::from_iter(["/bin/sh", "-c", "id"]);
    Arc::make_mut(&mut event.process).arguments = Some(arguments);
    assert_eq!(values("proc.exe", &event), ["/bin/sh"]);
    assert_eq!(values("proc.args", &event), ["-c id"]);
    assert_eq!(values("proc.cmdline", &event), ["/bin/sh -c id"]);
}

#[test]
fn capabilities_are_named() {
    let mut event = event(Activity::Exec);
    Arc::make_mut(&mut event.process).capabilities = Capabilities {
        effective: 1,
        permitted: 1 << 21,
        ..Capabilities::default()
    };
    assert_eq!(values("thread.cap_effective", &event), ["CAP_CHOWN"]);
    assert_eq!(values("thread.cap_inheritable", &event), [""]);
    assert_eq!(values("thread.caps", &event), ["CHOWN", "SYS_ADMIN"]);
    assert!(values("thread.cap_bounding", &event).is_empty());
}

#[test]
fn image_references_come_apart() {
    let digest = format!("sha256:{}", "0f".repeat(32));
    for (reference, repository, tag, digest) in [
        ("nginx", Some("nginx"), None, None),
        ("nginx:1.25", Some("nginx"), Some("1.25"), None),
        (
            "docker.io/library/nginx",
            Some("docker.io/library/nginx"),
            None,
            None,
        ),
        ("localhost:5000/a", Some("localhost:5000/a"), None, None),
        ("r:5000/a:1", Some("r:5000/a"), Some("1"), None),
        (
            "r:5000/a:1@sha256:x",
            Some("r:5000/a"),
            Some("1"),
            Some("sha256:x"),
        ),
        ("a@sha256:x", Some("a"), None, Some("sha256:x")),
        (digest.as_str(), None, None, Some(digest.as_str())),
        (&digest[7..], None, None, None),
        ("", None, None, None),
        (":@", None, None, None),
        ("a:", Some("a"), None, None),
    ] {
        let expected = Image {
            reference,
            repository,
            tag,
            digest,
        };
        assert_eq!(Image::parse(reference), expected, "{reference}");
    }
}

#[test]
fn images_have_all_their_names() {
    let names = |reference: &str| {
        let mut names = Vec::new();
        Image::parse(reference).for_each_name(|name| names.push(name.into_owned()));
        names.sort();
        names
    };
    assert_eq!(
        names("docker.io/library/nginx:1.25@sha256:x"),
        [
            "docker.io/library/nginx",
            "docker.io/library/nginx:1.25",
            "docker.io/library/nginx@sha256:x",
            "library/nginx",
            "library/nginx:1.25",
            "library/nginx@sha256:x",
            "nginx",
            "nginx:1.25",
            "nginx@sha256:x",
        ]
    );
    assert_eq!(names("localhost:5000/app"), ["app", "localhost:5000/app"]);
    assert_eq!(
        names("r:1/a@sha256:x"),
        ["a", "a@sha256:x", "r:1/a", "r:1/a@sha256:x"]
    );
    assert_eq!(names("a:@"), ["a"]);
    assert_eq!(names("a:@b"), ["a", "a@b"]);
    assert!(names("").is_empty());
}

#[test]
fn times_in_every_form() {
    let mut event = event(Activity::Exec);
    event.time_ns = 1_561_594_016_540_876_032;
    assert_eq!(
        values("evt.time.iso8601", &event),
        ["2019-06-27T00:06:56.540876032+0000"]
    );
    let [datetime] = values("evt.datetime", &event).try_into().unwrap();
    let [date, time] = datetime.split(' ').collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(values("evt.time", &event), [time]);
    let seconds = time.strip_suffix(".540876032").unwrap();
    assert_eq!(values("evt.time.s", &event), [seconds]);
    assert_eq!(
        values("evt.datetime.s", &event),
        [format!("{date} {seconds}")]
    );
    assert_eq!(values("evt.source", &event), ["syscall"]);
}

#[test]
fn what_falco_has_and_no_source_gives_is_known() {
    for (name, argument) in [
        ("fd.name", None),
        ("proc.aname", Some("2")),
        ("evt.arg", Some("flags")),
        ("evt.arg", Some("0")),
    ] {
        assert!(lookup(name, argument).unwrap().field.is_unseen(), "{name}");
    }
    assert!(lookup("evt.arg.flags", None).unwrap().field.is_unseen());
    assert!(!lookup("evt.arg.dir", None).unwrap().field.is_unseen());
    // None of them is one that a source gives.
    for field in unseen::FIELDS {
        let known = all().any(|other| other.name == field.name && other.name != "evt.arg");
        assert!(!known, "{}", field.name);
    }
}

/// An event of a container of which much is known.
fn of_pod() -> SyscallEvent {
    let text = str::to_owned;
    let labels = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(key, value)| (text(key), text(value)));
        Some(pairs.collect())
    };
    let mount = |source: &str, destination: &str, read_only| BindMount {
        source: text(source),
        destination: text(destination),
        read_only,
        propagation: "private",
    };
    SyscallEvent {
        container: Arc::new(Container {
            pod: Some(Pod {
                ip: Some(text("10.0.0.7")),
                labels: labels(&[("app", "shop"), ("tier", "front")]),
                sandbox_id: Some("abcdef0123456789".repeat(4)),
                owner: Some(Owner {
                    kind: text("Deployment"),
                    name: text("shop"),
                }),
                ..Pod::default()
            }),
            runtime: Some(Runtime::Containerd),
            start_ns: Some(1_600_000_000_000_000_000),
            image_digest: Some(text("sha256:0123")),
            mounts: Some(vec![
                mount("/etc/ssl", "/ssl", true),
                mount("/var/log/app", "/logs", false),
            ]),
            labels: labels(&[("team", "shop")]),
            gaps: vec![Gap::NoBundle, Gap::RuntimeSilent],
            ..Container::default()
        }),
        ..event(Activity::Exec)
    }
}

#[test]
fn mounts_are_found_by_index_path_or_pattern() {
    let event = of_pod();
    let value = |name: &str, argument: &str| {
        let mut found = None;
        let reference = lookup(name, Some(argument)).unwrap();
        reference.extract(&event.clone().into(), |value| {
            found = match value {
                Value::Text(text) => Some(text.into_owned()),
                _ => None,
            };
        });
        found
    };
    assert_eq!(
        values("container.mounts", &event),
        ["/etc/ssl:/ssl::false:private /var/log/app:/logs::true:private"]
    );
    let second = Some("/var/log/app:/logs::true:private".to_owned());
    for argument in ["1", "/var/log/app", "/var/*"] {
        assert_eq!(value("container.mount", argument), second, "{argument}");
    }
    assert_eq!(value("container.mount", "2"), None);
    assert_eq!(value("container.mount", "/var"), None);
    assert_eq!(value("container.mount.source", "/ssl").unwrap(), "/etc/ssl");
    assert_eq!(value("container.mount.dest", "/etc/*").unwrap(), "/ssl");
    assert_eq!(value("container.mount.rdwr", "0").unwrap(), "false");
    assert_eq!(value("container.mount.mode", "0").unwrap(), "");
    assert_eq!(
        value("container.mount.propagation", "0").unwrap(),
        "private"
    );
}

#[test]
fn a_pod_is_told_in_full() {
    let event = of_pod();
    for (name, expected) in [
        ("container.type", "containerd"),
        ("container.start_ts", "1600000000000000000"),
        ("container.image.digest", "sha256:0123"),
        ("container.labels", "team:shop"),
        ("container.label.team", "shop"),
        ("k8s.pod.ip", "10.0.0.7"),
        ("k8s.pod.labels", "app:shop, tier:front"),
        ("k8s.pod.label.app", "shop"),
        ("k8s.pod.sandbox_id", "abcdef012345"),
        ("k8s.owner.kind", "Deployment"),
        ("k8s.owner.name", "shop"),
    ] {
        assert_eq!(values(name, &event), [expected], "{name}");
    }
    assert!(values("k8s.pod.label.other", &event).is_empty());
    assert_eq!(
        values("container.metadata.missing", &event),
        ["no bundle", "runtime does not answer"]
    );
    // The argument may have dots, with brackets and without.
    let key = "app.kubernetes.io/name";
    let dotted = lookup(&format!("k8s.pod.label.{key}"), None).unwrap();
    assert!(dotted.is_same(&lookup("k8s.pod.label", Some(key)).unwrap()));
}

#[test]
fn what_confines_a_container_is_told() {
    let port = |port, protocol, way| HostPort {
        port,
        protocol,
        way,
    };
    let volume = |volume_type: &str, driver: Option<&str>| Volume {
        volume_type: volume_type.to_owned(),
        host_path: "/v".to_owned(),
        mount_path: "/v".to_owned(),
        read_only: true,
        fs_group: None,
        driver: driver.map(str::to_owned),
    };
    let everywhere = Way::Listens("0.0.0.0".parse().unwrap());
    let event = SyscallEvent {
        container: Arc::new(Container {
            volumes: Some(vec![
                volume("csi", Some("csi.acme.io")),
                volume("csi", Some("csi.acme.io")),
                volume("csi", None),
                volume("persistentVolumeClaim", Some("csi.other.io")),
                volume("flexVolume", Some("acme/lvm")),
            ]),
            posture: Posture {
                seccomp: Fact::Known("localhost/a.json".to_owned()),
                app_armor: Fact::Unknown(Why::NotInKernel),
                se_linux: Fact::Known(SeLinuxLabel::parse("u:r:t:s0:c1.c2").unwrap()),
                proc_mount: Fact::Known(ProcMount::Unmasked),
                sysctls: Facts {
                    found: vec!["net.a".to_owned()],
                    missing: None,
                },
                host_ports: Facts {
                    found: vec![
                        port(80, Protocol::Tcp, Way::MappedTo(8080)),
                        port(80, Protocol::Tcp, everywhere),
                        port(53, Protocol::Udp, everywhere),
                    ],
                    missing: Some(Why::TooMany),
                },
                root_writes: None,
            },
            ..Container::default()
        }),
        ..event(Activity::Container)
    };
    for (name, expected) in [
        ("container.host_ports", &["80", "53"][..]),
        (
            "container.host_ports.of",
            &[
                "TCP 80 (mapped to 8080)",
                "TCP 0.0.0.0:80",
                "UDP 0.0.0.0:53",
            ],
        ),
        ("container.volumes.csi_driver", &["csi.acme.io"]),
        ("container.volumes.flex_driver", &["acme/lvm"]),
        ("container.selinux.user", &["u"]),
        ("container.selinux.role", &["r"]),
        ("container.selinux.type", &["t"]),
        ("container.selinux.level", &["s0:c1,c2"]),
        ("container.sysctls", &["net.a"]),
        ("container.sysctls.parts", &["/net/a/="]),
        (
            "container.sysctls.prefixes",
            &["n", "ne", "net", "net.", "net.a"],
        ),
        ("container.proc_mount", &["Unmasked"]),
        ("container.seccomp", &["localhost/a.json"]),
        ("container.apparmor", &[]),
        (
            "container.posture.missing",
            &[
                "hostPorts: too many open files",
                "apparmor: not in force in this kernel",
                "allowedCSIDrivers: no vol_data.json of the kubelet",
            ],
        ),
    ] {
        assert_eq!(values(name, &event), expected, "{name}");
    }
}
