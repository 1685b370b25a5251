//! What was seen, and what of it did not arrive: shown on every surface.

use tracer_common::counters::Counters;

use super::inspected::Unseen;

/// Events lost since the last such report, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LostCount {
    /// The ring buffer was full.
    pub ring_full: u64,
    /// A nested run was skipped and the twin did not catch it either.
    pub recursion: u64,
    /// A kernel map was full.
    pub map_full: u64,
    /// A record arrived that could not be understood.
    pub decode: u64,
    /// The recorder could not keep up, or the recording is damaged.
    pub recording: u64,
}

impl LostCount {
    /// All causes together. As all sums here it holds for any numbers: a recording may say anything.
    pub const fn total(&self) -> u64 {
        self.ring_full
            .saturating_add(self.recursion)
            .saturating_add(self.map_full)
            .saturating_add(self.decode)
            .saturating_add(self.recording)
    }

    /// What came on top since `earlier`.
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            ring_full: self.ring_full.saturating_sub(earlier.ring_full),
            recursion: self.recursion.saturating_sub(earlier.recursion),
            map_full: self.map_full.saturating_sub(earlier.map_full),
            decode: self.decode.saturating_sub(earlier.decode),
            recording: self.recording.saturating_sub(earlier.recording),
        }
    }

    /// Adds more.
    pub const fn add(&mut self, more: &Self) {
        self.ring_full = self.ring_full.saturating_add(more.ring_full);
        self.recursion = self.recursion.saturating_add(more.recursion);
        self.map_full = self.map_full.saturating_add(more.map_full);
        self.decode = self.decode.saturating_add(more.decode);
        self.recording = self.recording.saturating_add(more.recording);
    }
}

/// What the kernel side counted in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Sums over the CPUs.
    pub counters: Counters,
    /// Everything lost so far, by cause.
    pub lost: LostCount,
    /// Runs that the kernel skipped; those that a twin caught are in `counters`.
    pub skipped: u64,
    /// Runs of the hooks for minisocks that the kernel skipped: of any timer, on the timer rung, so
    /// that most or all of them were none of ours.
    pub timewait_skipped: u64,
}

/// The account of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LossLedger {
    /// State changes that reached the engine.
    pub delivered: u64,
    /// What did not.
    pub lost: LostCount,
    /// State changes that disagree with what we knew of the socket.
    pub irregular: u64,
    /// Exact repeats, dropped (the twin program told what the first had told).
    pub repeats: u64,
    /// Reports of a state that the connection was in already: no transition.
    pub unchanged: u64,
    /// Transitions told late, from the report of the next one.
    pub implied: u64,
    /// Connections and listeners that were there before the trace.
    pub preexisting: u64,
    /// Connections first seen in the middle of their life.
    pub unknown_starts: u64,
    /// Connections not followed, because the table was full.
    pub untracked: u64,
    /// Where sockets older than the run could not be looked for.
    pub unseen: Unseen,
}
