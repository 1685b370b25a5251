//! What the kernel side counts, per CPU, so that nothing is lost in silence.
//!
//! The identity `seen = filtered + submitted + ring_full + map_full` holds to the unit whenever no
//! program is running.

use core::mem::size_of;

/// One CPU's counters. Sums over the CPUs are what is shown.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// TCP state changes looked at: of sockets, and of timewait minisocks.
    pub seen: u64,
    /// Of these, not wanted by the filter.
    pub filtered: u64,
    /// Of these, handed to the ring buffer.
    pub submitted: u64,
    /// Of these, lost because the ring buffer was full.
    pub ring_full: u64,
    /// Of these, lost because a map was full.
    pub map_full: u64,
    /// State changes the twin submitted, filtered or lost in place of the first program. Part of
    /// `seen`.
    pub twin_caught: u64,
    /// Records about processes that found the ring buffer full: descriptions (sent again with the
    /// process's next event) and who holds a socket. Not part of `seen`.
    pub facts_ring_full: u64,
    /// Runs of the classic tracepoint program, all protocols.
    pub tracepoint_runs: u64,
    /// Runs of the witness beside it: what it exceeds `tracepoint_runs` by was skipped.
    pub witness_runs: u64,
}

/// How many numbers [`Counters`] has.
pub const COUNTERS: usize = size_of::<Counters>() / size_of::<u64>();

impl Counters {
    /// From the words of the map's value, in the order of the fields.
    pub const fn from_words(w: [u64; COUNTERS]) -> Self {
        let [
            seen,
            filtered,
            submitted,
            ring_full,
            map_full,
            twin_caught,
            facts_ring_full,
            tracepoint_runs,
            witness_runs,
        ] = w;
        Self {
            seen,
            filtered,
            submitted,
            ring_full,
            map_full,
            twin_caught,
            facts_ring_full,
            tracepoint_runs,
            witness_runs,
        }
    }

    /// Adds another CPU's.
    pub const fn add(&mut self, other: &Self) {
        self.seen += other.seen;
        self.filtered += other.filtered;
        self.submitted += other.submitted;
        self.ring_full += other.ring_full;
        self.map_full += other.map_full;
        self.twin_caught += other.twin_caught;
        self.facts_ring_full += other.facts_ring_full;
        self.tracepoint_runs += other.tracepoint_runs;
        self.witness_runs += other.witness_runs;
    }

    /// Whether every state change looked at is accounted for.
    pub const fn balanced(&self) -> bool {
        self.seen == self.filtered + self.submitted + self.ring_full + self.map_full
    }
}
