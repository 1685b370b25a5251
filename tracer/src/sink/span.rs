//! The time that a run or a recording covers, on both clocks: from its first event or reading of the wall
//! clock to the latest reading.

use jiff::Timestamp;

use super::row::WallClock;
use crate::engine::{Mono, Span};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Covered {
    clock: WallClock,
    first_clock: WallClock,
    began: Option<Mono>,
    latest: Mono,
}

impl Covered {
    /// Something happened; when all began.
    pub(super) fn event(&mut self, at: Mono) -> Mono {
        *self.began.get_or_insert(at)
    }

    /// The wall clock was read.
    pub(super) fn clock(&mut self, at: Mono, wall_ns: i64) {
        if self.began.is_none() {
            self.began = Some(at);
            self.first_clock.set(at, wall_ns);
        }
        self.latest = at;
        self.clock.set(at, wall_ns);
    }

    /// By the kernel's clock.
    pub(super) fn span(&self) -> Span {
        Span {
            start: self.began.unwrap_or(self.latest),
            end: self.latest,
        }
    }

    /// By the wall clock: as it was when it began, and as it is now.
    pub(super) fn times(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        let span = self.span();
        (self.first_clock.at(span.start), self.clock.at(span.end))
    }

    /// The time of day at a moment, as the wall clock is known now.
    pub(super) fn at(&self, at: Mono) -> Option<Timestamp> {
        self.clock.at(at)
    }
}
