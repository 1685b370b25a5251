//! All maps, and what each one remembers.

use aya_ebpf::{
    macros::map,
    maps::{Array, LruHashMap, PerCpuArray, RingBuf},
};
use tracer_common::{counters::Counters, filter::FilterConfig};

use crate::{
    emit::COUNTING,
    owner::{Facts, RECENT_PROCESSES, Recent},
    probe::timewait::Birth,
    twin::Notes,
};

/// The way out. Its size is the tool's `--ring-size`.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(16 << 20, 0);

/// Each CPU's counters, an entry for each program.
#[map]
pub static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(COUNTING, 0);

/// Each CPU's notes from the first program to its twin, one entry.
#[map]
pub static NOTES: PerCpuArray<Notes> = PerCpuArray::with_max_entries(1, 0);

/// The filter's criteria, one entry; written before attaching, never after.
#[map]
pub static FILTER: Array<FilterConfig> = Array::with_max_entries(1, 0);

/// Processes already described to user space, and how. The least recently seen gives way: it is
/// then described again.
#[map]
pub static PROCESSES: LruHashMap<u32, Facts> = LruHashMap::with_max_entries(8192, 0);

/// Those seen last on each CPU, by the low bits of their id: most events need no look above.
#[map]
pub static RECENT: PerCpuArray<Recent> = PerCpuArray::with_max_entries(RECENT_PROCESSES, 0);

/// From a minisock's birth to its socket's change to `CLOSE`, which follows on the same CPU.
#[map]
pub static BIRTHS: PerCpuArray<Birth> = PerCpuArray::with_max_entries(1, 0);

/// Sockets (address to cookie) whose reader user space knows: it is told once. The least recently
/// used gives way, and is told again.
#[map]
pub static READERS: LruHashMap<u64, u64> = LruHashMap::with_max_entries(65_536, 0);
