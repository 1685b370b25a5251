//! All maps, and what each one remembers.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use tracer_common::{
    books::Life, buckets::BUCKET_WORDS, counters::Counters, filter::FilterConfig, frames::Frames,
    record::STACK_FRAMES, sums::Sums,
};

use crate::{
    emit::COUNTING,
    owner::{Facts, RECENT_PROCESSES, Recent},
    probe::timewait::Allocation,
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

/// From where a minisock was refused to its socket's change to `CLOSE`, mostly on the same CPU.
#[map]
pub static ALLOCATIONS: PerCpuArray<Allocation> = PerCpuArray::with_max_entries(1, 0);

/// Sockets (address to cookie) whose reader user space knows: it is told once. The least recently
/// used gives way, and is told again.
#[map]
pub static READERS: LruHashMap<u64, u64> = LruHashMap::with_max_entries(65_536, 0);

/// What is followed where changes are added up, by the address of the socket or the minisock. Its
/// size is the tool's `--max-connections`, as that of the next three: one entry where it streams.
#[map]
pub static LIVES: HashMap<u64, Life> = HashMap::with_max_entries(1, 0);

/// What was added up, on each CPU an entry for each program, as the counters.
#[map]
pub static SUMS: PerCpuArray<Sums> = PerCpuArray::with_max_entries(1, 0);

/// How long the stays were, on each CPU an entry for each state.
#[map]
pub static DWELLS: PerCpuArray<[u64; BUCKET_WORDS]> = PerCpuArray::with_max_entries(1, 0);

/// Room for a stack, on each CPU an entry for each program.
#[map]
pub static STACKS: PerCpuArray<[u64; STACK_FRAMES]> = PerCpuArray::with_max_entries(COUNTING, 0);

/// What the functions on a stack mean, one entry; written before attaching, never after.
#[map]
pub static FRAMES: Array<Frames> = Array::with_max_entries(1, 0);
