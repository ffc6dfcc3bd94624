//! What pods ask for.

use std::collections::BTreeSet;

use super::{Uses, add, add_text, mark};
use crate::pod::PodFacts;

impl Uses {
    /// Notes what a pod asks for.
    pub fn note_pod(&mut self, pod: &PodFacts) {
        let (containers, volumes) = (&pod.containers, &pod.volumes);
        self.privileged |= !containers.privileged.is_empty();
        self.host_pid |= pod.host_pid;
        self.host_ipc |= pod.host_ipc;
        self.host_network |= pod.host_network;
        self.escalation |= !containers.escalating.is_empty();
        let cut = &mut self.cut;
        let groups = pod.supplemental_groups.as_deref().unwrap_or_default();
        for (own, values) in [
            (&mut self.host_ports, containers.host_ports.as_slice()),
            (&mut self.users, &containers.users),
            (&mut self.groups, &containers.groups),
            (&mut self.supplemental_groups, groups),
            (&mut self.fs_groups, pod.fs_group.as_slice()),
        ] {
            values.iter().for_each(|value| add(own, *value, cut));
        }
        let profiles = &pod.profiles;
        add_all(&mut self.capabilities, &pod.capabilities.added, cut);
        add_all(&mut self.flex_drivers, &volumes.flex_drivers, cut);
        add_all(&mut self.csi_drivers, &volumes.csi_drivers, cut);
        add_all(&mut self.sysctls, &pod.sysctls, cut);
        add_all(&mut self.proc_mounts, &containers.proc_mounts, cut);
        add_all(&mut self.runtime_classes, &pod.runtime_class, cut);
        add_all(&mut self.seccomp, &profiles.container_seccomp, cut);
        add_all(&mut self.seccomp, &profiles.seccomp, cut);
        add_all(&mut self.app_armor, &profiles.app_armor, cut);
        for volume_type in &volumes.types {
            let volume_type = match volume_type.as_str() {
                // Admission takes it for a secret where that alone is allowed.
                "projected-token" => "projected",
                volume_type => volume_type,
            };
            add_text(&mut self.volumes, volume_type, cut);
        }
        for path in &volumes.host_paths {
            let writable = volumes.writable_host_paths.contains(path);
            mark(&mut self.host_paths, path, writable, cut);
        }
    }
}

fn add_all<'t>(
    own: &mut BTreeSet<String>,
    values: impl IntoIterator<Item = &'t String>,
    cut: &mut bool,
) {
    values
        .into_iter()
        .for_each(|value| add_text(own, value, cut));
}
