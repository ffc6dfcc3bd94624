//! The clauses of a policy that allow something, and who uses them.

use super::Uses;
use crate::control::Control;
use crate::psp::{
    AllowedNames, GroupStrategy, IdRange, Policy, ProcMountType, RUNTIME_DEFAULT_CAPABILITIES,
    RunAsUser, Volumes,
};

/// Something that a policy allows.
pub struct Clause<'p> {
    /// The control that it belongs to.
    pub control: Control,
    /// As one would write it.
    pub text: String,
    used: Box<dyn Fn(&Uses) -> bool + 'p>,
}

impl Clause<'_> {
    /// Whether these uses need the clause: a policy without it would not allow them.
    pub fn is_used(&self, uses: &Uses) -> bool {
        (self.used)(uses)
    }
}

/// The clauses of a policy by which it allows more than the strictest one would.
pub fn clauses(policy: &Policy) -> Vec<Clause<'_>> {
    let mut clauses = Clauses(Vec::new());
    clauses.flags(policy);
    clauses.volumes(policy);
    clauses.ids(policy);
    clauses.names(policy);
    clauses.0
}

struct Clauses<'p>(Vec<Clause<'p>>);

impl<'p> Clauses<'p> {
    fn add(
        &mut self,
        control: Control,
        text: impl Into<String>,
        used: impl Fn(&Uses) -> bool + 'p,
    ) {
        self.0.push(Clause {
            control,
            text: text.into(),
            used: Box::new(used),
        });
    }

    fn flags(&mut self, policy: &'p Policy) {
        type Flag = fn(&Uses) -> bool;
        let flags: [(bool, Control, &str, Flag); 6] = [
            (
                policy.privileged,
                Control::Privileged,
                "privileged: true",
                |uses| uses.privileged,
            ),
            (policy.host_pid, Control::HostPid, "hostPID: true", |uses| {
                uses.host_pid
            }),
            (policy.host_ipc, Control::HostIpc, "hostIPC: true", |uses| {
                uses.host_ipc
            }),
            (
                policy.host_network,
                Control::HostNetwork,
                "hostNetwork: true",
                |uses| uses.host_network,
            ),
            (
                policy.allow_privilege_escalation,
                Control::AllowPrivilegeEscalation,
                "allowPrivilegeEscalation: true",
                |uses| uses.escalation,
            ),
            (
                !policy.read_only_root_filesystem,
                Control::ReadOnlyRootFilesystem,
                "readOnlyRootFilesystem: false",
                |uses| !uses.root_writes.is_empty(),
            ),
        ];
        for (is_there, control, text, used) in flags {
            if is_there {
                self.add(control, text, used);
            }
        }
        for range in &policy.host_ports {
            let ports = i64::from(range.min)..=i64::from(range.max);
            let text = format!("hostPorts: {{min: {}, max: {}}}", range.min, range.max);
            self.add(Control::HostPorts, text, move |uses| {
                uses.host_ports.iter().any(|port| ports.contains(port))
            });
        }
    }

    fn volumes(&mut self, policy: &'p Policy) {
        match &policy.volumes {
            Volumes::Any => self.add(Control::Volumes, "volumes: *", |uses| {
                !uses.volumes.is_empty()
            }),
            Volumes::Only(types) => {
                for volume_type in types {
                    let name = volume_type.name();
                    self.add(Control::Volumes, format!("volumes: {name}"), move |uses| {
                        uses.volumes.contains(name)
                    });
                }
            }
        }
        for allowed in &policy.allowed_host_paths {
            let prefix = &*allowed.path_prefix;
            let read_only = match allowed.read_only {
                true => ", readOnly: true",
                false => "",
            };
            let text = format!("allowedHostPaths: {{pathPrefix: {prefix}{read_only}}}");
            self.add(Control::AllowedHostPaths, text, move |uses| {
                let mut paths = uses.host_paths.keys();
                paths.any(|path| is_below(path, prefix))
            });
            if !allowed.read_only {
                let text = format!("allowedHostPaths: {{pathPrefix: {prefix}}}, writable");
                self.add(Control::AllowedHostPaths, text, move |uses| {
                    let mut written = uses.written_host_paths.iter();
                    written.any(|path| is_below(path, prefix))
                });
            }
        }
        self.each(
            Control::AllowedFlexVolumes,
            "allowedFlexVolumes",
            policy.allowed_flex_volumes.iter(),
            |uses, name| uses.flex_drivers.contains(name),
        );
        self.each(
            Control::AllowedCsiDrivers,
            "allowedCSIDrivers",
            policy.allowed_csi_drivers.iter(),
            |uses, name| uses.csi_drivers.contains(name),
        );
    }

    fn ids(&mut self, policy: &'p Policy) {
        match &policy.run_as_user {
            RunAsUser::RunAsAny => self.add(Control::RunAsUser, "runAsUser: RunAsAny", |uses| {
                uses.users.contains(&0)
            }),
            RunAsUser::MustRunAsNonRoot => {}
            RunAsUser::MustRunAs(ranges) => {
                self.ranges(Control::RunAsUser, "runAsUser", ranges, |uses| &uses.users);
            }
        }
        type Ids = fn(&Uses) -> &std::collections::BTreeSet<i64>;
        let groups: [(Control, &'static str, &'p GroupStrategy, Ids); 3] = [
            (
                Control::RunAsGroup,
                "runAsGroup",
                &policy.run_as_group,
                |uses| &uses.groups,
            ),
            (
                Control::SupplementalGroups,
                "supplementalGroups",
                &policy.supplemental_groups,
                |uses| &uses.supplemental_groups,
            ),
            (Control::FsGroup, "fsGroup", &policy.fs_group, |uses| {
                &uses.fs_groups
            }),
        ];
        for (control, field, strategy, ids) in groups {
            self.ranges(control, field, strategy.ranges().unwrap_or_default(), ids);
        }
    }

    fn ranges(
        &mut self,
        control: Control,
        field: &str,
        ranges: &'p [IdRange],
        ids: fn(&Uses) -> &std::collections::BTreeSet<i64>,
    ) {
        for range in ranges {
            let text = format!("{field}: {{min: {}, max: {}}}", range.min, range.max);
            self.add(control, text, move |uses| {
                let mut ids = ids(uses).iter();
                ids.any(|id| u64::try_from(*id).is_ok_and(|id| range.min <= id && id <= range.max))
            });
        }
    }

    fn names(&mut self, policy: &'p Policy) {
        let capabilities = &policy.capabilities;
        let is_given = |name: &str| RUNTIME_DEFAULT_CAPABILITIES.contains(&name);
        match &capabilities.allowed {
            AllowedNames::Any => {
                self.add(
                    Control::Capabilities,
                    "allowedCapabilities: *",
                    move |uses| uses.capabilities.iter().any(|name| !is_given(name)),
                );
            }
            AllowedNames::Only(names) => self.each(
                Control::Capabilities,
                "allowedCapabilities",
                names.iter(),
                |uses, name| uses.capabilities.contains(name),
            ),
        }
        self.each(
            Control::Capabilities,
            "defaultAddCapabilities",
            capabilities.default_add.iter(),
            |uses, name| uses.capabilities.contains(name),
        );
        self.each(
            Control::Sysctls,
            "allowedUnsafeSysctls",
            policy.sysctls.allowed_unsafe.iter(),
            |uses, pattern| uses.sysctls.iter().any(|name| is_sysctl(name, pattern)),
        );
        for proc_mount in &policy.allowed_proc_mount_types {
            let name = proc_mount.name();
            // Without the other one, too, a pod may have the default.
            if *proc_mount != ProcMountType::Default {
                let text = format!("allowedProcMountTypes: {name}");
                self.add(Control::AllowedProcMountTypes, text, move |uses| {
                    uses.proc_mounts.contains(name)
                });
            }
        }
        let class = policy.runtime_class.as_ref();
        self.allowed(
            Control::RuntimeClass,
            "allowedRuntimeClassNames",
            class.map(|class| &class.allowed),
            |uses, name| uses.runtime_classes.contains(name),
            |uses| !uses.runtime_classes.is_empty(),
        );
        self.allowed(
            Control::Seccomp,
            "seccomp allowedProfileNames",
            Some(&policy.seccomp.allowed),
            |uses, name| uses.seccomp.contains(name),
            |uses| uses.seccomp.iter().any(|name| name != "runtime/default"),
        );
        self.each(
            Control::AppArmor,
            "apparmor allowedProfileNames",
            policy.app_armor.allowed.iter().flatten(),
            |uses, name| uses.app_armor.contains(name),
        );
    }

    fn allowed(
        &mut self,
        control: Control,
        field: &str,
        names: Option<&'p AllowedNames>,
        used: fn(&Uses, &str) -> bool,
        any: fn(&Uses) -> bool,
    ) {
        match names {
            Some(AllowedNames::Any) => self.add(control, format!("{field}: *"), any),
            Some(AllowedNames::Only(names)) => self.each(control, field, names.iter(), used),
            None => {}
        }
    }

    fn each(
        &mut self,
        control: Control,
        field: &str,
        names: impl Iterator<Item = &'p String>,
        used: fn(&Uses, &str) -> bool,
    ) {
        for name in names {
            let text = format!("{field}: {name}");
            self.add(control, text, move |uses| used(uses, name));
        }
    }
}

/// Whether a path is a prefix or below it (`AllowsHostVolumePath` of
/// pkg/security/podsecuritypolicy/util).
pub fn is_below(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.trim_end_matches('/')
        .strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a sysctl is one of a pattern's: the name, or what it begins with and `*`.
fn is_sysctl(name: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}
