//! `container`, too: what confines the container besides its namespaces.

use super::{Field, Value};
use crate::container::Volume;
use crate::container::posture::{Posture, SeLinuxLabel};
use crate::event::SyscallEvent;

/// The fields.
pub(super) static FIELDS: [Field; 15] = [
    Field::int(
        "container.host_ports",
        "the ports of the host at which a container in the host's network listens, or that lead to \
         its pod, each once",
        |event, _, give| {
            let ports = &posture(event).host_ports.found;
            for (i, port) in ports.iter().enumerate() {
                if ports[..i].iter().all(|before| before.port != port.port) {
                    give(u32::from(port.port).into());
                }
            }
        },
    )
    .list()
    .ours(),
    Field::text(
        "container.host_ports.of",
        "the same with protocol and address, or with the port of the pod: TCP 0.0.0.0:80, \
         TCP 8080 (mapped to 80)",
        |event, _, give| {
            let ports = posture(event).host_ports.found.iter();
            ports.for_each(|port| give(port.to_string().into()));
        },
    )
    .list()
    .ours(),
    Field::text(
        "container.volumes.csi_driver",
        "the drivers of the mounted CSI volumes that the pod itself names, not a claim",
        |event, _, give| drivers(event, "csi", give),
    )
    .list()
    .ours(),
    Field::text(
        "container.volumes.flex_driver",
        "the drivers of the mounted flexVolumes: acme/lvm",
        |event, _, give| drivers(event, "flexVolume", give),
    )
    .list()
    .ours(),
    Field::text(
        "container.selinux.user",
        "the user in the container's SELinux label",
        |event, _, give| label(event, |label| &label.user, give),
    )
    .ours(),
    Field::text(
        "container.selinux.role",
        "the role in the container's SELinux label",
        |event, _, give| label(event, |label| &label.role, give),
    )
    .ours(),
    Field::text(
        "container.selinux.type",
        "the type in the container's SELinux label",
        |event, _, give| label(event, |label| &label.type_, give),
    )
    .ours(),
    Field::text(
        "container.selinux.level",
        "the level in the container's SELinux label, each category by itself: s0:c1,c2,c3",
        |event, _, give| label(event, |label| &label.level, give),
    )
    .ours(),
    Field::text(
        "container.sysctls",
        "the sysctls that were ordered for the container and its pod, without those that runtimes \
         set for every pod",
        |event, _, give| {
            let names = posture(event).sysctls.found.iter();
            names.for_each(|name| give(name.as_str().into()));
        },
    )
    .list()
    .ours(),
    Field::text(
        "container.sysctls.parts",
        "the sysctls as paths that end in \"=\", so that pmatch compares patterns",
        |event, _, give| {
            let names = posture(event).sysctls.found.iter();
            names.for_each(|name| give(sysctl_parts(name).into()));
        },
    )
    .list()
    .ours(),
    Field::text(
        "container.sysctls.prefixes",
        "every beginning of the sysctls' names",
        |event, _, give| {
            let names = posture(event).sysctls.found.iter();
            names.for_each(|name| beginnings(name, give));
        },
    )
    .list()
    .ours(),
    Field::text(
        "container.proc_mount",
        "what is masked in the container's /proc: Default, or Unmasked where nothing is, as in \
         every privileged container",
        |event, _, give| {
            if let Some(proc_mount) = posture(event).proc_mount.known() {
                give(proc_mount.name().into());
            }
        },
    )
    .ours(),
    Field::text(
        "container.seccomp",
        "the container's seccomp profile in the words of a policy: unconfined, runtime/default or \
         localhost/ with a name; none where a filter is in force that nobody names",
        |event, _, give| {
            if let Some(profile) = posture(event).seccomp.known() {
                give(profile.as_str().into());
            }
        },
    )
    .ours(),
    Field::text(
        "container.apparmor",
        "the container's AppArmor profile in the words of a policy: unconfined, runtime/default or \
         localhost/ with a name",
        |event, _, give| {
            if let Some(profile) = posture(event).app_armor.known() {
                give(profile.as_str().into());
            }
        },
    )
    .ours(),
    Field::text(
        "container.posture.missing",
        "what is not known of all this, by control and with the reason: seccomp: nobody tells the \
         name of the profile in force",
        |event, _, give| {
            for (control, why) in event.container.unknown_posture() {
                give(format!("{control}: {}", why.describe()).into());
            }
        },
    )
    .list()
    .ours(),
];

fn posture(event: &SyscallEvent) -> &Posture {
    &event.container.posture
}

fn label<'e>(
    event: &'e SyscallEvent,
    part: impl Fn(&SeLinuxLabel) -> &String,
    give: &mut dyn FnMut(Value<'e>),
) {
    if let Some(label) = posture(event).se_linux.known() {
        give(part(label).as_str().into());
    }
}

/// Gives the drivers of the volumes of this type, each once.
fn drivers<'e>(event: &'e SyscallEvent, volume_type: &str, give: &mut dyn FnMut(Value<'e>)) {
    let volumes = event.container.volumes.iter().flatten();
    let of_type = volumes.filter(|volume: &&Volume| volume.volume_type == volume_type);
    let mut given: Vec<&str> = Vec::new();
    for driver in of_type.filter_map(|volume| volume.driver.as_deref()) {
        if !given.contains(&driver) {
            given.push(driver);
            give(driver.into());
        }
    }
}

/// A sysctl's name as a path for `pmatch`.
pub(super) fn sysctl_parts(name: &str) -> String {
    format!("/{}/=", name.replace('.', "/"))
}

/// Gives every beginning of a name.
pub(super) fn beginnings<'e>(name: &'e str, give: &mut dyn FnMut(Value<'e>)) {
    let ends = name.char_indices().map(|(at, c)| at + c.len_utf8());
    ends.for_each(|end| give(name[..end].into()));
}
