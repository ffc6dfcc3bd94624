//! What the templates get to see of a policy for the rules about declared pods, and for those about
//! the state of containers that ask the same.

use serde::Serialize;

use super::ConvertError;
use super::context::{string, strings};
use super::text;
use crate::container::posture::selinux_level;
use crate::pod::{canonical_seccomp, selinux_label};
use crate::psp::{AllowedNames, Policy, ProcMountType, SeLinux};

/// Sysctls that every pod may set (pkg/kubelet/sysctl/safe_sysctls.go).
pub(crate) const SAFE_SYSCTLS: [&str; 4] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
];

/// For the rules about declared pods.
#[derive(Serialize)]
pub(super) struct Declared {
    host_ports: Vec<String>,
    flex_volumes: Names,
    csi_drivers: Names,
    se_linux: Option<Label>,
    default_escalation: Option<bool>,
    declared_capabilities: Capabilities,
    sysctls: Sysctls,
    proc_mounts: Vec<&'static str>,
    runtime_class: Option<RuntimeClass>,
    seccomp: Profiles,
    apparmor: Profiles,
}

/// Names, as strings of conditions and for outputs.
#[derive(Serialize)]
struct Names {
    strings: Vec<String>,
    shown: String,
}

impl Names {
    fn new(field: &'static str, names: &[String]) -> Result<Self, ConvertError> {
        let shown: Vec<String> = names.iter().map(|name| text::harmless(name)).collect();
        Ok(Self {
            strings: strings(field, names)?,
            shown: shown.join(", "),
        })
    }
}

/// An SELinux label.
#[derive(Serialize)]
struct Label {
    string: String,
    /// The condition for a container that has another one; empty if any will do.
    observed: String,
    shown: String,
}

#[derive(Serialize)]
struct Capabilities {
    allowed: Names,
    drop: Names,
    add: Names,
}

#[derive(Serialize)]
struct Sysctls {
    condition: String,
    /// The same for a container.
    observed: String,
    shown: String,
}

#[derive(Serialize)]
struct RuntimeClass {
    allowed: Option<Names>,
    default: Option<String>,
}

/// seccomp or AppArmor profiles.
#[derive(Serialize)]
struct Profiles {
    /// `None`: any.
    allowed: Option<Names>,
    /// What a container may be seen to have.
    observed: Names,
    /// Whether no profile may be named.
    none_allowed: bool,
    /// Whether what does not name one is denied, after the default is filled in.
    unset_denied: bool,
    default: Option<String>,
}

impl Declared {
    pub(super) fn new(policy: &Policy) -> Result<Self, ConvertError> {
        let ports = policy.host_ports.iter();
        let capabilities = &policy.capabilities;
        let mut allowed = capabilities.default_add.clone();
        if let AllowedNames::Only(names) = &capabilities.allowed {
            allowed.extend(names.iter().cloned());
        }
        let proc_mounts = &policy.allowed_proc_mount_types;
        let default_escalation = policy
            .default_allow_privilege_escalation
            .or((!policy.allow_privilege_escalation).then_some(false));
        Ok(Self {
            host_ports: ports
                .map(|range| format!("\"{}:{}\"", range.min, range.max))
                .collect(),
            flex_volumes: Names::new("allowedFlexVolumes", &policy.allowed_flex_volumes)?,
            csi_drivers: Names::new("allowedCSIDrivers", &policy.allowed_csi_drivers)?,
            se_linux: se_linux(policy)?,
            default_escalation,
            declared_capabilities: Capabilities {
                allowed: Names::new("allowedCapabilities", &allowed)?,
                drop: Names::new("requiredDropCapabilities", &capabilities.required_drop)?,
                add: Names::new("defaultAddCapabilities", &capabilities.default_add)?,
            },
            sysctls: sysctls(policy)?,
            proc_mounts: if proc_mounts.is_empty() {
                vec![ProcMountType::Default.name()]
            } else {
                proc_mounts
                    .iter()
                    .map(|proc_mount| proc_mount.name())
                    .collect()
            },
            runtime_class: runtime_class(policy)?,
            seccomp: seccomp(policy)?,
            apparmor: app_armor(policy)?,
        })
    }
}

impl Declared {
    /// Whether the policy names a part of an SELinux label.
    pub(super) fn has_label(&self) -> bool {
        let label = self.se_linux.as_ref();
        label.is_some_and(|label| !label.observed.is_empty())
    }
}

fn se_linux(policy: &Policy) -> Result<Option<Label>, ConvertError> {
    let SeLinux::MustRunAs(Some(options)) = &policy.se_linux else {
        return Ok(None);
    };
    let parts = [&options.user, &options.role, &options.type_, &options.level];
    let [user, role, type_, level] = parts;
    let mut observed = Vec::new();
    for (part, value) in [
        ("user", user),
        ("role", role),
        ("type", type_),
        ("level", &selinux_level(level)),
    ] {
        if !value.is_empty() {
            let value = string("seLinux", value)?;
            let field = format!("container.selinux.{part}");
            observed.push(format!("({field} exists and not {field} = {value})"));
        }
    }
    Ok(Some(Label {
        string: string("seLinux", &selinux_label(user, role, type_, level))?,
        observed: match observed.as_slice() {
            [one] => one.clone(),
            [] => String::new(),
            several => format!("({})", several.join(" or ")),
        },
        shown: text::harmless(&parts.map(String::as_str).join("|")),
    }))
}

fn runtime_class(policy: &Policy) -> Result<Option<RuntimeClass>, ConvertError> {
    let Some(class) = &policy.runtime_class else {
        return Ok(None);
    };
    Ok(Some(RuntimeClass {
        allowed: match &class.allowed {
            AllowedNames::Any => None,
            AllowedNames::Only(names) => Some(Names::new("runtimeClass", names)?),
        },
        default: class.default.as_deref().map(text::harmless),
    }))
}

fn seccomp(policy: &Policy) -> Result<Profiles, ConvertError> {
    let default = policy
        .seccomp
        .default
        .as_deref()
        .filter(|name| !name.is_empty());
    let mut unset_denied = false;
    let mut named = match &policy.seccomp.allowed {
        AllowedNames::Any => Vec::new(),
        AllowedNames::Only(names) => names.iter().map(|name| canonical_seccomp(name)).collect(),
    };
    // An old name and a new one may be one.
    named.sort();
    named.dedup();
    let none_allowed = named.is_empty();
    let seen = match none_allowed {
        true => ["unconfined", "runtime/default"]
            .map(str::to_owned)
            .to_vec(),
        false => named,
    };
    let allowed = match &policy.seccomp.allowed {
        AllowedNames::Any => None,
        AllowedNames::Only(names) => {
            let mut names: Vec<String> = names.iter().map(|name| canonical_seccomp(name)).collect();
            if names.is_empty() {
                // No profile at all, and that is written as "".
                names.push(String::new());
            }
            unset_denied = !names.contains(&canonical_seccomp(default.unwrap_or_default()));
            Some(Names::new("seccomp", &names)?)
        }
    };
    Ok(Profiles {
        allowed,
        observed: Names::new("seccomp", &seen)?,
        none_allowed,
        unset_denied,
        default: default.map(text::harmless),
    })
}

fn app_armor(policy: &Policy) -> Result<Profiles, ConvertError> {
    let default = policy
        .app_armor
        .default
        .as_deref()
        .filter(|name| !name.is_empty());
    let (allowed, unset_denied) = match &policy.app_armor.allowed {
        None => (None, false),
        Some(names) => {
            let denied = default.is_none_or(|default| !names.iter().any(|name| name == default));
            (Some(Names::new("apparmor", names)?), denied)
        }
    };
    let named = policy.app_armor.allowed.iter().flatten();
    let seen: Vec<String> = named.filter(|name| !name.is_empty()).cloned().collect();
    Ok(Profiles {
        allowed,
        observed: Names::new("apparmor", &seen)?,
        none_allowed: seen.is_empty(),
        unset_denied,
        default: default.map(text::harmless),
    })
}

fn sysctls(policy: &Policy) -> Result<Sysctls, ConvertError> {
    let allowed = &policy.sysctls.allowed_unsafe;
    let mut shown: Vec<String> = allowed.iter().map(|name| text::harmless(name)).collect();
    shown.insert(0, "the safe ones".to_owned());
    if !policy.sysctls.forbidden.is_empty() {
        let forbidden = text::harmless(&policy.sysctls.forbidden.join(", "));
        shown.push(format!("but not {forbidden}"));
    }
    Ok(Sysctls {
        condition: sysctls_beyond(policy, "ka.pod.sysctls")?,
        observed: sysctls_beyond(policy, "container.sysctls")?,
        shown: shown.join(", "),
    })
}

/// The condition for sysctls in the fields of `names_in` that the policy does not allow.
fn sysctls_beyond(policy: &Policy, names_in: &str) -> Result<String, ConvertError> {
    let field = "sysctls";
    let mut parts = Vec::new();
    let (patterns, names): (Vec<_>, Vec<_>) = policy
        .sysctls
        .forbidden
        .iter()
        .partition(|name| name.ends_with('*'));
    if !names.is_empty() {
        let names: Vec<String> = names.into_iter().cloned().collect();
        let names = strings(field, &names)?.join(", ");
        parts.push(format!("{names_in} intersects ({names})"));
    }
    for pattern in patterns {
        let prefix = pattern.trim_end_matches('*');
        parts.push(if prefix.is_empty() {
            format!("{names_in} exists")
        } else {
            format!(
                "{names_in}.prefixes intersects ({})",
                string(field, prefix)?
            )
        });
    }
    let allowed = &policy.sysctls.allowed_unsafe;
    if !allowed.iter().any(|name| name == "*") {
        let all = SAFE_SYSCTLS
            .into_iter()
            .chain(allowed.iter().map(String::as_str));
        let all: Vec<String> = all
            .map(|name| string(field, &sysctl_pattern(name)))
            .collect::<Result<_, _>>()?;
        let all = all.join(", ");
        parts.push(format!(
            "({names_in}.parts exists and not {names_in}.parts pmatch ({all}))"
        ));
    }
    Ok(format!("({})", parts.join(" or ")))
}

/// A name, or a prefix that ends in `*`, as `pmatch` compares it with `ka.pod.sysctls.parts`.
fn sysctl_pattern(name: &str) -> String {
    let path = |name: &str| format!("/{}", name.replace('.', "/"));
    match name.strip_suffix('*') {
        None => format!("{}/=", path(name)),
        // What ends a name is no further part of it.
        Some(prefix) if prefix.ends_with('.') => format!("{}[!=]*", path(prefix)),
        Some(prefix) => format!("{}*", path(prefix)),
    }
}
