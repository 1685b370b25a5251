//! Connections one by one: each is handed out whole, when it has ended or the window of time does.
//!
//! What `window` adds up, for those who want a row or a track for each. As many are kept as the engine
//! follows, a few hundred bytes each.

use std::time::Duration;

use hashbrown::HashMap;

use super::{
    connection::ConnId,
    course::{Course, Outcome, is_birth, is_older},
    machine::Engine,
    open::OpenSocket,
    state::TcpState,
    time::Mono,
    update::{Irregularity, Transition},
};

/// Stays that are kept of a connection. TCP knows no life of more than seven; beyond it only the last
/// is true.
const MAX_STAYS: usize = 32;

/// One stay in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    /// Where.
    pub state: TcpState,
    /// When it was entered, or since when it is known to have been there.
    pub from: Mono,
    /// Whether the entry was told (or stamped by the kernel).
    pub is_entry_known: bool,
    /// How long it was, if that was measured at both ends.
    pub dwell: Option<Duration>,
}

/// One connection.
#[derive(Clone, Debug)]
pub struct Life {
    /// How it began, and what became of it.
    pub course: Course,
    /// How it left the window.
    pub outcome: Outcome,
    /// What was told last: whose it is, and between whom. Of an open one, the change into the state
    /// that it is in.
    pub last: Transition,
    /// When it was opened, if that was told.
    pub opened: Option<Mono>,
    /// When it ended, was found to have ended, or the window did.
    pub until: Mono,
    /// Where it was, in order.
    pub stays: Vec<Stay>,
    /// Transitions that were told.
    pub transitions: u32,
    /// Nothing of it is missing, as far as it was told.
    pub is_exact: bool,
}

impl Life {
    fn begin(t: &Transition, start: Mono) -> Self {
        let mut life = Self::new(Course::begin(t, start), t);
        if is_birth(t) {
            life.opened = Some(t.at);
        } else {
            let before = t.dwell.or(t.at_least).unwrap_or_default();
            let from = t.at.minus(before);
            life.enter(t.from, from, is_older(t, start) && t.dwell.is_some());
        }
        life
    }

    fn found(open: &OpenSocket, now: Mono) -> Self {
        let mut life = Self::new(Course::found(&open.last, open.in_minisock), &open.last);
        let from = now.minus(open.age.unwrap_or_default());
        life.enter(open.last.to, from, open.age_is_exact);
        life
    }

    fn new(course: Course, t: &Transition) -> Self {
        Self {
            course,
            outcome: Outcome::Lost,
            last: *t,
            opened: None,
            until: t.at,
            stays: Vec::new(),
            transitions: 0,
            is_exact: true,
        }
    }

    /// The next transition; whether it was the last.
    fn step(&mut self, t: &Transition) -> bool {
        self.transitions = self.transitions.saturating_add(1);
        self.is_exact &= t.exact;
        if !is_birth(t) {
            self.be_in(t.from, t.at);
            if let Some(stay) = self.stays.last_mut() {
                stay.dwell = t.dwell;
            }
        }
        self.last = *t;
        self.until = t.at;
        let outcome = self.course.step(t);
        match outcome {
            Some(outcome) => self.outcome = outcome,
            None => self.enter(t.to, t.at, true),
        }
        outcome.is_some()
    }

    /// It is in this state by now; how it got there was told, or else not seen.
    fn be_in(&mut self, state: TcpState, at: Mono) {
        if self.stays.last().is_none_or(|stay| stay.state != state) {
            self.enter(state, at, false);
        }
    }

    fn enter(&mut self, state: TcpState, from: Mono, is_entry_known: bool) {
        self.course.visited.insert(state);
        if self.stays.len() == MAX_STAYS {
            self.is_exact = false;
            self.stays.pop();
        }
        self.stays.push(Stay {
            state,
            from,
            is_entry_known,
            dwell: None,
        });
    }

    /// How long it was in a state, all stays together; `None`: never, or not all were measured.
    pub fn dwell(&self, state: TcpState) -> Option<Duration> {
        let mut stays = self.stays.iter().filter(|s| s.state == state).peekable();
        stays.peek()?;
        stays.map(|stay| stay.dwell).sum()
    }

    /// The state that it is in, or was in last.
    pub fn state(&self) -> Option<TcpState> {
        self.stays.last().map(|stay| stay.state)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Lives {
    lives: HashMap<ConnId, Life>,
}

impl Lives {
    /// The state that a connection is known to be in.
    pub fn state(&self, conn: Option<ConnId>) -> Option<TcpState> {
        self.lives.get(&conn?)?.state()
    }

    /// One transition; the connection, if it has ended with it. `start`: of the window.
    pub fn transition(&mut self, t: &Transition, start: Mono) -> Option<Life> {
        let Some(conn) = t.conn else {
            // The engine has no room to follow it: what is told is all.
            let mut life = Life::begin(t, start);
            life.step(t);
            return Some(life);
        };
        let life = self
            .lives
            .entry(conn)
            .or_insert_with(|| Life::begin(t, start));
        if life.step(t) {
            return self.lives.remove(&conn);
        }
        None
    }

    /// A connection, if it turned out to have ended unseen.
    pub fn irregular(&mut self, irregularity: &Irregularity) -> Option<Life> {
        let over = irregularity
            .replaced
            .then(|| self.lives.remove(&irregularity.conn))??;
        Some(Life {
            until: irregularity.at,
            is_exact: false,
            ..over
        })
    }

    /// A connection that is not wanted after all, as far as it was told.
    pub fn forget(&mut self, conn: ConnId) -> Option<Life> {
        self.lives.remove(&conn)
    }

    /// The end of the window: hands out the connections that are open then, and those whose end was
    /// not seen.
    pub fn close<E>(
        &mut self,
        engine: &Engine,
        end: Mono,
        mut each: impl FnMut(Life) -> Result<(), E>,
    ) -> Result<(), E> {
        for open in engine.open_sockets(end) {
            let known = open.last.conn.and_then(|conn| self.lives.remove(&conn));
            let mut life = known.unwrap_or_else(|| Life::found(&open, end));
            life.be_in(open.last.to, open.last.at);
            life.last = open.last;
            life.until = end;
            life.outcome = Outcome::Open {
                orphan: open.in_minisock,
            };
            each(life)?;
        }
        let mut lost: Vec<_> = self.lives.drain().collect();
        lost.sort_unstable_by_key(|(conn, _)| *conn);
        for (_, life) in lost {
            each(Life {
                is_exact: false,
                ..life
            })?;
        }
        Ok(())
    }
}
