//! What came of looking up what surrounds containers: one line a layer.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What came of the look-ups in one layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcomes {
    /// The layer knew the container.
    pub found: u64,
    /// It did not.
    pub not_there: u64,
    /// The layer could not be asked, or its answer made no sense.
    pub failed: u64,
    /// It did not answer in time.
    pub timed_out: u64,
}

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            found,
            not_there,
            failed,
            timed_out,
        } = self;
        write!(
            f,
            "found {found}, not there {not_there}, failed {failed}, timed out {timed_out}"
        )
    }
}

/// The look-ups so far, by layer. A look-up that is tried again counts each time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MetadataCounts {
    /// The path of the control group: the container's id.
    pub cgroup: Outcomes,
    /// The OCI bundle on disk.
    pub bundle: Outcomes,
    /// The container runtime, by its CRI socket.
    pub cri: Outcomes,
    /// The API server: the pod. A container counts once.
    pub api: Outcomes,
    /// Events that wait for a look-up.
    pub held: u64,
    /// Events that waited, and went out without the answer: after the time for it, or because too
    /// many waited.
    pub given_up: u64,
    /// Containers that are known now.
    pub containers: u64,
    /// Containers that are gone and forgotten.
    pub forgotten: u64,
}

impl MetadataCounts {
    /// The layers by name.
    pub fn layers(&self) -> [(&'static str, Outcomes); 4] {
        [
            ("cgroup", self.cgroup),
            ("bundle", self.bundle),
            ("cri", self.cri),
            ("api", self.api),
        ]
    }
}
