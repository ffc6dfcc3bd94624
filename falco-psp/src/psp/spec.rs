//! `spec`: the fields one by one, and what the API server says about them.

use falco_psp_common::capability::NAMES;

use super::annotations::Annotations;
use super::capability::{is_known, normal};
use super::model::{
    AllowedNames, Capabilities, HostPath, Policy, PortRange, ProcMountType, Sysctls, VolumeType,
    Volumes,
};
use super::names::{is_sysctl_pattern, subdomain_error, sysctls_overlap};
use super::reader::{Field, Object, Reader};
use super::strategies;
use crate::diagnostic::nearest;

/// The fields of `spec`.
pub(super) const FIELDS: [&str; 24] = [
    "allowPrivilegeEscalation",
    "allowedCSIDrivers",
    "allowedCapabilities",
    "allowedFlexVolumes",
    "allowedHostPaths",
    "allowedProcMountTypes",
    "allowedUnsafeSysctls",
    "defaultAddCapabilities",
    "defaultAllowPrivilegeEscalation",
    "forbiddenSysctls",
    "fsGroup",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostPorts",
    "privileged",
    "readOnlyRootFilesystem",
    "requiredDropCapabilities",
    "runAsGroup",
    "runAsUser",
    "runtimeClass",
    "seLinux",
    "supplementalGroups",
    "volumes",
];

/// Reads `spec`. `None` only with an error among the findings.
pub(super) fn read(
    reader: &mut Reader,
    spec: &Object<'_>,
    name: String,
    annotations: Annotations,
) -> Option<Policy> {
    let run_as_user = strategies::run_as_user(reader, spec);
    let run_as_group = strategies::run_as_group(reader, spec);
    let supplemental_groups = strategies::groups(reader, spec, "supplementalGroups");
    let fs_group = strategies::groups(reader, spec, "fsGroup");
    let se_linux = strategies::se_linux(reader, spec);
    let volumes = volumes(reader, spec);
    let (allow_privilege_escalation, default_allow_privilege_escalation) =
        privilege_escalation(reader, spec);
    let policy = Policy {
        name,
        scope: annotations.scope,
        privileged: flag(reader, spec, "privileged"),
        host_pid: flag(reader, spec, "hostPID"),
        host_ipc: flag(reader, spec, "hostIPC"),
        host_network: flag(reader, spec, "hostNetwork"),
        host_ports: host_ports(reader, spec),
        allowed_host_paths: host_paths(reader, spec),
        allowed_flex_volumes: drivers(reader, spec, "allowedFlexVolumes", "driver", |_| None),
        allowed_csi_drivers: drivers(reader, spec, "allowedCSIDrivers", "name", csi_driver_error),
        read_only_root_filesystem: flag(reader, spec, "readOnlyRootFilesystem"),
        allow_privilege_escalation,
        default_allow_privilege_escalation,
        capabilities: capabilities(reader, spec),
        sysctls: sysctls(reader, spec),
        allowed_proc_mount_types: proc_mount_types(reader, spec),
        runtime_class: strategies::runtime_class(reader, spec),
        seccomp: annotations.seccomp,
        app_armor: annotations.app_armor,
        volumes,
        fs_group: fs_group?,
        run_as_user: run_as_user?,
        run_as_group: run_as_group?,
        supplemental_groups: supplemental_groups?,
        se_linux: se_linux?,
    };
    warn_useless_lists(reader, spec, &policy.volumes);
    Some(policy)
}

fn flag(reader: &mut Reader, spec: &Object<'_>, name: &str) -> bool {
    reader.boolean(spec, name).unwrap_or(false)
}

fn privilege_escalation(reader: &mut Reader, spec: &Object<'_>) -> (bool, Option<bool>) {
    let allow = reader.boolean(spec, "allowPrivilegeEscalation");
    let allow = allow.unwrap_or(true);
    let default = reader.boolean(spec, "defaultAllowPrivilegeEscalation");
    if default == Some(true)
        && !allow
        && let Some(field) = spec.field("defaultAllowPrivilegeEscalation")
    {
        let message = format!(
            "{} cannot be true while allowPrivilegeEscalation is false",
            field.path
        );
        reader.error(field.position(), message);
    }
    (allow, default)
}

/// The API server takes any number here, and compares a pod's ports with it: a range outside of
/// what a port can be does nothing.
fn host_ports(reader: &mut Reader, spec: &Object<'_>) -> Vec<PortRange> {
    let mut ranges = Vec::new();
    for item in reader.list(spec, "hostPorts") {
        let Some((min, max)) = strategies::min_and_max(reader, &item) else {
            continue;
        };
        let (path, at) = (&item.path, item.position());
        if let Some(end) = [min, max]
            .into_iter()
            .find(|&end| i32::try_from(end).is_err())
        {
            reader.error(at, format!("{path}: {end} does not fit into 32 bits"));
            continue;
        }
        let ports = 0..=i64::from(u16::MAX);
        if min > max {
            let message = format!("{path}: min {min} is greater than max {max}: allows no port");
            reader.warning(at, message);
        } else if let Some(end) = [min, max].into_iter().find(|end| !ports.contains(end)) {
            reader.warning(
                at,
                format!("{path}: {end} is no port; ports are 0 to 65535"),
            );
        }
        let (min, max) = (min.max(0), max.min(u16::MAX.into()));
        if let (Ok(min), Ok(max)) = (u16::try_from(min), u16::try_from(max))
            && min <= max
        {
            ranges.push(PortRange { min, max });
        }
    }
    ranges
}

fn volumes(reader: &mut Reader, spec: &Object<'_>) -> Volumes {
    let mut types = Vec::new();
    let mut any = false;
    for (item, name) in reader.strings(spec, "volumes") {
        match VolumeType::from_name(name) {
            _ if name == "*" => any = true,
            Some(volume_type) if types.contains(&volume_type) => {}
            Some(volume_type) => types.push(volume_type),
            None => {
                let message = format!("{}: unknown volume type \"{name}\"", item.path);
                let known = VolumeType::ALL.iter().map(|known| known.name());
                reader.unknown(item.position(), message, name, known);
            }
        }
    }
    if any {
        Volumes::Any
    } else {
        Volumes::Only(types)
    }
}

fn host_paths(reader: &mut Reader, spec: &Object<'_>) -> Vec<HostPath> {
    let mut paths = Vec::new();
    for item in reader.list(spec, "allowedHostPaths") {
        let Some(object) = reader.object(&item, &["pathPrefix", "readOnly"]) else {
            continue;
        };
        let read_only = flag(reader, &object, "readOnly");
        let field = object.field("pathPrefix");
        let at = field.as_ref().map_or(item.position(), Field::position);
        let prefix = match &field {
            Some(field) => match reader.string(field) {
                Some(prefix) => prefix,
                None => continue,
            },
            None => "",
        };
        let path = object.path("pathPrefix");
        if prefix.is_empty() {
            reader.error(at, format!("{path} is missing"));
        } else if prefix.split('/').any(|part| part == "..") {
            reader.error(at, format!("{path}: {prefix:?} must not contain '..'"));
        } else if !prefix.starts_with('/') {
            let message = format!("{path}: no path on a node begins with {prefix:?}");
            reader.warning(at, message);
            reader.help("write it with a / in front");
        } else if !is_plain_path(prefix) {
            let message = format!("{path}: admission takes {prefix:?} letter by letter");
            reader.warning(at, message);
            reader.help("write it without '//' and '/./'");
        }
        paths.push(HostPath {
            path_prefix: prefix.to_owned(),
            read_only,
        });
    }
    paths
}

fn is_plain_path(path: &str) -> bool {
    let inner = path.strip_suffix('/').unwrap_or(path);
    inner.is_empty()
        || inner
            .split('/')
            .skip(1)
            .all(|part| !matches!(part, "" | "."))
}

/// The one string in each entry of a list.
fn drivers(
    reader: &mut Reader,
    spec: &Object<'_>,
    list: &str,
    key: &str,
    refusal: fn(&str) -> Option<&'static str>,
) -> Vec<String> {
    let mut drivers = Vec::new();
    for item in reader.list(spec, list) {
        let Some(object) = reader.object(&item, &[key]) else {
            continue;
        };
        let (path, at) = (object.path(key), object.position);
        let name = match object.field(key) {
            Some(field) => match reader.string(&field) {
                Some(name) => name,
                None => continue,
            },
            None => "",
        };
        if name.is_empty() {
            reader.error(at, format!("{path} is missing"));
        } else if let Some(reason) = refusal(name) {
            reader.error(at, format!("{path}: {name:?} is no driver: {reason}"));
        }
        drivers.push(name.to_owned());
    }
    drivers
}

fn csi_driver_error(name: &str) -> Option<&'static str> {
    if name.len() > 63 {
        Some("it is longer than 63 characters")
    } else {
        subdomain_error(&name.to_lowercase())
    }
}

fn capabilities(reader: &mut Reader, spec: &Object<'_>) -> Capabilities {
    let allowed = reader.strings(spec, "allowedCapabilities");
    let default_add = reader.strings(spec, "defaultAddCapabilities");
    let required_drop = reader.strings(spec, "requiredDropCapabilities");
    let any = allowed.iter().any(|(_, name)| *name == "*");
    if any && let Some((first, _)) = required_drop.first() {
        let message = "spec.requiredDropCapabilities must be empty while allowedCapabilities has \
                       \"*\"";
        reader.error(first.position(), message);
    }
    for (item, name) in default_add.iter().chain(&allowed) {
        if required_drop.iter().any(|(_, dropped)| dropped == name) {
            let message = format!(
                "{}: \"{name}\" is in requiredDropCapabilities as well",
                item.path
            );
            reader.error(item.position(), message);
        }
    }
    let wildcard = |item: &Field<'_>, name: &str| {
        name == "*" && item.path.starts_with("spec.allowedCapabilities")
    };
    for (item, name) in allowed.iter().chain(&default_add).chain(&required_drop) {
        if !wildcard(item, name) {
            warn_capability(reader, item, name);
        }
    }
    let owned = |names: Vec<(Field<'_>, &str)>| -> Vec<String> {
        names.into_iter().map(|(_, name)| name.to_owned()).collect()
    };
    Capabilities {
        allowed: if any {
            AllowedNames::Any
        } else {
            AllowedNames::Only(owned(allowed))
        },
        default_add: owned(default_add),
        required_drop: owned(required_drop),
    }
}

/// Admission compares names letter by letter, and pods write `NET_ADMIN`.
fn warn_capability(reader: &mut Reader, item: &Field<'_>, name: &str) {
    if is_known(name) || name == "ALL" {
        return;
    }
    let normal = normal(name);
    let path = &item.path;
    if is_known(&normal) || normal == "ALL" {
        let message = format!("{path}: admission does not take \"{name}\" for {normal}");
        reader.warning(item.position(), message);
        reader.help(format!("write \"{normal}\""));
    } else {
        reader.warning(
            item.position(),
            format!("{path}: no capability is called \"{name}\""),
        );
        if let Some(meant) = nearest(name, NAMES) {
            reader.help(format!("did you mean \"{meant}\"?"));
        }
    }
}

fn sysctls(reader: &mut Reader, spec: &Object<'_>) -> Sysctls {
    let allowed = sysctl_list(reader, spec, "allowedUnsafeSysctls");
    let forbidden = sysctl_list(reader, spec, "forbiddenSysctls");
    for (item, one) in &allowed {
        for (_, other) in forbidden.iter().filter(|(_, f)| sysctls_overlap(one, f)) {
            let message = format!(
                "{}: \"{one}\" overlaps with \"{other}\" in forbiddenSysctls",
                item.path
            );
            reader.error(item.position(), message);
        }
    }
    let owned = |list: Vec<(Field<'_>, &str)>| -> Vec<String> {
        list.into_iter().map(|(_, name)| name.to_owned()).collect()
    };
    Sysctls {
        allowed_unsafe: owned(allowed),
        forbidden: owned(forbidden),
    }
}

fn sysctl_list<'a>(
    reader: &mut Reader,
    spec: &Object<'a>,
    name: &str,
) -> Vec<(Field<'a>, &'a str)> {
    let list = reader.strings(spec, name);
    for (item, pattern) in &list {
        if !is_sysctl_pattern(pattern) {
            let message = format!("{}: {pattern:?} is no name of a sysctl", item.path);
            reader.error(item.position(), message);
            if pattern.trim_end_matches('*').contains('*') {
                reader.help("a * can only stand at the end");
            }
        } else if *pattern == "*" && list.len() > 1 {
            let message = format!("{}: beside \"*\" there must be no other sysctls", item.path);
            reader.error(item.position(), message);
        }
    }
    list
}

fn proc_mount_types(reader: &mut Reader, spec: &Object<'_>) -> Vec<ProcMountType> {
    let mut types = Vec::new();
    for (item, name) in reader.strings(spec, "allowedProcMountTypes") {
        match ProcMountType::from_name(name) {
            Some(proc_mount) => types.push(proc_mount),
            None => {
                let message = format!("{}: unknown type \"{name}\"", item.path);
                let known = ProcMountType::ALL.iter().map(|known| known.name());
                reader.unknown(item.position(), message, name, known);
            }
        }
    }
    types
}

/// Lists that limit a volume type which the policy does not allow at all.
fn warn_useless_lists(reader: &mut Reader, spec: &Object<'_>, volumes: &Volumes) {
    for (list, volume_type) in [
        ("allowedHostPaths", VolumeType::HostPath),
        ("allowedFlexVolumes", VolumeType::FlexVolume),
        ("allowedCSIDrivers", VolumeType::Csi),
    ] {
        if let Some(field) = spec.field(list)
            && field
                .node
                .as_sequence()
                .is_some_and(|items| !items.is_empty())
            && !volumes.allows(volume_type)
        {
            let name = volume_type.name();
            let message = format!("{} allows nothing: volumes lacks \"{name}\"", field.path);
            reader.warning(field.position(), message);
        }
    }
}
