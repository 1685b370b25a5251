//! What was seen, and what of it did not arrive: shown on every surface.

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
}

impl LostCount {
    /// All causes together.
    pub const fn total(&self) -> u64 {
        self.ring_full + self.recursion + self.map_full + self.decode
    }

    /// What came on top since `earlier`.
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            ring_full: self.ring_full.saturating_sub(earlier.ring_full),
            recursion: self.recursion.saturating_sub(earlier.recursion),
            map_full: self.map_full.saturating_sub(earlier.map_full),
            decode: self.decode.saturating_sub(earlier.decode),
        }
    }

    /// Adds more.
    pub const fn add(&mut self, more: &Self) {
        self.ring_full += more.ring_full;
        self.recursion += more.recursion;
        self.map_full += more.map_full;
        self.decode += more.decode;
    }
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
}
