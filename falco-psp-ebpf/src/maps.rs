//! What the kernel side shares with the agent: read-only data and maps.

use aya_ebpf::{
    macros::map,
    maps::{Array, LruHashMap, LruPerCpuHashMap, PerCpuArray, RingBuf},
};
use falco_psp_common::{
    ledger,
    offsets::{Offsets, Settings},
    record::{call_class, repeats},
};

use crate::scratch::Scratch;

/// Where the members of kernel structures are.
#[unsafe(no_mangle)]
pub(crate) static OFFSETS: Offsets = Offsets::ABSENT;

/// What the agent wants.
#[unsafe(no_mangle)]
pub(crate) static SETTINGS: Settings = Settings {
    host_mnt_ns: 0,
    deduplicate: 0,
    other_mounts: 0,
    padding: 0,
    wake_fill: 0,
};

/// For each system call number, its `record::call_class`.
#[unsafe(no_mangle)]
pub(crate) static CALLS: [u8; call_class::TABLE] = [call_class::NONE; call_class::TABLE];

/// For each number of a 32-bit call, that of the 64-bit one, or `call_class::NO_CALL`.
#[unsafe(no_mangle)]
pub(crate) static COMPAT_CALLS: [u16; call_class::TABLE] = [call_class::NO_CALL; call_class::TABLE];

/// For each system call number, the capabilities that the kernel asks for in it although the call
/// does not need them: a bit each.
#[unsafe(no_mangle)]
pub(crate) static CAPABLE_CALLS: [u64; call_class::TABLE] = [0; call_class::TABLE];

/// Records on their way to the agent, which sets the size.
#[map]
pub(crate) static RING: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// One number: the most bytes that waited in the ring when a record was put in.
#[map]
pub(crate) static RING_FILL: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// `ledger::slot` → how many.
#[map]
pub(crate) static LEDGER: PerCpuArray<u64> = PerCpuArray::with_max_entries(ledger::SLOTS, 0);

/// Where a record is put together; one slot for each program, so that one which interrupts
/// another on the same CPU leaves the other's record alone.
#[map]
pub(crate) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(3, 0);

/// Hash of a posture → how often it came again after it was sent.
#[map]
pub(crate) static POSTURES: LruPerCpuHashMap<u64, u64> =
    LruPerCpuHashMap::with_max_entries(32_768, 0);

/// Hash of a check of a capability → its `record::repeats`. Apart from the postures: what these do not
/// need would cost them memory.
#[map]
pub(crate) static CHECKS: LruPerCpuHashMap<u64, [u64; repeats::COUNT]> =
    LruPerCpuHashMap::with_max_entries(8_192, 0);

/// Hash of a container and a directory → how many paths in it were told.
#[map]
pub(crate) static DIRECTORIES: LruHashMap<u64, u32> = LruHashMap::with_max_entries(16_384, 0);

/// Process id → the exec of a program that no mount holds.
#[map]
pub(crate) static UNMOUNTED: LruHashMap<u32, Unmounted> = LruHashMap::with_max_entries(4_096, 0);

/// A process that runs a program which no mount holds.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Unmounted {
    /// When the process started: tells it from a later one of the same id.
    pub(crate) start_ns: u64,
    /// The mount namespace that it executed the program in.
    pub(crate) mnt_ns: u64,
}

/// One number: 1 while the reader of the ring sleeps and has to be woken.
#[map]
pub(crate) static READER_ASLEEP: Array<u32> = Array::with_max_entries(1, 0);

/// The offset of a member, read so that the compiler cannot assume the value that the object file
/// holds: the agent replaces it.
#[macro_export]
macro_rules! offset {
    ($member:ident) => {
        // SAFETY: a plain read of initialised read-only data.
        unsafe { core::ptr::read_volatile(&raw const $crate::maps::OFFSETS.$member) }
    };
}

/// A setting, read like an offset.
#[macro_export]
macro_rules! setting {
    ($member:ident) => {
        // SAFETY: a plain read of initialised read-only data.
        unsafe { core::ptr::read_volatile(&raw const $crate::maps::SETTINGS.$member) }
    };
}
