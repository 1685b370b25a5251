//! Stuck sockets, look after look: for people, or as JSON.

mod json;
#[cfg(test)]
mod tests;
mod text;

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use bytes::BytesMut;
use hashbrown::HashMap;
use jiff::tz::TimeZone;

use super::{Sink, Start, row::WallClock};
use crate::{
    engine::{
        Engine, Mono, Process, StateSet, TcpState, Update,
        stuck::{Leak, OlderThan, StuckSocket},
    },
    logging,
    render::completeness::Completeness,
};

/// Paths of cgroups that are remembered: of what comes later the number is all that is known.
const MAX_CGROUPS: usize = 65_536;

/// Whether a process is one whose sockets are wanted; it is asked for the path of a cgroup.
pub type WantsProcess =
    Box<dyn Fn(u32, Option<&Process>, &dyn Fn(u64) -> Option<Arc<str>>) -> bool>;

/// What is shown.
pub struct StuckOptions {
    /// Of sockets in these states.
    pub states: StateSet,
    /// That are known to be in them for so long.
    pub older_than: OlderThan,
    /// Held by such a process; `None`: by anybody.
    pub wants: Option<WantsProcess>,
    /// How often; `None`: at the end.
    pub interval: Option<Duration>,
    /// So many of them.
    pub limit: usize,
    /// With all that is known.
    pub wide: bool,
    /// As JSON.
    pub json: bool,
    /// Of a recording: as of its end, and not as of its latest look.
    pub past: bool,
}

/// See the module.
pub struct StuckSink {
    options: StuckOptions,
    clock: WallClock,
    zone: TimeZone,
    cgroups: HashMap<u64, Arc<str>>,
    /// The look that was shown last.
    shown: Option<Mono>,
    /// The host, if that was told.
    host: String,
    /// The latest stock-taking: where a recording ends, or where reading it does.
    latest: Mono,
}

impl std::fmt::Debug for StuckSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StuckSink").finish_non_exhaustive()
    }
}

/// What one look has shown.
struct View<'a> {
    engine: &'a Engine,
    sink: &'a StuckSink,
    at: Mono,
    /// Oldest first.
    sockets: Vec<StuckSocket>,
    /// Not known to be old enough.
    younger: usize,
    leaks: Vec<Leak>,
    completeness: Option<&'a Completeness>,
}

impl View<'_> {
    /// How long ago the latest look ended; `None`: there was none.
    fn looked(&self) -> Option<Duration> {
        let looks = self.engine.looks();
        looks.latest().map(|_| self.at.since(looks.at()))
    }
}

impl StuckSink {
    /// Nothing is shown yet.
    pub fn new(options: StuckOptions) -> Self {
        Self {
            options,
            clock: WallClock::default(),
            zone: TimeZone::system(),
            cgroups: HashMap::new(),
            shown: None,
            host: String::new(),
            latest: Mono(0),
        }
    }

    /// The sockets that are wanted, and how many are not known to be old enough.
    pub fn sockets(&self, engine: &Engine, at: Mono) -> (Vec<StuckSocket>, usize) {
        let options = &self.options;
        let (mut sockets, mut younger) =
            self.lingering(engine, at, options.states, options.older_than);
        if let Some(wants) = &options.wants {
            let path = |id: u64| self.cgroups.get(&id).cloned();
            sockets.retain(|socket| {
                let owner = (socket.owner.pid, socket.process);
                let holders = (socket.holders.iter())
                    .chain(&*socket.listener)
                    .map(|h| (h.pid, engine.process(h.pid)));
                std::iter::once(owner)
                    .chain(holders)
                    .any(|(pid, process)| pid != 0 && wants(pid, process.as_ref(), &path))
            });
            // Whose those are was not looked at.
            younger = 0;
        }
        (sockets, younger)
    }

    fn lingering(
        &self,
        engine: &Engine,
        at: Mono,
        states: StateSet,
        older_than: impl Into<OlderThan>,
    ) -> (Vec<StuckSocket>, usize) {
        let wanted = |state| states.contains(state);
        if self.options.past {
            engine.stuck_as_of(at, wanted, older_than)
        } else {
            engine.stuck(at, wanted, older_than)
        }
    }

    /// Shows the latest look.
    pub fn show(
        &mut self,
        engine: &Engine,
        completeness: Option<&Completeness>,
        out: &mut BytesMut,
    ) -> Result<()> {
        let looked = engine.looks().latest();
        let at = match looked {
            _ if self.options.past => self.latest,
            Some(_) => engine.looks().at(),
            None => return Ok(()),
        };
        let (sockets, younger) = self.sockets(engine, at);
        let close_wait = StateSet::from_iter([TcpState::CloseWait]);
        let (all, _) = self.lingering(engine, at, close_wait, Duration::ZERO);
        let shown = |leak: &Leak| {
            let of =
                |s: &StuckSocket| s.state == TcpState::CloseWait && s.owner.pid == leak.key.pid;
            sockets.iter().any(of)
        };
        let mut leaks = engine.leaks(at, &all);
        leaks.retain(shown);
        let view = View {
            engine,
            sink: self,
            at,
            sockets,
            younger,
            leaks,
            completeness,
        };
        if self.options.json {
            json::write(&view, out)?;
        } else {
            text::write(&view, out)?;
        }
        self.shown = looked.map(|looked| looked.began);
        Ok(())
    }
}

impl Sink for StuckSink {
    fn start(&mut self, start: &Start, _out: &mut BytesMut) -> Result<()> {
        self.host.clone_from(&start.host);
        Ok(())
    }

    fn update(&mut self, update: &Update, _out: &mut BytesMut) -> Result<()> {
        match update {
            Update::Clock { at, wall_ns } => {
                self.clock.set(*at, *wall_ns);
                self.latest = *at;
            }
            Update::Cgroup(fact) if self.cgroups.len() < MAX_CGROUPS => {
                self.cgroups.insert(fact.id, Arc::clone(&fact.path));
            }
            Update::Lost { lost, .. } => logging::note(&format!(
                "lost {} events: ages may be lower bounds that could have been exact",
                lost.total()
            )),
            Update::Cgroup(_)
            | Update::Transition(_)
            | Update::Irregular(_)
            | Update::Forgotten(_) => {}
        }
        Ok(())
    }

    fn tick(&mut self, engine: &Engine, out: &mut BytesMut) -> Result<()> {
        let latest = engine.looks().latest().map(|looked| looked.began);
        if self.options.interval.is_some() && latest.is_some() && latest != self.shown {
            self.show(engine, None, out)?;
        }
        Ok(())
    }

    fn end(
        &mut self,
        engine: &Engine,
        completeness: &Completeness,
        out: &mut BytesMut,
    ) -> Result<()> {
        if self.options.interval.is_some() && self.shown.is_some() && !self.options.json {
            return Ok(());
        }
        self.show(engine, Some(completeness), out)
    }
}
