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
#[derive(Clone, Debug, Default)]
pub struct History {
    places: HashMap<ConnId, usize>,
    lives: Vec<Life>,
    free: Vec<usize>,
    /// In the order of their ends.
    over: VecDeque<ConnId>,
    /// Connections that found no room, since as many were open.
    pub not_kept: u64,
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
            self.lives[place] = Life::begin(t);
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
