//! Whole connections for sinks that have a row or a track for each: those that are wanted, with what may
//! be shown of them.

use std::{rc::Rc, sync::Arc};

use anyhow::Result;
use hashbrown::HashMap;
use tracer_common::filter::Verdict;

use super::span::Covered;
use crate::{
    anonymize::Pseudonyms,
    engine::{Engine, Life, Lives, Mono, StateSet, Transition, Update},
    filter::Filter,
};

/// Paths of cgroups that are remembered; of more, only the number is told.
const MAX_CGROUPS: usize = 65_536;

/// See the module. Whose a connection is, is decided by what is known of it last: the gate before it is
/// to hold only the kernel's part of the filter.
#[derive(Debug, Default)]
pub(super) struct Whole {
    filter: Filter,
    states: StateSet,
    pseudonyms: Option<Rc<Pseudonyms>>,
    covered: Covered,
    lives: Lives,
    cgroups: HashMap<u64, Arc<str>>,
    unwanted: u64,
}

impl Whole {
    pub(super) fn new(filter: Filter, pseudonyms: Option<Rc<Pseudonyms>>) -> Self {
        Self {
            states: filter.states,
            filter,
            pseudonyms,
            ..Self::default()
        }
    }

    fn disguised(&self, t: &Transition) -> Transition {
        match &self.pseudonyms {
            Some(pseudonyms) => pseudonyms.transition(t),
            None => *t,
        }
    }

    /// What is to be shown as this name.
    pub(super) fn name(&self, name: &str) -> String {
        match &self.pseudonyms {
            Some(pseudonyms) if !name.is_empty() => pseudonyms.name(name),
            _ => name.to_owned(),
        }
    }

    /// The path of an owner's cgroup, if it is known and may be shown.
    pub(super) fn cgroup(&self, t: &Transition) -> Option<Arc<str>> {
        let id = t.process?.cgroup;
        self.cgroups.get(&id).cloned()
    }

    /// ns since 1970.
    pub(super) fn wall_ns(&self, at: Mono) -> Option<i64> {
        i64::try_from(self.covered.at(at)?.as_nanosecond()).ok()
    }

    /// Takes it in; a connection that is over now, if it is wanted.
    pub(super) fn update(&mut self, update: &Update) -> Option<Life> {
        let over = match update {
            Update::Transition(t) => {
                let began = self.covered.event(t.at);
                self.lives.transition(t, began)
            }
            Update::Irregular(irregularity) => self.lives.irregular(irregularity),
            Update::Forgotten(conn) => {
                let life = self.lives.forget(*conn);
                self.unwanted += life.map_or(0, |life| u64::from(life.transitions));
                None
            }
            Update::Cgroup(fact) => {
                self.filter.learn(fact);
                if self.pseudonyms.is_none() && self.cgroups.len() < MAX_CGROUPS {
                    self.cgroups.insert(fact.id, Arc::clone(&fact.path));
                }
                None
            }
            Update::Clock { at, wall_ns } => {
                self.covered.clock(*at, *wall_ns);
                None
            }
            Update::Lost { .. } => None,
        };
        self.wanted(over?)
    }

    /// The end: all that are still open, or ended unseen.
    pub(super) fn close(
        &mut self,
        engine: &Engine,
        mut each: impl FnMut(&Self, Life) -> Result<()>,
    ) -> Result<()> {
        let mut lives = std::mem::take(&mut self.lives);
        lives.close(engine, self.covered.span().end, |life| {
            match self.wanted(life) {
                Some(life) => each(self, life),
                None => Ok(()),
            }
        })
    }

    fn wanted(&self, life: Life) -> Option<Life> {
        let counts = self.states.is_empty() || self.states.meets(life.course.visited);
        let t = &life.last;
        // An opening may have waited for its tuple until now.
        let subject = t.tuple.subject(t.netns, false);
        let is_wanted =
            self.filter.kernel.verdict(&subject) == Verdict::Pass && self.filter.wants_owner(t);
        if life.course.is_listener || !counts || !is_wanted {
            return None;
        }
        Some(Life {
            last: self.disguised(&life.last),
            ..life
        })
    }
}

/// For who shows transitions too.
#[cfg(feature = "parquet")]
impl Whole {
    /// A transition as it may be shown, if it is wanted.
    pub(super) fn shown(&self, t: &Transition) -> Option<Transition> {
        self.filter.wants(t).then(|| self.disguised(t))
    }

    /// The state that a connection is known to be in.
    pub(super) fn state(&self, t: &Transition) -> Option<crate::engine::TcpState> {
        self.lives.state(t.conn)
    }

    /// The bounds of what was read.
    pub(super) fn span(&self) -> (Option<jiff::Timestamp>, Option<jiff::Timestamp>) {
        self.covered.times()
    }

    /// Transitions that were told of connections that the recording's filter turned out not to want.
    pub(super) const fn unwanted(&self) -> u64 {
        self.unwanted
    }
}
