//! What is told once for each container and then only counted: what tells one container from another,
//! and what such records have in common.

use falco_psp_common::record::{MAX_GROUPS, flags};

use crate::{
    read::Address,
    scratch::{Scratch, Tails},
    task::Task,
};

/// Whose work it is.
#[derive(Clone, Copy)]
pub(crate) struct Doer {
    /// See [`falco_psp_common::record::Fixed::program_mnt_ns`]: that the runtime has done the same
    /// before, to set the container up, is another thing.
    program_mnt_ns: u32,
    /// Tells container and program from others. The number of a namespace is given again when it is
    /// gone, mostly at once; that of a control group is not.
    pub(crate) words: [u64; 2],
}

impl Task {
    /// Whose work it is.
    #[inline(always)]
    pub(crate) fn doer(&self, slot: &mut Address) -> Doer {
        let mut program_mnt_ns = self.program_mnt_ns(slot);
        if program_mnt_ns == 0 {
            program_mnt_ns = self.unmounted_program_mnt_ns();
        }
        Doer {
            program_mnt_ns,
            words: [
                self.cgroup_id(),
                u64::from(self.mnt_ns) << 32 | u64::from(program_mnt_ns),
            ],
        }
    }

    /// Fills all of the record that does not depend on its kind; its tails, with the groups in them.
    /// `None` if memory that every kernel has could not be read.
    #[inline(always)]
    pub(crate) fn begin<'a>(
        &self,
        scratch: &'a mut Scratch,
        doer: Doer,
        posture: u64,
    ) -> Option<Tails<'a>> {
        scratch.fixed.padding = [0; 2];
        self.fill(scratch)?;
        scratch.fixed.program_mnt_ns = doer.program_mnt_ns;
        let (gids, groups) = self.groups(&mut scratch.address)?;
        if groups as usize > MAX_GROUPS {
            scratch.fixed.flags |= flags::GROUPS_CUT;
        }
        self.fill_rest(scratch)?;
        scratch.fixed.posture = posture;
        let mut tails = Tails::new(scratch);
        tails.groups(gids, groups).then_some(tails)
    }
}
