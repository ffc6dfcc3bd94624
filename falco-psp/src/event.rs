//! An event: what a source gives and a field reads.
//!
//! Events hold facts, never verdicts. What could not be learnt is `None`: unknown is a value of
//! its own.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::container::Container;
use crate::fields::Source;
use crate::pod::PodFacts;
use crate::recording::Word;

/// One event, as a rule of its source judges it.
#[derive(Clone, Debug)]
pub enum Event {
    /// What a process of a container did.
    Syscall(SyscallEvent),
    /// What was asked of the API server.
    Audit(AuditEvent),
    /// One of the two as an alert told of it.
    Told(ToldEvent),
}

impl Event {
    /// Number of the event in this run, from 1.
    pub fn number(&self) -> u64 {
        match self {
            Self::Syscall(event) => event.number,
            Self::Audit(event) => event.number,
            Self::Told(_) => 1,
        }
    }

    /// When it happened: nanoseconds since the Unix epoch.
    pub fn time_ns(&self) -> u64 {
        match self {
            Self::Syscall(event) => event.time_ns,
            Self::Audit(event) => event.time_ns,
            Self::Told(event) => event.time_ns,
        }
    }
}

impl Event {
    /// Falco's `evt.type`, which events of the syscall source have.
    pub fn event_type(&self) -> Option<&str> {
        match self {
            Self::Syscall(event) => Some(event.activity.event_type()),
            Self::Audit(_) => None,
            Self::Told(event) => event.fields.get("evt.type")?.as_str(),
        }
    }
}

impl From<SyscallEvent> for Event {
    fn from(event: SyscallEvent) -> Self {
        Self::Syscall(event)
    }
}

impl From<AuditEvent> for Event {
    fn from(event: AuditEvent) -> Self {
        Self::Audit(event)
    }
}

impl From<ToldEvent> for Event {
    fn from(event: ToldEvent) -> Self {
        Self::Told(event)
    }
}

/// An event of which only some fields are known: those that the JSON of an alert has, ours or
/// Falco's.
#[derive(Clone, Debug)]
pub struct ToldEvent {
    /// Where the event came from.
    pub source: Source,
    /// When it happened: nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// The values of fields, by name with argument, as in `output_fields`.
    pub fields: Map<String, Json>,
}

/// One event of the Kubernetes audit source: a request that the API server has answered.
#[derive(Clone, Debug)]
pub struct AuditEvent {
    /// Number of the event in this run, from 1.
    pub number: u64,
    /// When the request reached its stage: nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// The request.
    pub request: Request,
    /// What the pod asks for, if it is an event that declares one.
    pub pod: Option<Arc<PodFacts>>,
    /// The whole event as it came, `audit.k8s.io/v1` in JSON.
    pub json: Bytes,
}

/// A request to the API server. A text is empty where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Its identity, the same in all its events.
    pub audit_id: String,
    /// How far it has come: `ResponseComplete`.
    pub stage: String,
    /// The verb.
    pub verb: String,
    /// Path and query.
    pub uri: String,
    /// Who asked.
    pub user: String,
    /// The status code of the answer.
    pub code: Option<i32>,
    /// The resource that it is about.
    pub resource: String,
    /// The part of it.
    pub subresource: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether it was only a trial (`?dryRun=All`).
    pub dry_run: bool,
}

/// One event of the syscall source: something happened to a process of a container, and this is
/// the state in which it left the process.
#[derive(Clone, Debug)]
pub struct SyscallEvent {
    /// Number of the event in this run, from 1.
    pub number: u64,
    /// When it happened: nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// What happened.
    pub activity: Activity,
    /// The process, as it was afterwards.
    pub process: Arc<Process>,
    /// The container that the process runs in.
    pub container: Arc<Container>,
}

/// `evt.type` of an [`Activity::Capability`]: a name of ours.
pub const CAPABLE: &str = "capable";

/// `evt.type` of an [`Activity::RootWrite`]: a name of ours.
pub const ROOT_WRITE: &str = "root_write";

/// `evt.type` of an [`Activity::VolumeWrite`]: a name of ours.
pub const VOLUME_WRITE: &str = "volume_write";

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// A container was found running, or has just run its first program. Not a system call: the
    /// agent makes one such event for each container.
    Container,
    /// A program was executed: the posture of the process right after.
    Exec,
    /// A system call that changes credentials returned: setuid, setgroups, capset, ...
    Credentials {
        /// The call's name, without a prefix: `setuid`.
        #[serde(deserialize_with = "crate::recording::call")]
        call: Word,
        /// What the call returned: 0 or more, or a negated errno.
        result: i64,
    },
    /// The kernel was asked in a call whether the process has a capability that the call needs.
    Capability {
        /// The capability's name, without `CAP_`.
        #[serde(deserialize_with = "crate::recording::capability")]
        capability: Word,
        /// The call's name, or `syscall` and its number.
        call: String,
        /// 0 if the process has it, else a negated errno. Earlier recordings have only what was
        /// granted, and do not say so.
        #[serde(default, skip_serializing_if = "is_zero")]
        result: i64,
    },
    /// A call changed something in the container's root file system, outside of all volumes and other
    /// mounts.
    RootWrite {
        /// The call's name.
        #[serde(deserialize_with = "crate::recording::call")]
        call: Word,
        /// What it changed: the path from the root.
        path: String,
    },
    /// A call opened a file for writing in what is mounted here, for the first time.
    VolumeWrite {
        /// The call's name.
        #[serde(deserialize_with = "crate::recording::call")]
        call: Word,
        /// Where the mount is.
        mount_point: String,
    },
    /// A system call of the mount family returned.
    Mount {
        /// The call's name: `mount`.
        #[serde(deserialize_with = "crate::recording::call")]
        call: Word,
        /// What the call returned: 0 or more, or a negated errno.
        result: i64,
        /// The source argument. A hint: a program can change it while the call runs.
        source: String,
        /// The target argument. A hint.
        target: String,
        /// The file system type argument. A hint.
        fs_type: String,
    },
}

impl Activity {
    /// Falco's `evt.type`: `container`, `execve`, `capable`, `root_write` and
    /// `volume_write` (ours), or the name of the
    /// call.
    pub fn event_type(&self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Exec => "execve",
            Self::Capability { .. } => CAPABLE,
            Self::RootWrite { .. } => ROOT_WRITE,
            Self::VolumeWrite { .. } => VOLUME_WRITE,
            Self::Credentials { call, .. } | Self::Mount { call, .. } => call,
        }
    }

    /// What the call returned; 0 for an exec, which is seen only when it succeeded; of a capability
    /// what the kernel found; `None` for an event that is no call.
    pub fn result(&self) -> Option<i64> {
        match self {
            Self::Container => None,
            Self::Exec | Self::RootWrite { .. } | Self::VolumeWrite { .. } => Some(0),
            Self::Credentials { result, .. }
            | Self::Capability { result, .. }
            | Self::Mount { result, .. } => Some(*result),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(result: &i64) -> bool {
    *result == 0
}

/// The kernel saw a state again after it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeats {
    /// The state's hash, as in its event.
    pub posture: u64,
    /// How often.
    pub times: u64,
    /// The last of them, where the kernel notes that: of checks of capabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastRepeat>,
}

/// When the kernel last saw a state again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRepeat {
    /// When: nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Whose state it was: the process id on the host.
    pub pid: u32,
}

/// The state of a process. Ids are those of the initial user namespace, as the kernel holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    /// Process id (thread group) on the host.
    pub pid: u32,
    /// Thread id on the host.
    pub tid: u32,
    /// Process id of the parent on the host.
    pub parent_pid: u32,
    /// Process id inside the innermost pid namespace.
    pub virtual_pid: u32,
    /// When the process started: nanoseconds since boot.
    pub start_ns: u64,
    /// The kernel's short name of the task (`comm`), at most 15 bytes.
    pub name: String,
    /// Path of the executed program, as it was given to exec; `None` if it was never learnt.
    pub executable: Option<String>,
    /// The arguments, the first one (`argv[0]`) included; `None` if they were never learnt.
    pub arguments: Option<CommandLine>,
    /// User ids.
    pub users: Ids,
    /// Group ids.
    pub groups: Ids,
    /// Supplementary groups.
    pub supplementary_groups: Vec<u32>,
    /// The capability sets.
    pub capabilities: Capabilities,
    /// Whether the process is in a user namespace of its own below the container's: what its
    /// capabilities allow ends there.
    pub nested_user_namespace: bool,
    /// Whether no_new_privs is set: an exec can then not gain privileges. `None` if this kernel
    /// does not tell.
    pub no_new_privs: Option<bool>,
    /// The seccomp mode: 0 off, 1 strict, 2 filter.
    pub seccomp_mode: u32,
    /// Whether the executed program gave the process privileges which it did not have: a setuid
    /// or setgid program, or one with file capabilities.
    pub gained_privileges: bool,
}

/// The arguments of a program, as people write them: joined by blanks. They are told so, and as one
/// text nothing is allocated for a rule that looks at them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandLine {
    text: String,
    /// The length of the first, if there is one.
    first: Option<usize>,
}

impl CommandLine {
    /// All of it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// `argv[0]`.
    pub fn first(&self) -> Option<&str> {
        self.text.get(..self.first?)
    }

    /// What comes after the first.
    pub fn rest(&self) -> &str {
        let rest = self.first.and_then(|length| self.text.get(length + 1..));
        rest.unwrap_or_default()
    }

    /// Adds an argument.
    pub fn push(&mut self, argument: &str) {
        match self.first {
            Some(_) => self.text.push(' '),
            None => self.first = Some(argument.len()),
        }
        self.text.push_str(argument);
    }
}

impl<T: AsRef<str>> FromIterator<T> for CommandLine {
    fn from_iter<I: IntoIterator<Item = T>>(arguments: I) -> Self {
        let mut line = Self::default();
        for argument in arguments {
            line.push(argument.as_ref());
        }
        line
    }
}

/// The four ids that a process has of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    /// Who started it.
    pub real: u32,
    /// What permission checks use.
    pub effective: u32,
    /// What it can switch back to.
    pub saved: u32,
    /// What file permission checks use.
    pub filesystem: u32,
}

impl Ids {
    /// The ids, each once.
    pub fn distinct(self) -> impl Iterator<Item = u32> {
        let all = [self.real, self.effective, self.saved, self.filesystem];
        (0..all.len())
            .filter(move |&i| !all[..i].contains(&all[i]))
            .map(move |i| all[i])
    }
}

/// The five capability sets of a process: bit n is capability n of `linux/capability.h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// What it can use now.
    pub effective: u64,
    /// What it can make effective.
    pub permitted: u64,
    /// What survives an exec of a program with the like file capabilities.
    pub inheritable: u64,
    /// The limit of what an exec can give.
    pub bounding: u64,
    /// What survives an exec without file capabilities.
    pub ambient: u64,
}
