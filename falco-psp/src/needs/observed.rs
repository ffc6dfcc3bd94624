//! What pods do.

use super::checks::Check;
use super::{Uses, add, add_text, mark};
use crate::container::{Container, Volume};
use crate::event::{Activity, SyscallEvent};

impl Uses {
    /// Notes what an event tells.
    pub fn note_event(&mut self, event: &SyscallEvent) {
        let process = &event.process;
        match &event.activity {
            Activity::Container => self.note_container(&event.container),
            Activity::Exec | Activity::Credentials { .. } => {
                let cut = &mut self.cut;
                for id in process.users.distinct() {
                    add(&mut self.users, id.into(), cut);
                }
                for id in process.groups.distinct() {
                    add(&mut self.groups, id.into(), cut);
                }
                for id in &process.supplementary_groups {
                    add(&mut self.supplemental_groups, (*id).into(), cut);
                }
                self.escalation |= process.gained_privileges && process.no_new_privs == Some(false);
            }
            Activity::Capability {
                capability,
                call,
                result,
            } if !process.nested_user_namespace => {
                let denied = *result < 0;
                if !denied {
                    add_text(&mut self.capabilities, capability, &mut self.cut);
                }
                let check = Check::new(event.time_ns, call, denied, process);
                self.note_checks(capability, check, 1);
            }
            Activity::Capability { .. } => {}
            Activity::RootWrite { call, path } => {
                let is_folder = call.starts_with("mkdir");
                mark(&mut self.root_writes, path, is_folder, &mut self.cut);
            }
            Activity::VolumeWrite { mount_point, .. } => {
                let mut volumes = event.container.volumes.iter().flatten();
                let is_it = |volume: &&Volume| volume.mount_path == *mount_point;
                if let Some(volume) = volumes.find(is_it)
                    && volume.volume_type == "hostPath"
                {
                    add_text(
                        &mut self.written_host_paths,
                        &volume.host_path,
                        &mut self.cut,
                    );
                }
            }
            // What it mounts is in the container's next event.
            Activity::Mount { result, .. } => {
                if *result >= 0 && !process.nested_user_namespace {
                    add_text(&mut self.capabilities, "SYS_ADMIN", &mut self.cut);
                }
            }
        }
    }

    fn note_container(&mut self, container: &Container) {
        self.privileged |= container.privileged == Some(true);
        self.host_pid |= container.host_pid == Some(true);
        self.host_ipc |= container.host_ipc == Some(true);
        self.host_network |= container.host_network == Some(true);
        let cut = &mut self.cut;
        for volume in container.volumes.iter().flatten() {
            add_text(&mut self.volumes, &volume.volume_type, cut);
            let drivers = match &*volume.volume_type {
                "hostPath" => {
                    mark(
                        &mut self.host_paths,
                        &volume.host_path,
                        !volume.read_only,
                        cut,
                    );
                    continue;
                }
                "csi" => &mut self.csi_drivers,
                "flexVolume" => &mut self.flex_drivers,
                _ => {
                    if let Some(group) = volume.fs_group {
                        add(&mut self.fs_groups, group.into(), cut);
                    }
                    continue;
                }
            };
            if let Some(driver) = &volume.driver {
                add_text(drivers, driver, cut);
            }
        }
        let posture = &container.posture;
        for port in &posture.host_ports.found {
            add(&mut self.host_ports, port.port.into(), cut);
        }
        for name in &posture.sysctls.found {
            add_text(&mut self.sysctls, name, cut);
        }
        if let Some(proc_mount) = posture.proc_mount.known() {
            add_text(&mut self.proc_mounts, proc_mount.name(), cut);
        }
        // A privileged container has none, whatever it asks for.
        if container.privileged != Some(true) {
            if let Some(profile) = posture.seccomp.known() {
                add_text(&mut self.seccomp, profile, cut);
            }
            if let Some(profile) = posture.app_armor.known() {
                add_text(&mut self.app_armor, profile, cut);
            }
        }
    }
}
