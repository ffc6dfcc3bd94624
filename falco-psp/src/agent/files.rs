//! Writes to a container's root file system, and to what else is mounted in it.

use std::sync::Arc;

use falco_psp_common::record::flags;

use super::Agent;
use crate::container::posture::Why;
use crate::context::paths::{self, Place};
use crate::event::{Activity, Process};
use crate::sources::syscall::calls;
use crate::sources::syscall::decode::Record;

/// It is on another mount than the container's root: a volume, or the container's own `/dev`.
#[derive(Debug)]
pub(super) struct OtherMount;

impl Agent {
    /// Notes that a container may write by io_uring, unseen; judges it with that.
    pub(super) fn may_write_unseen(&mut self, id: &str, process: Arc<Process>, time_ns: u64) {
        let Some(tracked) = self.containers.get_mut(id) else {
            return;
        };
        let container = Arc::make_mut(&mut tracked.container);
        container.posture.root_writes = Some(Why::IoUring);
        self.judge(id, Activity::Container, process, time_ns, 0);
    }

    /// What a call changed in the root file system of a container, or which mount it wrote to; `None`
    /// if the record makes no sense.
    pub(super) fn root_write(
        &self,
        record: &Record<'_>,
        id: &str,
    ) -> Result<Option<Activity>, OtherMount> {
        let (Some(call), Some((path, by_name))) =
            (calls::name(record.fixed.call), record.file_path())
        else {
            return Ok(None);
        };
        let tracked = self.containers.get(id);
        let mount_id = record.fixed.mount_id;
        if record.has(flags::OTHER_MOUNT) {
            let mount_point = tracked.and_then(|tracked| tracked.mount_point(mount_id));
            let mount_point = mount_point.ok_or(OtherMount)?.to_owned();
            return Ok(Some(Activity::VolumeWrite { call, mount_point }));
        }
        // A program that has made a volume its root.
        if tracked.is_some_and(|tracked| tracked.is_other_root(record.mnt_ns(), mount_id)) {
            return Err(OtherMount);
        }
        if !by_name {
            return Ok(Some(Activity::RootWrite { call, path }));
        }
        let follows = calls::follows_links(call);
        // Of a process that has ended any other of the container sees the same.
        let others = self.containers.a_process(id);
        let mut processes = [Some(record.fixed.pid), others].into_iter().flatten();
        let place = processes.find_map(|pid| paths::find(pid, &path, follows));
        match place {
            Some(Place::Root(path)) => Ok(Some(Activity::RootWrite { call, path })),
            Some(Place::Elsewhere) => Err(OtherMount),
            None => {
                let path = paths::normal(&path);
                let is_elsewhere = tracked.is_some_and(|tracked| tracked.is_on_other_mount(&path));
                match is_elsewhere {
                    true => Err(OtherMount),
                    false => Ok(Some(Activity::RootWrite { call, path })),
                }
            }
        }
    }
}
