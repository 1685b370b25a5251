//! What recent connections did, step by step: bounded. Those that have ended give way first, the
//! longest ended before the others; what is open is kept as long as there is room.

use std::{collections::VecDeque, time::Duration};

use hashbrown::HashMap;

use crate::engine::{ConnId, EndReason, Mono, TcpState, Transition};

/// Connections that are remembered: some 10 MB.
const MAX_LIVES: usize = 16_384;

/// Steps of one: the longest life that the protocol knows has seven.
const MAX_STEPS: usize = 10;

/// How the time before a step is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dwell {
    /// Both its ends were seen.
    Measured(Duration),
    /// At least so long.
    AtLeast(Duration),
    /// Its beginning was not seen.
    Unknown,
}

/// One transition of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub at: Mono,
    /// Time spent in `from`.
    pub dwell: Dwell,
    /// State left.
    pub from: TcpState,
    /// State entered.
    pub to: TcpState,
    /// Why it ended.
    pub reason: Option<EndReason>,
}

impl Step {
    fn of(t: &Transition) -> Self {
        let dwell = match (t.dwell, t.at_least) {
            (Some(dwell), _) => Dwell::Measured(dwell),
            (None, Some(at_least)) => Dwell::AtLeast(at_least),
            (None, None) => Dwell::Unknown,
        };
        Self {
            at: t.at,
            dwell,
            from: t.from,
            to: t.to,
            reason: t.end_reason,
        }
    }
}

/// What one connection did.
#[derive(Clone, Debug)]
pub struct Life {
    /// The latest transition.
    pub last: Transition,
    steps: [Step; MAX_STEPS],
    count: u8,
    /// Steps between the first and those that are kept.
    pub skipped: u32,
    /// It has ended, or only waits for its end.
    is_over: bool,
}

impl Life {
    fn begin(t: &Transition) -> Self {
        Self {
            last: *t,
            steps: [Step::of(t); MAX_STEPS],
            count: 1,
            skipped: 0,
            is_over: false,
        }
    }

    /// Another connection's, in place: what is beyond its first step is nobody's, and may stay.
    fn begin_anew(&mut self, t: &Transition) {
        self.last = *t;
        self.steps[0] = Step::of(t);
        self.count = 1;
        self.skipped = 0;
        self.is_over = false;
    }

    fn step(&mut self, t: &Transition) {
        self.last = *t;
        let count = usize::from(self.count);
        if count < MAX_STEPS {
            self.steps[count] = Step::of(t);
            self.count += 1;
        } else {
            // The first stays: it tells how it began.
            self.steps.copy_within(2.., 1);
            self.steps[MAX_STEPS - 1] = Step::of(t);
            self.skipped = self.skipped.saturating_add(1);
        }
    }

    /// Its steps, the first first.
    pub fn steps(&self) -> &[Step] {
        self.steps.get(..usize::from(self.count)).unwrap_or(&[])
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct History {
    places: HashMap<ConnId, usize>,
    lives: Vec<Life>,
    free: Vec<usize>,
    /// In the order of their ends.
    over: VecDeque<ConnId>,
    /// Connections that found no room, since as many were open.
    pub not_kept: u64,
}

impl Default for History {
    fn default() -> Self {
        Self {
            // Twice the room: keys that come and go then never make it grow.
            places: HashMap::with_capacity(2 * MAX_LIVES),
            lives: Vec::new(),
            free: Vec::new(),
            over: VecDeque::new(),
            not_kept: 0,
        }
    }
}

impl History {
    /// One transition.
    pub fn transition(&mut self, t: &Transition) {
        let Some(conn) = t.conn else {
            return;
        };
        let place = match self.places.get(&conn) {
            Some(place) => {
                self.lives[*place].step(t);
                *place
            }
            None => match self.insert(conn, t) {
                Some(place) => place,
                None => return,
            },
        };
        let life = &mut self.lives[place];
        if matches!(t.to, TcpState::TimeWait | TcpState::Close) && !life.is_over {
            life.is_over = true;
            self.over.push_back(conn);
        }
    }

    fn insert(&mut self, conn: ConnId, t: &Transition) -> Option<usize> {
        if self.places.len() >= MAX_LIVES {
            let Some(oldest) = self.over.pop_front() else {
                self.not_kept += 1;
                return None;
            };
            self.free.extend(self.places.remove(&oldest));
        }
        let place = if let Some(place) = self.free.pop() {
            self.lives[place].begin_anew(t);
            place
        } else {
            self.lives.push(Life::begin(t));
            self.lives.len() - 1
        };
        self.places.insert(conn, place);
        Some(place)
    }

    /// What a connection did, if it is remembered.
    pub fn of(&self, conn: ConnId) -> Option<&Life> {
        self.lives.get(*self.places.get(&conn)?)
    }

    /// All that are remembered, in no order that means anything.
    pub fn lives(&self) -> impl Iterator<Item = &Life> {
        self.places.values().filter_map(|at| self.lives.get(*at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_gives_way_to_what_comes() {
        let mut history = History::default();
        let open = Transition::made(1, TcpState::SynSent, TcpState::Established);
        history.transition(&open);
        for conn in 2..3 * MAX_LIVES as u64 {
            history.transition(&Transition::made(conn, TcpState::LastAck, TcpState::Close));
        }
        assert_eq!(history.lives().count(), MAX_LIVES);
        assert!(history.of(ConnId(1)).is_some(), "it is still open");
        assert!(history.of(ConnId(2)).is_none());
        assert_eq!(history.not_kept, 0);
    }

    #[test]
    fn open_ones_are_kept_and_more_are_counted() {
        let mut history = History::default();
        for conn in 0..MAX_LIVES as u64 + 3 {
            history.transition(&Transition::made(
                conn,
                TcpState::SynSent,
                TcpState::Established,
            ));
        }
        assert_eq!((history.lives().count(), history.not_kept), (MAX_LIVES, 3));
    }

    #[test]
    fn a_long_life_keeps_its_beginning_and_its_end() {
        let mut history = History::default();
        history.transition(&Transition::made(1, TcpState::Close, TcpState::SynSent));
        for _ in 0..20 {
            history.transition(&Transition::made(
                1,
                TcpState::Established,
                TcpState::Established,
            ));
        }
        history.transition(&Transition::made(1, TcpState::LastAck, TcpState::Close));
        let life = history.of(ConnId(1)).unwrap();
        assert_eq!(life.steps()[0].to, TcpState::SynSent);
        assert_eq!(life.steps()[MAX_STEPS - 1].to, TcpState::Close);
        assert_eq!(u64::from(life.skipped), 22 - MAX_STEPS as u64);
    }
}
