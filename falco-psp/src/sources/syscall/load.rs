//! Loading the kernel side and attaching its hooks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::maps::{Array, MapData, PerCpuArray, PerCpuHashMap, RingBuf};
use aya::programs::ProgramError;
use aya::{Btf as KernelBtf, Ebpf, EbpfLoader};
use falco_psp_common::offsets::Settings;
use falco_psp_common::record::repeats;
use thiserror::Error;

use super::btf::{Btf, BtfError};
use super::hooks::{Attached, HOOKS, Hook, Refused};
use super::object::OBJECT;
use super::offsets::{self, Fact, Missing};
use super::{calls, compat, syscalls};
use crate::cli::Watch;
use crate::context::host::HostNamespaces;
use crate::context::processes::epoch_ns;
use crate::event::{CAPABLE, LastRepeat, ROOT_WRITE, Repeats, VOLUME_WRITE};
use crate::privileges;

/// Where the kernel describes its own types.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Why system calls cannot be observed.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Built without the kernel object.
    #[error(
        "this falco-psp was built without its kernel object; build it with `cargo xtask build` \
         (or `cargo xtask build-ebpf`, then `cargo build`)"
    )]
    NoObject,
    /// Not enough rights.
    #[error(
        "observing system calls needs root (missing: {}); run it with sudo, or use `falco-psp \
         convert` and `falco-psp doctor`, which need no rights",
        .0.join(", ")
    )]
    NotPermitted(Vec<&'static str>),
    /// No BTF.
    #[error(
        "cannot read {path}: {why}; the kernel must be built with CONFIG_DEBUG_INFO_BTF, as \
         those of all current distributions are"
    )]
    NoBtf {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// BTF that makes no sense.
    #[error("{path} is unusable: {why}")]
    BadBtf {
        /// The file.
        path: PathBuf,
        /// Why.
        why: BtfError,
    },
    /// Members that nothing works without.
    #[error("this kernel has no {}; falco-psp does not know its layout: please report it", .0.join(", "))]
    UnknownKernel(Vec<String>),
    /// The host's namespaces cannot be told.
    #[error(
        "cannot tell the host's {0} namespace, and so no container from the host; run falco-psp \
         on the host, or in a pod with `hostPID: true`"
    )]
    HostNamespaces(String),
    /// The object file was refused.
    #[error("cannot load the kernel object: {0}")]
    Object(aya::EbpfError),
    /// A map is not there or not of the right kind.
    #[error("the kernel object has no usable map {name}: {why}")]
    Map {
        /// Its name.
        name: &'static str,
        /// Why.
        why: aya::maps::MapError,
    },
    /// The kernel refused a program.
    #[error("the kernel refuses program {program} at {hook}: {why}")]
    Program {
        /// Its name.
        program: &'static str,
        /// Where it should go.
        hook: &'static str,
        /// Why.
        why: ProgramError,
    },
    /// The ring cannot be waited for.
    #[error("cannot wait for the ring: {0}")]
    Ring(io::Error),
}

/// How the kernel side shall work.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The file that describes the kernel's types.
    pub btf: &'a Path,
    /// Bytes of the ring; a power of two, at least a page.
    pub ring_bytes: u32,
    /// Whether repeats of the same posture are only counted.
    pub deduplicate: bool,
    /// The names of the hooks that are left out.
    pub without_hooks: &'a [String],
}

impl<'a> Options<'a> {
    /// Those of a run.
    pub fn of(options: &'a Watch) -> Self {
        Self {
            btf: &options.btf,
            ring_bytes: options.ring_size << 10,
            // A repeat that is to be printed has to be sent.
            deduplicate: !options.all,
            without_hooks: &options.without_hook,
        }
    }
}

/// The reading end of the ring, with the flag that tells the programs that the reader sleeps.
pub struct RingEnd {
    /// The ring of records.
    pub ring: RingBuf<MapData>,
    /// One number: 1 while the reader sleeps.
    pub reader_asleep: Array<MapData, u32>,
}

/// The kernel side, at work. Dropping it detaches all programs.
pub struct KernelSide {
    /// The programs; `None` after they were detached.
    ebpf: Option<Ebpf>,
    ring: Option<RingEnd>,
    #[cfg(feature = "debug-log")]
    logger: Option<Logger>,
    /// The ledger.
    pub ledger: PerCpuArray<MapData, u64>,
    postures: PerCpuHashMap<MapData, u64, u64>,
    checks: PerCpuHashMap<MapData, u64, [u64; repeats::COUNT]>,
    ring_fill: PerCpuArray<MapData, u64>,
    /// The hooks in use.
    pub hooks: Vec<Hook>,
    /// Hooks that were tried in vain, as others may tell the same.
    pub refused: Vec<Refused>,
    /// Members that this kernel lacks, with what cannot be told without them.
    pub missing: Vec<Missing>,
    /// The types of events that do not come: without those members, or as nobody wants them.
    pub unseen: Vec<&'static str>,
}

/// Reads the kernel's BTF from `path`.
///
/// # Errors
/// [`LoadError::NoBtf`] and [`LoadError::BadBtf`].
pub fn kernel_btf(path: &Path) -> Result<Btf, LoadError> {
    let data = fs::read(path).map_err(|why| LoadError::NoBtf {
        path: path.to_owned(),
        why,
    })?;
    Btf::parse(&data).map_err(|why| LoadError::BadBtf {
        path: path.to_owned(),
        why,
    })
}

/// Whether all is there that nothing works without.
///
/// # Errors
/// [`LoadError::UnknownKernel`] names what is not.
pub fn know_state(missing: &[Missing]) -> Result<(), LoadError> {
    let members = missing.iter().filter(|missing| missing.fact == Fact::State);
    let members: Vec<String> = members.map(|missing| missing.member.clone()).collect();
    match members.is_empty() {
        true => Ok(()),
        false => Err(LoadError::UnknownKernel(members)),
    }
}

impl KernelSide {
    /// Loads the kernel side and attaches its hooks. `wanted` tells which event types any rule
    /// needs: the call hook stays off if none of its calls is wanted.
    ///
    /// # Errors
    /// See [`LoadError`]; each says what to do.
    pub fn start(
        host: &HostNamespaces,
        options: Options<'_>,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Self, LoadError> {
        let object = OBJECT.ok_or(LoadError::NoObject)?;
        let lacking = privileges::missing();
        if !lacking.is_empty() {
            return Err(LoadError::NotPermitted(lacking));
        }
        let (offsets, mut missing) = offsets::find(&kernel_btf(options.btf)?);
        let off = |fact| missing.iter().any(|missing: &Missing| missing.fact == fact);
        let has_calls = !off(Fact::Calls);
        know_state(&missing)?;

        let offsets = offsets.to_words();
        let has_root_writes = has_calls && !off(Fact::RootWrites);
        let is_of_files = |name: &str| [ROOT_WRITE, VOLUME_WRITE].contains(&name);
        let wanted = |name: &str| wanted(name) && (!is_of_files(name) || has_root_writes);
        let settings = Settings {
            host_mnt_ns: host.get(falco_psp_common::record::namespace::MNT),
            deduplicate: options.deduplicate.into(),
            other_mounts: wanted(VOLUME_WRITE).into(),
            padding: 0,
            wake_fill: u64::from(options.ring_bytes / 4),
        }
        .to_bytes();
        let table = calls::table(wanted);
        let incidental = syscalls::incidental();
        let compat = compat::table();
        let mut ebpf = EbpfLoader::new()
            // Offsets are found above; reading the kernel's types once more would only cost.
            .btf(None)
            .override_global("OFFSETS", &offsets[..], true)
            .override_global("SETTINGS", &settings[..], true)
            .override_global("CALLS", &table[..], true)
            .override_global("CAPABLE_CALLS", &incidental[..], true)
            .override_global("COMPAT_CALLS", &compat[..], true)
            .map_max_entries("RING", options.ring_bytes)
            .load(object)
            .map_err(LoadError::Object)?;

        let mut attached = Attached {
            without: options.without_hooks,
            ..Attached::default()
        };
        let types = KernelBtf::from_sys_fs().map_err(|error| LoadError::Program {
            program: "exec",
            hook: "sched_process_exec",
            why: error.into(),
        })?;
        for hook in HOOKS {
            let needed = match hook.program {
                "calls" => {
                    let is_wanted = calls::CALLS.iter().any(|call| wanted(call.name));
                    (is_wanted || wanted(ROOT_WRITE) || wanted(VOLUME_WRITE)) && has_calls
                }
                "capable" | "capable_exit" | "capable_entry" => wanted(CAPABLE) && has_calls,
                _ => true,
            };
            if needed {
                attached.attach(&mut ebpf, hook, &types)?;
            }
        }
        missing.extend(attached.missing());
        let Attached { hooks, refused, .. } = attached;
        Ok(Self {
            #[cfg(feature = "debug-log")]
            logger: start_logger(&mut ebpf),
            ring: Some(RingEnd {
                ring: take(&mut ebpf, "RING")?,
                reader_asleep: take(&mut ebpf, "READER_ASLEEP")?,
            }),
            ledger: take(&mut ebpf, "LEDGER")?,
            postures: take(&mut ebpf, "POSTURES")?,
            checks: take(&mut ebpf, "CHECKS")?,
            ring_fill: take(&mut ebpf, "RING_FILL")?,
            ebpf: Some(ebpf),
            hooks,
            refused,
            unseen: unseen(&missing, wanted),
            missing,
        })
    }

    /// The reading end of the ring; it has one reader.
    ///
    /// # Errors
    /// It has been taken before.
    pub fn take_ring(&mut self) -> Result<RingEnd, LoadError> {
        let taken = || LoadError::Ring(io::Error::from(io::ErrorKind::ResourceBusy));
        self.ring.take().ok_or_else(taken)
    }

    /// Passes on what the kernel side has logged.
    #[cfg(feature = "debug-log")]
    pub fn flush_log(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }

    /// How often each posture came again after it was sent.
    pub fn repeats(&self) -> impl Iterator<Item = Repeats> {
        let postures = self.postures.iter().filter_map(Result::ok);
        let postures = postures.map(|(posture, counts)| Repeats {
            posture,
            times: counts.iter().sum(),
            last: None,
        });
        let checks = self.checks.iter().filter_map(Result::ok);
        let checks = checks.map(|(posture, of_cpus)| Repeats {
            posture,
            times: of_cpus.iter().map(|of_cpu| of_cpu[repeats::TIMES]).sum(),
            last: last_repeat(of_cpus.iter().copied()),
        });
        let all = postures.chain(checks);
        all.filter(|repeats| repeats.times > 0)
    }

    /// The most bytes that waited in the ring when a record was put in; `None` if the map cannot be
    /// read.
    pub fn ring_fill(&self) -> Option<u64> {
        let fills = self.ring_fill.get(&0, 0).ok()?;
        fills.iter().copied().max()
    }

    /// Detaches all programs: nothing more comes into the ring.
    pub fn disarm(&mut self) {
        self.ebpf = None;
    }
}

/// The last repeat, of what each processor has noted.
fn last_repeat(of_cpus: impl Iterator<Item = [u64; repeats::COUNT]>) -> Option<LastRepeat> {
    let last = of_cpus.max_by_key(|of_cpu| of_cpu[repeats::LAST_NS])?;
    Some(LastRepeat {
        time_ns: epoch_ns(last[repeats::LAST_NS]),
        pid: (last[repeats::PID] & u64::from(u32::MAX)) as u32,
    })
}

/// The types of events that do not come without these members, or as nobody wants them.
fn unseen(missing: &[Missing], wanted: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let lacks = |facts: &[Fact]| missing.iter().any(|missing| facts.contains(&missing.fact));
    let types = [
        (CAPABLE, lacks(&[Fact::Calls, Fact::CapabilityUse])),
        (ROOT_WRITE, lacks(&[Fact::Calls, Fact::RootWrites])),
        (VOLUME_WRITE, lacks(&[Fact::Calls, Fact::RootWrites])),
    ];
    let unseen = types
        .into_iter()
        .filter(|(event_type, lacks)| *lacks || !wanted(event_type));
    unseen.map(|(event_type, _)| event_type).collect()
}

#[cfg(feature = "debug-log")]
type Logger = aya_log::EbpfLogger<&'static dyn log::Log>;

/// The kernel side logs only if it was built for it.
#[cfg(feature = "debug-log")]
fn start_logger(ebpf: &mut Ebpf) -> Option<Logger> {
    let logger = Logger::init(ebpf);
    logger
        .inspect_err(|error| tracing::warn!(%error, "the kernel object does not log"))
        .ok()
}

fn take<M>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, LoadError>
where
    M: TryFrom<aya::maps::Map, Error = aya::maps::MapError>,
{
    let map = ebpf.take_map(name).ok_or(LoadError::Map {
        name,
        why: aya::maps::MapError::InvalidName {
            name: name.to_owned(),
        },
    })?;
    M::try_from(map).map_err(|why| LoadError::Map { name, why })
}
