//! Forgetting containers that are gone, so that memory does not grow with the containers that a
//! node ever ran.

use std::time::Instant;

use super::Agent;
use crate::context::processes;

impl Agent {
    /// Forgets the containers of which no process runs any more. What was found of them stays in
    /// the result: of the last ones by name, of the others in sum.
    pub fn forget_gone(&mut self) {
        self.forget_gone_by(Instant::now(), processes::is_alive, processes::cgroups);
    }

    pub(super) fn forget_gone_by(
        &mut self,
        now: Instant,
        is_alive: impl Fn(u32, u64) -> bool,
        running: impl FnOnce() -> Vec<(u32, u64, String)>,
    ) {
        let gone = self.containers.forget_gone(now, is_alive, running);
        for container in &gone {
            tracing::info!(id = container.id, "container is gone");
            self.metadata.forget(&container.id);
        }
        let past = self.departed.add(gone, &self.tally);
        self.tally.fold(&past);
    }
}
