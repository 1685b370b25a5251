//! The rules by which changes are added up, instead of told.
//!
//! On hosts with more changes than can be read, the kernel programs do this themselves. What they keep
//! of a connection is one [`Life`]; what they count are [`Sums`], and dwells by
//! [`bucket`](crate::buckets::bucket). The rules
//! are those by which the engine and a report's window count a stream of changes, and the scenarios of
//! the engine are played through both. Here they are pure: [`Lives`] is a map of the kernel, or of a
//! test.

#![expect(
    clippy::inline_always,
    reason = "the verifier follows inlined code; a call costs it more than it saves"
)]

use core::mem::size_of;

use crate::{
    closing::{
        ClosedFirst, EndReason, Evidence, closed_first, counts_as_closed, end_reason, is_opening,
        was_closed_first,
    },
    state::{CLOSE, FIN_WAIT2, LISTEN, SYN_RECV, SYN_SENT, TIME_WAIT},
    sums::{Sums, place},
};

/// [`Life::entry`]: the entry into the state was not seen.
pub const UNSEEN: u8 = 0;
/// It was entered at [`Life::since`] or before.
pub const NOT_LATER: u8 = 1;
/// It was entered at [`Life::since`].
pub const KNOWN: u8 = 2;

/// A connection or a listener that is followed. All zeros are none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// When it entered `state`: `CLOCK_MONOTONIC`, ns.
    pub since: u64,
    /// Where it is.
    pub state: u8,
    /// Where it was before, to recognise a repeat; 0: it was found where it is.
    pub previous: u8,
    /// What `since` is worth: [`UNSEEN`], [`NOT_LATER`] or [`KNOWN`].
    pub entry: u8,
    /// Who closed first, a [`ClosedFirst`] and one; 0: not known yet.
    pub first: u8,
    /// 1: a minisock stands for it.
    pub in_minisock: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// Those that are followed, by the kernel's address of their socket or minisock; and how long they
/// stayed where.
pub trait Lives {
    /// The one at this address.
    fn get(&mut self, address: u64) -> Option<&mut Life>;
    /// Puts one there, whatever was there before; `false`: there is no room.
    fn put(&mut self, address: u64, life: &Life) -> bool;
    /// Puts one there if there is none; `false`: there is one, or no room.
    fn put_new(&mut self, address: u64, life: &Life) -> bool;
    /// Forgets the one there.
    fn remove(&mut self, address: u64);
    /// Counts a stay in a state, µs.
    fn dwelt(&mut self, state: u8, us: u64);
}

const _: () = assert!(size_of::<Life>() == 16);

/// What takes over from a socket that changes to `CLOSE`; by default nothing: it is closed. No
/// alternatives with contents: what one of them leaves unset would be whatever a register held, and the
/// kernel's verifier lets nobody store that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heir {
    /// A minisock's address.
    pub tw: u64,
    /// The state that it stands for; 0: there is none.
    pub state: u8,
    /// Why there is none, where there should have been one.
    pub refused: Option<EndReason>,
}

/// A change of a full socket.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// The socket's address.
    pub sk: u64,
    /// When, ns.
    pub at: u64,
    /// State left.
    pub from: u8,
    /// State entered, of the socket.
    pub to: u8,
    /// A program tells it that stands behind another.
    pub twin: bool,
    /// What the socket says of itself at its end.
    pub evidence: Evidence,
    /// Whether it was asked.
    pub looked: bool,
    /// Whether it had a local port.
    pub port: bool,
    /// What takes over.
    pub heir: Heir,
}

impl Change {
    /// The connection's next state.
    #[inline(always)]
    const fn next(&self) -> u8 {
        if self.heir.state == 0 {
            self.to
        } else {
            self.heir.state
        }
    }

    #[inline(always)]
    fn evidence(&self) -> Option<&Evidence> {
        self.looked.then_some(&self.evidence)
    }
}

/// The end of a minisock.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// Its address.
    pub tw: u64,
    /// When, ns.
    pub at: u64,
    /// The state that it stood for.
    pub state: u8,
    /// Why.
    pub reason: EndReason,
    /// When it was entered, as the kernel stamped it (6.14), ns.
    pub stamp: Option<u64>,
    /// When its timer was set, worked out, ns.
    pub timer_set: Option<u64>,
}

/// Whether a change was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Counted {
    /// It was, or is not to be.
    Yes,
    /// There was no room for its connection.
    Full,
}

/// Where a change is counted.
#[derive(Debug)]
pub struct Books<'a, L> {
    /// Those that are followed.
    pub lives: L,
    /// What is counted of them.
    pub sums: &'a mut Sums,
}

impl<L: Lives> Books<'_, L> {
    /// A full socket changed.
    #[inline(always)]
    pub fn change(&mut self, change: &Change) -> Counted {
        let opening = is_opening(change.from, change.to);
        let Some(life) = self.lives.get(change.sk) else {
            return self.first_sight(change);
        };
        let before = *life;
        if change.twin && (before.previous, before.state) == (change.from, change.to) {
            self.sums.repeats += 1;
            return Counted::Yes;
        }
        // Whoever was there is gone, and nobody saw it.
        if opening {
            self.lost(&before);
            return self.first_sight(change);
        }
        if (change.from, change.to) == (CLOSE, CLOSE) {
            self.lost(&before);
            self.lives.remove(change.sk);
            return Counted::Yes;
        }
        let to = change.next();
        let first = match closed_first(change.from, to, change.evidence()) {
            Some(first) if before.first == 0 => first as u8 + 1,
            _ => before.first,
        };
        let mut after = Life {
            previous: change.from,
            first,
            ..before
        };
        if before.state != change.from {
            self.sums.irregular += 1;
            self.sums.stays(before.state).left_unseen += 1;
            if change.from != CLOSE {
                self.sums.stays(change.from).entered_unseen += 1;
            }
            after.entry = UNSEEN;
        }
        // A report of the same state is no transition.
        if change.from == to {
            after.previous = before.previous;
            after.state = to;
        } else {
            if change.from != CLOSE {
                self.leave(change.from, &after, change.at);
            }
            after.state = to;
            after.since = change.at;
            after.entry = KNOWN;
            self.sums.stays(to).entered += 1;
        }
        if change.to == CLOSE {
            return self.socket_gone(change, after);
        }
        if let Some(life) = self.lives.get(change.sk) {
            *life = after;
        }
        Counted::Yes
    }

    /// The first change of a connection that is seen.
    #[inline(always)]
    fn first_sight(&mut self, change: &Change) -> Counted {
        let from = change.from;
        let to = change.next();
        // A report of the same state is no transition.
        if from == change.to && change.heir.state == 0 {
            return Counted::Yes;
        }
        // The first program told it already, and it is gone.
        if change.twin && change.to == CLOSE {
            self.sums.repeats += 1;
            return Counted::Yes;
        }
        let life = Life {
            since: change.at,
            state: to,
            previous: from,
            entry: if from == to { UNSEEN } else { KNOWN },
            first: closed_first(from, to, change.evidence()).map_or(0, |first| first as u8 + 1),
            in_minisock: 0,
            reserved: [0; 3],
        };
        if change.to != CLOSE && !self.lives.put(change.sk, &life) {
            return Counted::Full;
        }
        if !is_opening(from, to) {
            self.sums.first_seen += 1;
        }
        match (from, to) {
            (CLOSE, SYN_SENT) => self.sums.active += 1,
            (LISTEN, SYN_RECV) => self.sums.passive += 1,
            (LISTEN, _) | (_, LISTEN) => {}
            _ => self.sums.unknown_starts += 1,
        }
        if from == CLOSE {
            self.sums.stays(CLOSE).left += 1;
        } else if (from, to) != (LISTEN, SYN_RECV) {
            // A child begins with its listener's state; the listener stays.
            self.sums.stays(from).entered_unseen += 1;
            if from != to {
                self.sums.stays(from).left += 1;
            }
        }
        if from != to {
            self.sums.stays(to).entered += 1;
        }
        if change.to == CLOSE {
            return self.socket_gone(change, life);
        }
        Counted::Yes
    }

    /// A full socket is closed: forgotten, or followed on in the minisock that took over.
    #[inline(always)]
    fn socket_gone(&mut self, change: &Change, life: Life) -> Counted {
        self.lives.remove(change.sk);
        let reason = match change.heir.refused {
            Some(reason) => Some(reason),
            None => end_reason(change.from, change.port, change.evidence()),
        };
        if counts_as_closed(change.from) {
            self.sums.closed(life.first);
        } else if change.from != LISTEN {
            self.sums.failed(reason.unwrap_or(EndReason::Unknown));
        }
        if change.heir.state != 0 {
            return self.succeed(change.heir.tw, life);
        }
        if let Some(reason) = reason {
            self.sums.ended[place(reason)] += 1;
        }
        Counted::Yes
    }

    /// A minisock stands for it from here on.
    #[inline(always)]
    fn succeed(&mut self, tw: u64, mut life: Life) -> Counted {
        life.in_minisock = 1;
        if let Some(left_over) = self.lives.get(tw) {
            let left_over = *left_over;
            self.lost(&left_over);
        }
        if self.lives.put(tw, &life) {
            return Counted::Yes;
        }
        self.sums.stays(life.state).left_unseen += 1;
        Counted::Full
    }

    /// It is not wanted after all: its opening is taken back.
    #[inline(always)]
    pub fn forget(&mut self, sk: u64) {
        let Some(life) = self.lives.get(sk) else {
            return;
        };
        let life = *life;
        self.lives.remove(sk);
        let sums = &mut *self.sums;
        sums.stays(life.state).entered = sums.stays(life.state).entered.wrapping_sub(1);
        match (life.previous, life.state) {
            (CLOSE, SYN_SENT) => sums.active = sums.active.wrapping_sub(1),
            (LISTEN, SYN_RECV) => sums.passive = sums.passive.wrapping_sub(1),
            _ => {}
        }
        if life.previous == CLOSE {
            sums.stays(CLOSE).left = sums.stays(CLOSE).left.wrapping_sub(1);
        }
    }

    /// A minisock's timer was set anew, and it stands for `state` now. In FIN_WAIT2 that is the peer's
    /// FIN; in TIME_WAIT it restarts the time, which is no transition.
    #[inline(always)]
    pub fn rearmed(&mut self, tw: u64, state: u8, at: u64) {
        let Some(life) = self.lives.get(tw) else {
            return;
        };
        if (life.state, state) != (FIN_WAIT2, TIME_WAIT) {
            return;
        }
        let before = *life;
        life.previous = FIN_WAIT2;
        life.state = TIME_WAIT;
        life.since = at;
        life.entry = KNOWN;
        self.goes_on(&before);
        self.leave(FIN_WAIT2, &before, at);
        self.sums.stays(TIME_WAIT).entered += 1;
    }

    /// A minisock is gone.
    #[inline(always)]
    pub fn minisock_end(&mut self, end: &End) {
        let known = self.lives.get(end.tw).map(|life| *life);
        let life = match known {
            Some(life) if life.state == end.state || life.state == FIN_WAIT2 => {
                self.lives.remove(end.tw);
                self.goes_on(&life);
                life
            }
            Some(other) => {
                self.lives.remove(end.tw);
                self.lost(&other);
                self.discovered(end)
            }
            None => self.discovered(end),
        };
        let life = if life.state == end.state {
            life
        } else {
            self.fin_came_unseen(&life, end)
        };
        let life = match end.stamp {
            Some(stamp) if end.state == TIME_WAIT && life.entry == NOT_LATER => Life {
                since: stamp,
                entry: KNOWN,
                ..life
            },
            _ => life,
        };
        self.leave(end.state, &life, end.at);
        self.sums.stays(CLOSE).entered += 1;
        let reason = place(end.reason);
        if end.state == TIME_WAIT {
            self.sums.time_wait_ended[reason] += 1;
        } else {
            self.sums.ended[reason] += 1;
        }
    }

    /// A minisock that was found in FIN_WAIT2 is a connection that was there before, once it shows.
    #[inline(always)]
    fn goes_on(&mut self, life: &Life) {
        if (life.state, life.previous) == (FIN_WAIT2, 0) {
            self.sums.preexisting += 1;
            self.sums.closed(ClosedFirst::Local as u8 + 1);
        }
    }

    /// First seen at its end: its birth was lost.
    #[inline(always)]
    fn discovered(&mut self, end: &End) -> Life {
        self.sums.first_seen += 1;
        self.sums.stays(end.state).entered_unseen += 1;
        if end.state == FIN_WAIT2 {
            self.sums.unknown_starts += 1;
            self.sums.closed(ClosedFirst::Local as u8 + 1);
        }
        let stamp = if end.state == TIME_WAIT {
            end.stamp
        } else {
            None
        };
        Life {
            since: stamp.unwrap_or(0),
            state: end.state,
            entry: if stamp.is_some() { KNOWN } else { UNSEEN },
            in_minisock: 1,
            ..Life::default()
        }
    }

    /// The FIN came while nobody looked: when, the minisock may know.
    #[inline(always)]
    fn fin_came_unseen(&mut self, life: &Life, end: &End) -> Life {
        /// `tw_entry_stamp` counts milliseconds.
        const STAMP_UNIT_NS: u64 = 1_000_000;
        // The stamp of the birth is no news: the FIN carried no timestamp.
        let news = |stamp: &u64| life.entry < KNOWN || *stamp > life.since + STAMP_UNIT_NS;
        let entered = end.stamp.filter(news).or(end.timer_set);
        let came = entered.unwrap_or(end.at).max(life.since).min(end.at);
        // Both the dwell that ends there and the one that begins are worth no more than this.
        let worth = if entered.is_some() { KNOWN } else { UNSEEN };
        let before = Life {
            entry: life.entry.min(worth),
            ..*life
        };
        self.leave(FIN_WAIT2, &before, came);
        self.sums.stays(TIME_WAIT).entered += 1;
        Life {
            since: came,
            state: TIME_WAIT,
            entry: worth,
            ..*life
        }
    }

    /// A socket (or minisock) is there that was there before. `entered`: the kernel's stamp.
    #[inline(always)]
    pub fn found(
        &mut self,
        address: u64,
        state: u8,
        in_minisock: bool,
        at: u64,
        entered: Option<u64>,
    ) -> Counted {
        let life = Life {
            since: entered.unwrap_or(at),
            state,
            previous: 0,
            entry: if entered.is_some() { KNOWN } else { NOT_LATER },
            first: was_closed_first(state).map_or(0, |first| first as u8 + 1),
            in_minisock: u8::from(in_minisock),
            reserved: [0; 3],
        };
        if !self.lives.put_new(address, &life) {
            // It is followed already, or there is no room.
            let followed = self.lives.get(address).is_some();
            return if followed {
                Counted::Yes
            } else {
                Counted::Full
            };
        }
        self.sums.stays(state).found += 1;
        // Who only waits was closed before.
        self.sums.preexisting += u64::from(!in_minisock && state != LISTEN);
        Counted::Yes
    }

    /// A stay ends.
    #[inline(always)]
    fn leave(&mut self, state: u8, life: &Life, at: u64) {
        let stays = self.sums.stays(state);
        stays.left += 1;
        if life.entry == KNOWN {
            let us = at.saturating_sub(life.since) / 1000;
            stays.measured(us);
            self.lives.dwelt(state, us);
        }
    }

    /// One was followed that is gone.
    #[inline(always)]
    fn lost(&mut self, life: &Life) {
        self.sums.irregular += 1;
        self.sums.stays(life.state).left_unseen += 1;
        if life.in_minisock == 0 && life.state != LISTEN {
            self.sums.unseen_ends += 1;
        }
    }
}
