//! Changes of a policy that would admit what a workload needs.

use serde_json::{Value, json};

use crate::control::Control;
use crate::convert::SAFE_SYSCTLS;
use crate::needs::Uses;
use crate::needs::clauses::is_below;
use crate::psp::{AllowedNames, IdRange, Policy, ProcMountType, RunAsUser, VolumeType, Volumes};
use crate::yaml::edit::{Edit, Step};

const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/allowedProfileNames";
const APPARMOR: &str = "apparmor.security.beta.kubernetes.io/allowedProfileNames";

/// The changes of `policy` by which it would admit `uses` in this control; none if it does already, or
/// if no change is known that does.
pub fn changes(policy: &Policy, control: Control, uses: &Uses) -> Vec<Edit> {
    let flag = |name: &str, value: bool| vec![set(&["spec", name], value.into())];
    match control {
        Control::Privileged => flag("privileged", true),
        Control::HostPid => flag("hostPID", true),
        Control::HostIpc => flag("hostIPC", true),
        Control::HostNetwork => flag("hostNetwork", true),
        Control::ReadOnlyRootFilesystem => flag("readOnlyRootFilesystem", false),
        Control::AllowPrivilegeEscalation => flag("allowPrivilegeEscalation", true),
        Control::SeLinux => vec![set(&["spec", "seLinux", "rule"], "RunAsAny".into())],
        Control::HostPorts => host_ports(policy, uses),
        Control::Volumes => volumes(policy, uses),
        Control::AllowedHostPaths => host_paths(policy, uses),
        Control::AllowedFlexVolumes => each(
            &["spec", "allowedFlexVolumes"],
            uses.flex_drivers.iter(),
            |name| !policy.allowed_flex_volumes.contains(name),
            |name| json!({ "driver": name }),
        ),
        Control::AllowedCsiDrivers => each(
            &["spec", "allowedCSIDrivers"],
            uses.csi_drivers.iter(),
            |name| !policy.allowed_csi_drivers.contains(name),
            |name| json!({ "name": name }),
        ),
        Control::RunAsUser => match &policy.run_as_user {
            RunAsUser::RunAsAny => Vec::new(),
            RunAsUser::MustRunAsNonRoot => {
                vec![set(&["spec", "runAsUser", "rule"], "RunAsAny".into())]
            }
            RunAsUser::MustRunAs(allowed) => ranges("runAsUser", allowed, uses.users.iter()),
        },
        Control::RunAsGroup => {
            let allowed = policy.run_as_group.ranges().unwrap_or_default();
            ranges("runAsGroup", allowed, uses.groups.iter())
        }
        Control::SupplementalGroups => {
            let allowed = policy.supplemental_groups.ranges().unwrap_or_default();
            // A container's groups are those of its volumes, too.
            let of_volumes = policy.fs_group.ranges().unwrap_or_default();
            let ids = uses.supplemental_groups.iter();
            let ids = ids.filter(|id| !is_in(of_volumes, **id));
            ranges("supplementalGroups", allowed, ids)
        }
        Control::FsGroup => {
            let allowed = policy.fs_group.ranges().unwrap_or_default();
            ranges("fsGroup", allowed, uses.fs_groups.iter())
        }
        Control::Capabilities => capabilities(policy, uses),
        Control::Sysctls => {
            let is_forbidden = |name: &str| {
                let mut forbidden = policy.sysctls.forbidden.iter();
                forbidden.any(|pattern| match pattern.strip_suffix('*') {
                    Some(beginning) => name.starts_with(beginning),
                    None => name == pattern,
                })
            };
            let is_unsafe = |name: &str| !SAFE_SYSCTLS.contains(&name);
            each(
                &["spec", "allowedUnsafeSysctls"],
                uses.sysctls.iter(),
                |name| is_unsafe(name) && !is_forbidden(name),
                |name| json!(name),
            )
        }
        Control::AllowedProcMountTypes => {
            let all = ProcMountType::ALL.iter();
            // Without any only the default one is allowed; with the other one it has to be named.
            let missing = all.filter(|kind| !policy.allowed_proc_mount_types.contains(kind));
            missing
                .map(|kind| add(&["spec", "allowedProcMountTypes"], kind.name().into()))
                .collect()
        }
        Control::RuntimeClass => each(
            &["spec", "runtimeClass", "allowedRuntimeClassNames"],
            uses.runtime_classes.iter(),
            |_| true,
            |name| json!(name),
        ),
        Control::Seccomp => {
            let known = match &policy.seccomp.allowed {
                AllowedNames::Any => return Vec::new(),
                AllowedNames::Only(names) => names.as_slice(),
            };
            profiles(SECCOMP, known, uses.seccomp.iter())
        }
        Control::AppArmor => {
            let known = policy.app_armor.allowed.as_deref().unwrap_or_default();
            profiles(APPARMOR, known, uses.app_armor.iter())
        }
    }
}

fn host_ports(policy: &Policy, uses: &Uses) -> Vec<Edit> {
    let is_allowed = |port: i64| {
        let mut ranges = policy.host_ports.iter();
        ranges.any(|range| (i64::from(range.min)..=i64::from(range.max)).contains(&port))
    };
    let missing = uses.host_ports.iter().filter(|port| !is_allowed(**port));
    missing
        .map(|port| add(&["spec", "hostPorts"], json!({"min": port, "max": port})))
        .collect()
}

fn volumes(policy: &Policy, uses: &Uses) -> Vec<Edit> {
    let Volumes::Only(allowed) = &policy.volumes else {
        return Vec::new();
    };
    each(
        &["spec", "volumes"],
        uses.volumes.iter(),
        |name| VolumeType::from_name(name).is_some_and(|kind| !allowed.contains(&kind)),
        |name| json!(name),
    )
}

fn host_paths(policy: &Policy, uses: &Uses) -> Vec<Edit> {
    let is_allowed = |path: &str, writable: bool| {
        let mut allowed = policy.allowed_host_paths.iter();
        allowed.any(|allowed| {
            is_below(path, &allowed.path_prefix) && (!writable || !allowed.read_only)
        })
    };
    let missing = uses.host_paths.iter();
    let missing = missing.filter(|(path, writable)| !is_allowed(path, **writable));
    missing
        .map(|(path, writable)| {
            let value = match writable {
                true => json!({"pathPrefix": path}),
                false => json!({"pathPrefix": path, "readOnly": true}),
            };
            add(&["spec", "allowedHostPaths"], value)
        })
        .collect()
}

fn capabilities(policy: &Policy, uses: &Uses) -> Vec<Edit> {
    let Some(attainable) = policy.capabilities.attainable() else {
        return Vec::new();
    };
    let dropped = &policy.capabilities.required_drop;
    each(
        &["spec", "allowedCapabilities"],
        uses.capabilities.iter(),
        |name| {
            let normal = name.trim_start_matches("CAP_");
            // The API server takes no policy that drops what it allows.
            !attainable.contains(&normal) && !dropped.contains(name)
        },
        |name| json!(name),
    )
}

/// The ranges that are missing: neighbours in one.
fn ranges<'i>(field: &str, allowed: &[IdRange], ids: impl Iterator<Item = &'i i64>) -> Vec<Edit> {
    let mut missing: Vec<(i64, i64)> = Vec::new();
    for id in ids.filter(|id| !is_in(allowed, **id)) {
        match missing.last_mut() {
            Some((_, last)) if *last + 1 == *id => *last = *id,
            _ => missing.push((*id, *id)),
        }
    }
    let missing = missing.into_iter();
    missing
        .map(|(min, max)| add(&["spec", field, "ranges"], json!({"min": min, "max": max})))
        .collect()
}

/// Whether an id is in one of the ranges.
pub(super) fn is_in(ranges: &[IdRange], id: i64) -> bool {
    let Ok(id) = u64::try_from(id) else {
        return false;
    };
    ranges
        .iter()
        .any(|range| range.min <= id && id <= range.max)
}

fn profiles<'n>(
    annotation: &str,
    known: &[String],
    names: impl Iterator<Item = &'n String>,
) -> Vec<Edit> {
    let mut all = known.to_vec();
    all.extend(names.filter(|name| !known.contains(name)).cloned());
    match all.len() == known.len() {
        true => Vec::new(),
        false => vec![set(
            &["metadata", "annotations", annotation],
            all.join(",").into(),
        )],
    }
}

fn each<'n>(
    path: &[&str],
    names: impl Iterator<Item = &'n String>,
    is_missing: impl Fn(&String) -> bool,
    item: impl Fn(&str) -> Value,
) -> Vec<Edit> {
    let missing = names.filter(|name| is_missing(name));
    missing.map(|name| add(path, item(name))).collect()
}

fn set(path: &[&str], value: Value) -> Edit {
    Edit::Set(path.iter().map(|key| Step::from(*key)).collect(), value)
}

fn add(path: &[&str], value: Value) -> Edit {
    Edit::Add(path.iter().map(|key| Step::from(*key)).collect(), value)
}
