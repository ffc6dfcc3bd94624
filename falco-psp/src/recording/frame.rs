//! The lines of a recording.

use std::borrow::Cow;
use std::time::Duration;

use falco_psp_common::record::Kind;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::agent::Fates;
use crate::container::Container;
use crate::context::metadata::MetadataCounts;
use crate::context::processes::now_ns;
use crate::event::{Activity, CAPABLE, Process, ROOT_WRITE, Repeats, VOLUME_WRITE};
use crate::fields::Source;
use crate::sources::syscall::hooks::tells_capability_use;
use crate::sources::syscall::ledger::Counts;

/// The version of the format that is written; older ones are read as well.
pub const VERSION: u32 = 1;

/// One line. Times are nanoseconds since the Unix epoch.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one frame at a time, and it is not kept"
)]
pub enum Frame<'a> {
    /// What this is: always the first.
    Start(Start),
    /// What is known of a container from now on.
    Container(Cow<'a, Container>),
    /// A process of a container did something.
    Event(Observed<'a>),
    /// The kernel saw a state again after it was told.
    Repeated(Repeats),
    /// These containers are gone.
    Gone(Vec<Cow<'a, str>>),
    /// Events were lost between kernel and agent.
    Lost {
        /// When it was noticed.
        time_ns: u64,
        /// How many.
        events: u64,
    },
    /// What came from the API server, or from its log.
    Audit(AuditFrame<'a>),
    /// That many events are not in here, for the disk was slower than they came.
    Unrecorded(u64),
    /// The run came to its end: always the last, and missing where it did not.
    End(End),
}

/// What a recording is of.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The version of the format.
    pub falco_psp_recording: u32,
    /// The version of the program.
    pub program: String,
    /// When it began.
    pub time_ns: u64,
    /// Where events came from, in Falco's words.
    pub sources: Vec<String>,
    /// What system calls were seen by, where they are a source.
    #[serde(default)]
    pub made_by: Option<MadeBy>,
}

impl Start {
    /// Of a run that begins now.
    pub fn now(sources: &[Source], made_by: Option<MadeBy>) -> Self {
        Self {
            falco_psp_recording: VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            time_ns: now_ns(),
            sources: sources
                .iter()
                .map(|source| source.name().to_owned())
                .collect(),
            made_by,
        }
    }

    /// Where events came from.
    pub fn sources(&self) -> Vec<Source> {
        let names = self.sources.iter();
        names.filter_map(|name| Source::parse(name)).collect()
    }
}

/// What system calls were seen by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MadeBy {
    /// The kernel's release.
    pub kernel: String,
    /// The hooks that were attached.
    pub hooks: Vec<String>,
    /// The types of events that the kernel did not give. Whoever wrote none did not know the last of
    /// them.
    #[serde(default = "without_root_writes")]
    pub unseen: Vec<String>,
}

fn without_root_writes() -> Vec<String> {
    vec![ROOT_WRITE.to_owned(), VOLUME_WRITE.to_owned()]
}

impl MadeBy {
    /// The types of events that are not in the recording, by our words.
    pub fn unseen(&self) -> Vec<&'static str> {
        let known = [CAPABLE, ROOT_WRITE, VOLUME_WRITE];
        let has_capable = tells_capability_use(&self.hooks);
        let is_unseen = |kind: &&str| {
            self.unseen.iter().any(|unseen| unseen == kind) || (*kind == CAPABLE && !has_capable)
        };
        known.into_iter().filter(is_unseen).collect()
    }
}

/// Something that a process of a container did.
#[derive(Debug, Serialize, Deserialize)]
pub struct Observed<'a> {
    /// When.
    pub time_ns: u64,
    /// The container's id: what is known of it was told before.
    pub container: Cow<'a, str>,
    /// What.
    pub activity: Cow<'a, Activity>,
    /// The process, as it was afterwards.
    pub process: Cow<'a, Process>,
    /// The hash under which repeats are told; 0 if they are not.
    #[serde(default)]
    pub posture: u64,
}

/// Some audit events that came together.
#[derive(Debug, Serialize, Deserialize)]
pub struct AuditFrame<'a> {
    /// Where they came from.
    pub origin: AuditOrigin<'a>,
    /// What of the input was no event: lines and messages, of the first few.
    #[serde(default)]
    pub faults: Vec<(u64, Cow<'a, str>)>,
    /// How much of the input was no event.
    #[serde(default)]
    pub malformed: u64,
    /// The events.
    pub events: Vec<AuditEvent>,
}

/// Where audit events came from.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditOrigin<'a> {
    /// A log file, as it was named.
    File(Cow<'a, str>),
    /// A request of the client at this address.
    Client(std::net::SocketAddr),
}

/// One audit event.
#[derive(Debug, Serialize, Deserialize)]
pub struct AuditEvent {
    /// Its line in the log, or its place in the request; from 1.
    pub number: u64,
    /// It, less what may be secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Box<RawValue>>,
    /// Instead: what is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct End {
    /// How long it took, in nanoseconds.
    pub elapsed_ns: u64,
    /// The ledger of the kernel side, by the names of the kinds.
    pub ledger: Vec<(String, Counts)>,
    /// What became of the records.
    pub fates: Fates,
    /// What came of looking up what surrounds containers.
    pub metadata: MetadataCounts,
}

impl End {
    /// The end of a run that watched no node.
    pub fn after(elapsed: Duration) -> Self {
        Self::new(elapsed, &[], Fates::default(), MetadataCounts::default())
    }

    /// The end of a run.
    pub fn new(
        elapsed: Duration,
        ledger: &[(Kind, Counts)],
        fates: Fates,
        metadata: MetadataCounts,
    ) -> Self {
        let named = ledger.iter();
        Self {
            elapsed_ns: u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX),
            ledger: named
                .map(|(kind, counts)| (kind.name().to_owned(), *counts))
                .collect(),
            fates,
            metadata,
        }
    }

    /// The ledger, without kinds that this version does not know.
    pub fn ledger(&self) -> Vec<(Kind, Counts)> {
        let known = self.ledger.iter().filter_map(|(name, counts)| {
            let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name)?;
            Some((kind, *counts))
        });
        known.collect()
    }
}
