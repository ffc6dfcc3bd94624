//! What pods ask for.

use super::{Uses, add, add_text, mark};
use crate::pod::PodFacts;

impl Uses {
    /// Notes what a pod asks for.
    pub fn note_pod(&mut self, pod: &PodFacts) {
        let containers = &pod.containers;
        self.privileged |= !containers.privileged.is_empty();
        self.host_pid |= pod.host_pid;
        self.host_ipc |= pod.host_ipc;
        self.host_network |= pod.host_network;
        self.escalation |= !containers.escalating.is_empty();
        let cut = &mut self.cut;
        let groups = pod.supplemental_groups.iter().flatten();
        let fs_group: Vec<i64> = pod.fs_group.into_iter().collect();
        let groups: Vec<i64> = groups.copied().collect();
        for (own, values) in [
            (&mut self.host_ports, &containers.host_ports),
            (&mut self.users, &containers.users),
            (&mut self.groups, &containers.groups),
            (&mut self.supplemental_groups, &groups),
            (&mut self.fs_groups, &fs_group),
        ] {
            values.iter().for_each(|value| add(own, *value, cut));
        }
        let runtime_class: Vec<String> = pod.runtime_class.iter().cloned().collect();
        let added: Vec<String> = pod.capabilities.added.iter().cloned().collect();
        let mut seccomp = pod.profiles.container_seccomp.clone();
        seccomp.extend(pod.profiles.seccomp.clone());
        for (own, values) in [
            (&mut self.flex_drivers, &pod.volumes.flex_drivers),
            (&mut self.csi_drivers, &pod.volumes.csi_drivers),
            (&mut self.capabilities, &added),
            (&mut self.sysctls, &pod.sysctls),
            (&mut self.proc_mounts, &containers.proc_mounts),
            (&mut self.runtime_classes, &runtime_class),
            (&mut self.seccomp, &seccomp),
            (&mut self.app_armor, &pod.profiles.app_armor),
        ] {
            values.iter().for_each(|value| add_text(own, value, cut));
        }
        for volume_type in &pod.volumes.types {
            let volume_type = match volume_type.as_str() {
                // Admission takes it for a secret where that alone is allowed.
                "projected-token" => "projected",
                volume_type => volume_type,
            };
            add_text(&mut self.volumes, volume_type, cut);
        }
        for path in &pod.volumes.host_paths {
            let writable = pod.volumes.writable_host_paths.contains(path);
            mark(&mut self.host_paths, path, writable, cut);
        }
    }
}
