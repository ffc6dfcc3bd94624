//! What containers ask for in their security contexts.

use super::model::{Container, Spec};

/// Facts of all containers together. Names are those of containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerFacts {
    /// Privileged ones.
    pub privileged: Vec<String>,
    /// Ports of the host.
    pub host_ports: Vec<i64>,
    /// User ids, of the container or else of the pod.
    pub users: Vec<i64>,
    /// Those without a user id.
    pub without_user: Vec<String>,
    /// Those for which runAsNonRoot is false.
    pub may_be_root: Vec<String>,
    /// Those with neither a user id nor runAsNonRoot.
    pub without_user_and_non_root: Vec<String>,
    /// Group ids, of the container or else of the pod.
    pub groups: Vec<i64>,
    /// Those without a group id.
    pub without_group: Vec<String>,
    /// Those with `readOnlyRootFilesystem: false`.
    pub writable_root: Vec<String>,
    /// Those that say nothing of it.
    pub without_read_only_root: Vec<String>,
    /// Those with `allowPrivilegeEscalation: true`.
    pub escalating: Vec<String>,
    /// Those that say nothing of it.
    pub without_escalation: Vec<String>,
    /// Kinds of `/proc`, each once.
    pub proc_mounts: Vec<String>,
}

impl ContainerFacts {
    pub(super) fn of(spec: &Spec<'_>, containers: &[&Container<'_>]) -> Self {
        let mut facts = Self::default();
        let pod = &spec.security_context;
        for container in containers {
            let own = &container.security_context;
            let mut note = |list: fn(&mut Self) -> &mut Vec<String>, holds: bool| {
                if holds {
                    list(&mut facts).push(container.name.to_string());
                }
            };
            let user = own.run_as_user.or(pod.run_as_user);
            let group = own.run_as_group.or(pod.run_as_group);
            let non_root = own.run_as_non_root.or(pod.run_as_non_root);
            note(|f| &mut f.privileged, own.privileged);
            note(|f| &mut f.without_user, user.is_none());
            note(|f| &mut f.may_be_root, non_root == Some(false));
            note(
                |f| &mut f.without_user_and_non_root,
                user.is_none() && non_root.is_none(),
            );
            note(|f| &mut f.without_group, group.is_none());
            let read_only = own.read_only_root_filesystem;
            note(|f| &mut f.writable_root, read_only == Some(false));
            note(|f| &mut f.without_read_only_root, read_only.is_none());
            let escalation = own.allow_privilege_escalation;
            note(|f| &mut f.escalating, escalation == Some(true));
            note(|f| &mut f.without_escalation, escalation.is_none());
            facts.users.extend(user);
            facts.groups.extend(group);
            let proc_mount = container.proc_mount();
            if !facts.proc_mounts.iter().any(|known| known == proc_mount) {
                facts.proc_mounts.push(proc_mount.to_owned());
            }
            facts
                .host_ports
                .extend(container.host_ports(spec.host_network));
        }
        facts
    }
}
