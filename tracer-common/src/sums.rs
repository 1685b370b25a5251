//! What is added up, instead of told: entered, left and how long, who closed first, why it ended. By
//! which rules, [`crate::books`] says.

#![expect(
    clippy::inline_always,
    reason = "the verifier follows inlined code; a call costs it more than it saves"
)]

use core::mem::size_of;

use crate::{
    closing::{ClosedFirst, EndReason},
    state::COUNT,
};

/// Stays in one state: `found + entered + entered_unseen == left + left_unseen + open`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stays {
    /// Were there when somebody looked.
    pub found: u64,
    /// Changes into it.
    pub entered: u64,
    /// Times it was entered unseen.
    pub entered_unseen: u64,
    /// Changes out of it.
    pub left: u64,
    /// Times it was left unseen.
    pub left_unseen: u64,
    /// Stays that were measured at both ends.
    pub dwells: u64,
    /// How long these were together, each in whole µs.
    pub sum_us: u64,
    /// The longest, µs.
    pub max_us: u64,
    /// The shortest, as `!µs`: of zeros the first is the shortest, too.
    pub not_min_us: u64,
}

/// States that have [`Stays`]: all numbers that [`Sums::stays`] lets through.
pub const STATES: usize = 16;
/// Reasons that are counted.
pub const REASONS: usize = 32;

/// What one program counted on one CPU, or all of them together.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// By state.
    pub states: [Stays; STATES],
    /// Those that were closed, by [`ClosedFirst`].
    pub closed_first: [u64; 8],
    /// Changes to `CLOSE` other than from TIME_WAIT, by [`EndReason`].
    pub ended: [u64; REASONS],
    /// TIME_WAITs that ended, by [`EndReason`].
    pub time_wait_ended: [u64; REASONS],
    /// `connect` was called.
    pub active: u64,
    /// Came out of a listener.
    pub passive: u64,
    /// Connections that were there when somebody looked.
    pub preexisting: u64,
    /// Connections first seen in the middle of their life.
    pub unknown_starts: u64,
    /// Connections whose end was not seen.
    pub unseen_ends: u64,
    /// Never were connections: a RST answered.
    pub refused: u64,
    /// Nothing answered.
    pub timed_out: u64,
    /// Anything else.
    pub failed_otherwise: u64,
    /// Changes that do not follow from the one before.
    pub irregular: u64,
    /// Repeats of a change, which are not counted.
    pub repeats: u64,
    /// Sockets and minisocks, listeners too, first seen in the middle of their life.
    pub first_seen: u64,
}

const _: () = {
    assert!(EndReason::ALL.len() <= REASONS);
    assert!(ClosedFirst::ALL.len() <= 8);
    assert!(COUNT <= STATES);
};

/// Words of a [`Sums`].
pub const SUMS_WORDS: usize = size_of::<Sums>() / 8;

impl Sums {
    #[inline(always)]
    pub(crate) fn stays(&mut self, state: u8) -> &mut Stays {
        &mut self.states[usize::from(state) & (STATES - 1)]
    }

    #[inline(always)]
    pub(crate) fn closed(&mut self, first: u8) {
        let first = if first == 0 {
            ClosedFirst::Unknown as u8
        } else {
            first - 1
        };
        self.closed_first[usize::from(first) & 7] += 1;
    }

    #[inline(always)]
    pub(crate) fn failed(&mut self, reason: EndReason) {
        match reason {
            EndReason::Refused | EndReason::Reset => self.refused += 1,
            EndReason::Timeout => self.timed_out += 1,
            _ => self.failed_otherwise += 1,
        }
    }

    /// Adds another's. One may lie below zero, modulo 2^64: what one CPU counted another may have taken back.
    pub fn add(&mut self, more: &Self) {
        for (sum, more) in self.states.iter_mut().zip(&more.states) {
            sum.add(more);
        }
        add_all(&mut self.closed_first, &more.closed_first);
        add_all(&mut self.ended, &more.ended);
        add_all(&mut self.time_wait_ended, &more.time_wait_ended);
        self.active = self.active.wrapping_add(more.active);
        self.passive = self.passive.wrapping_add(more.passive);
        self.preexisting = self.preexisting.wrapping_add(more.preexisting);
        self.unknown_starts = self.unknown_starts.wrapping_add(more.unknown_starts);
        self.unseen_ends = self.unseen_ends.wrapping_add(more.unseen_ends);
        self.refused = self.refused.wrapping_add(more.refused);
        self.timed_out = self.timed_out.wrapping_add(more.timed_out);
        self.failed_otherwise = self.failed_otherwise.wrapping_add(more.failed_otherwise);
        self.irregular = self.irregular.wrapping_add(more.irregular);
        self.repeats = self.repeats.wrapping_add(more.repeats);
        self.first_seen = self.first_seen.wrapping_add(more.first_seen);
    }

    /// From the words of the map's value, in the order of the fields.
    pub fn from_words(words: &[u64; SUMS_WORDS]) -> Self {
        let mut words = words.iter().copied();
        let mut next = || words.next().unwrap_or(0);
        Self {
            states: core::array::from_fn(|_| Stays {
                found: next(),
                entered: next(),
                entered_unseen: next(),
                left: next(),
                left_unseen: next(),
                dwells: next(),
                sum_us: next(),
                max_us: next(),
                not_min_us: next(),
            }),
            closed_first: core::array::from_fn(|_| next()),
            ended: core::array::from_fn(|_| next()),
            time_wait_ended: core::array::from_fn(|_| next()),
            active: next(),
            passive: next(),
            preexisting: next(),
            unknown_starts: next(),
            unseen_ends: next(),
            refused: next(),
            timed_out: next(),
            failed_otherwise: next(),
            irregular: next(),
            repeats: next(),
            first_seen: next(),
        }
    }

    /// How many are in this state.
    pub fn open(&self, state: u8) -> u64 {
        let stays = &self.states[usize::from(state) & (STATES - 1)];
        let came = stays.found + stays.entered + stays.entered_unseen;
        // Each CPU is read at another moment: what went may have come where nobody looks any more.
        came.saturating_sub(stays.left + stays.left_unseen)
    }
}

/// Where a reason is counted. The compiler knows the bound, and would leave it out; the kernel's
/// verifier wants to see it.
#[inline(always)]
pub(crate) fn place(reason: EndReason) -> usize {
    usize::from(core::hint::black_box(reason as u8)) & (REASONS - 1)
}

fn add_all(sums: &mut [u64], more: &[u64]) {
    for (sum, more) in sums.iter_mut().zip(more) {
        *sum = sum.wrapping_add(*more);
    }
}

impl Stays {
    #[inline(always)]
    pub(crate) fn measured(&mut self, us: u64) {
        self.dwells += 1;
        self.sum_us += us;
        self.max_us = self.max_us.max(us);
        self.not_min_us = self.not_min_us.max(!us);
    }

    fn add(&mut self, more: &Self) {
        self.found = self.found.wrapping_add(more.found);
        self.entered = self.entered.wrapping_add(more.entered);
        self.entered_unseen = self.entered_unseen.wrapping_add(more.entered_unseen);
        self.left = self.left.wrapping_add(more.left);
        self.left_unseen = self.left_unseen.wrapping_add(more.left_unseen);
        self.dwells = self.dwells.wrapping_add(more.dwells);
        self.sum_us = self.sum_us.wrapping_add(more.sum_us);
        self.max_us = self.max_us.max(more.max_us);
        self.not_min_us = self.not_min_us.max(more.not_min_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_counted_is_taken_back() {
        let mut sums = Sums {
            passive: 1,
            ..Sums::default()
        };
        sums.states[3].entered = 1;
        let mut other = Sums {
            passive: 0_u64.wrapping_sub(1),
            ..Sums::default()
        };
        other.states[3].entered = other.passive;
        sums.add(&other);
        assert_eq!(sums, Sums::default());
    }

    #[test]
    fn sums_are_their_words() {
        let mut words = [0; SUMS_WORDS];
        for (i, word) in words.iter_mut().enumerate() {
            *word = i as u64;
        }
        let sums = Sums::from_words(&words);
        assert_eq!(sums.states[0].entered, 1);
        assert_eq!(sums.states[1].found, 9);
        assert_eq!(sums.first_seen, SUMS_WORDS as u64 - 1);
        let mut twice = sums;
        twice.add(&sums);
        assert_eq!(twice.active, 2 * sums.active);
        assert_eq!(twice.ended[3], 2 * sums.ended[3]);
        assert_eq!(twice.states[2].max_us, sums.states[2].max_us);
    }
}
