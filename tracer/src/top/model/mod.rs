//! What the dashboard shows: figures of bounded size, made of what the engine tells. Pure: it reads no
//! clock and asks nobody.

mod groups;
mod history;
mod series;
mod waits;

use std::time::Duration;

use crate::{
    cost::OwnCost,
    diagnose::{Rolling, Setting},
    engine::{
        Account, ConnId, DurationHistogram, EndReason, Engine, Mono, OpenSocket, TcpState,
        Transition, Update,
    },
    filter::Filter,
    render::completeness::Completeness,
    sink::{Start, WallClock, hooks},
    top::narrow::Narrow,
};

pub use self::{
    groups::{By, Groups, RECENT, Tally},
    history::{Dwell, History, Life, Step},
    series::{POINTS, Series},
    waits::{Wait, Waits, oldest},
};

/// Going through all sockets that are open costs: where there are many it is done less often.
const SOCKETS_PER_SECOND: usize = 10_000;

/// A run begins with two stock-takings at once: the time between them is no tick.
const SHORTEST: Duration = Duration::from_millis(250);

/// Why a TIME_WAIT ended, as the panel counts it.
pub const REASONS: [EndReason; 7] = [
    EndReason::Expired,
    EndReason::Reused,
    EndReason::SynRecycled,
    EndReason::Reset,
    EndReason::Purged,
    EndReason::Destroyed,
    EndReason::Unknown,
];

/// TIME_WAIT's figures.
#[derive(Clone, Debug, Default)]
pub struct TimeWait {
    /// Begun.
    pub entered: Series,
    /// Ended.
    pub left: Series,
    /// Ended, by [`REASONS`]; what is none of these is the last.
    pub by_reason: [Series; REASONS.len()],
    /// That should have been, and were not made.
    pub never_made: Series,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// What the run stands on.
    pub setting: Setting,
    /// Times of day.
    pub clock: WallClock,
    /// When counting began, and the latest stock-taking.
    pub began: Option<Mono>,
    /// See [`Self::began`].
    pub now: Mono,
    /// Length of each tick, in µs.
    ticks: Series,
    /// State changes.
    pub transitions: Series,
    /// Connections opened: `connect`, or out of a listener. Not counted while narrowed to owners, who
    /// are found out later.
    pub opened: Series,
    /// Closed by their owner, or ended.
    pub closed: Series,
    /// Never became a connection.
    pub failed: Series,
    /// By state: how many are in it, at each tick.
    pub open: [Series; TcpState::COUNT],
    /// By state: how many are in it.
    pub open_now: [usize; TcpState::COUNT],
    /// By state: entered.
    pub entered: [Series; TcpState::COUNT],
    /// By state: how long the stays were that ended since counting began.
    pub dwells: [Option<Box<DurationHistogram>>; TcpState::COUNT],
    /// TIME_WAIT's.
    pub time_wait: TimeWait,
    /// By [`By`].
    pub groups: [Groups; By::ALL.len()],
    /// The oldest CLOSE_WAITs.
    pub waits: Waits,
    /// What the rules say.
    pub findings: Rolling,
    /// What recent connections did.
    pub history: History,
    /// What is missing, as far as the run goes.
    pub completeness: Completeness,
    /// What this process costs.
    pub cost: Option<OwnCost>,
    /// What is wanted, as it was typed to begin with.
    filter: Filter,
    /// What is wanted of that, as it was typed later.
    pub narrow: Narrow,
    account: Option<Account>,
    /// When all open sockets are gone through again.
    census: Mono,
    /// When they were.
    counted: Mono,
    /// The end of the latest tick.
    ticked: Mono,
}

impl Model {
    /// Nothing counted yet. `filter`: which connections are counted.
    pub fn new(filter: Filter) -> Self {
        Self {
            filter,
            ..Self::default()
        }
    }

    /// What the run stands on.
    pub fn start(&mut self, start: &Start) {
        self.setting = Setting {
            host: start.host.clone(),
            kernel: start.kernel.clone(),
            hooks: hooks(start),
        };
    }

    /// Counts anew, from here on, what is wanted. What connections did stays known.
    pub fn restart(&mut self, narrow: Narrow) {
        *self = Self {
            setting: std::mem::take(&mut self.setting),
            clock: self.clock,
            began: Some(self.now),
            now: self.now,
            findings: std::mem::take(&mut self.findings),
            history: std::mem::take(&mut self.history),
            completeness: self.completeness,
            cost: self.cost,
            filter: std::mem::take(&mut self.filter),
            narrow,
            account: self.account,
            ..Self::default()
        };
    }

    /// What the source has counted.
    pub fn account(&mut self, account: &Account) {
        self.account = Some(*account);
    }

    /// Takes in what happened.
    pub fn update(&mut self, update: &Update) {
        let wanted = match update {
            Update::Transition(t) => self.filter.wants_owner(t),
            _ => true,
        };
        self.findings.update(update, wanted);
        match update {
            Update::Transition(t) if wanted => self.transition(t),
            Update::Cgroup(fact) => {
                self.filter.learn(fact);
                self.narrow.learn(fact);
            }
            Update::Clock { at, wall_ns } => {
                self.clock.set(*at, *wall_ns);
                self.began.get_or_insert(*at);
            }
            Update::Transition(_)
            | Update::Irregular(_)
            | Update::Forgotten(_)
            | Update::Lost { .. } => {}
        }
    }

    fn transition(&mut self, t: &Transition) {
        self.history.transition(t);
        if t.from == TcpState::CloseWait
            && let Some(conn) = t.conn
        {
            self.waits.left(conn);
        }
        if self.narrow.wants(t) {
            self.count(t);
        }
    }

    fn count(&mut self, t: &Transition) {
        self.transitions.add(1);
        self.entered[t.to.index()].add(1);
        if let Some(dwell) = t.dwell {
            let dwells = &mut self.dwells[t.from.index()];
            if dwells.is_none() {
                *dwells = DurationHistogram::new().map(Box::new);
            }
            if let Some(dwells) = dwells {
                dwells.record(dwell);
            }
        }
        let is_opening = matches!(
            (t.from, t.to),
            (TcpState::Close, TcpState::SynSent) | (TcpState::Listen, TcpState::SynRecv)
        );
        self.opened.add(u64::from(is_opening));
        if t.from == TcpState::TimeWait {
            self.time_wait.left.add(1);
            let known = t.end_reason.unwrap_or(EndReason::Unknown);
            let at = REASONS.iter().position(|reason| *reason == known);
            self.time_wait.by_reason[at.unwrap_or(REASONS.len() - 1)].add(1);
            return;
        }
        let mut tally = Tally::default();
        if t.to == TcpState::TimeWait {
            self.time_wait.entered.add(1);
            tally.time_waits = 1;
        }
        let ends = matches!(t.to, TcpState::TimeWait | TcpState::Close);
        if ends && !t.is_listener() && t.from != TcpState::Close {
            let never = matches!(
                t.end_reason,
                Some(EndReason::Overflow | EndReason::NoMemory)
            );
            self.time_wait.never_made.add(u64::from(never));
            if matches!(t.from, TcpState::SynSent | TcpState::SynRecv) {
                self.failed.add(1);
                return;
            }
            self.closed.add(1);
            let first = t
                .closed_first
                .unwrap_or(crate::engine::ClosedFirst::Unknown);
            tally.closed[first as usize] = 1;
            for (by, groups) in By::ALL.into_iter().zip(&mut self.groups) {
                groups.count(by.key(t), &tally);
            }
        }
    }

    /// A tick ends, when the engine was told all that happened until `now`.
    pub fn tick(&mut self, engine: &Engine, now: Mono) {
        let elapsed = now.since(self.ticked.max(self.began.unwrap_or(now)));
        self.now = now;
        self.completeness = self.complete(engine);
        self.waits.look(engine);
        if now >= self.census {
            self.take_census(engine);
        } else if self.counts_all() {
            self.open_now = TcpState::ALL.map(|state| engine.open_in(state));
        }
        let filter = &self.filter;
        self.findings
            .tick(engine, now, &self.setting, &self.completeness, |t| {
                filter.wants(t)
            });
        if elapsed < SHORTEST {
            return;
        }
        self.ticked = now;
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        self.ticks.push(micros);
        for (series, open) in self.open.iter_mut().zip(self.open_now) {
            series.push(u64::try_from(open).unwrap_or(u64::MAX));
        }
        let time_wait = &mut self.time_wait;
        let counted = [
            &mut self.transitions,
            &mut self.opened,
            &mut self.closed,
            &mut self.failed,
            &mut time_wait.entered,
            &mut time_wait.left,
            &mut time_wait.never_made,
        ];
        let counted = counted.into_iter().chain(&mut self.entered);
        counted
            .chain(&mut time_wait.by_reason)
            .for_each(Series::tick);
        self.groups.iter_mut().for_each(Groups::tick);
    }

    fn complete(&self, engine: &Engine) -> Completeness {
        let ledger = engine.ledger();
        // Of a recording only what was told up to here is of interest.
        let account = self.account.unwrap_or(Account {
            lost: ledger.lost,
            skipped: ledger.lost.recursion,
            ..Account::default()
        });
        Completeness::new(&account, ledger)
    }

    /// Goes through all sockets.
    pub fn take_census(&mut self, engine: &Engine) {
        let pause = Duration::from_secs(1)
            * u32::try_from(engine.open() / SOCKETS_PER_SECOND).unwrap_or(60);
        self.census = self.now.plus(pause);
        self.counted = self.now;
        let counts_all = self.counts_all();
        let mut counts = [0; TcpState::COUNT];
        if counts_all && engine.open_in(TcpState::CloseWait) == 0 {
            // Nothing to be found that the engine has not counted.
            self.open_now = TcpState::ALL.map(|state| engine.open_in(state));
            self.waits.list(Vec::new(), self.now);
            return;
        }
        let mut waiting = Vec::new();
        for open in engine.open_sockets(self.now) {
            if !counts_all && !self.wants(&open.last) {
                continue;
            }
            counts[open.last.to.index()] += 1;
            if open.last.to == TcpState::CloseWait {
                waiting.push(open);
            }
        }
        self.open_now = counts;
        self.waits.list(waiting, self.now);
    }

    /// Whether all is counted that the engine knows.
    pub fn counts_all(&self) -> bool {
        self.filter.wants_any_process() && matches!(self.narrow, Narrow::All)
    }

    /// Whether it can't be told of an opening if it is wanted.
    pub fn wants_owners(&self) -> bool {
        !self.filter.wants_any_process() || self.narrow.wants_owners()
    }

    /// Whether a connection is counted.
    pub fn wants(&mut self, t: &Transition) -> bool {
        self.filter.wants_owner(t) && self.narrow.wants(t)
    }

    /// So many a second, in the latest [`RECENT`] ticks; `None`: no tick has ended.
    pub fn rate(&self, series: &Series) -> Option<f64> {
        self.per_second(series.sum(RECENT))
    }

    /// The same of a sum over these ticks.
    pub fn per_second(&self, count: u64) -> Option<f64> {
        let micros = self.ticks.sum(RECENT);
        #[expect(clippy::cast_precision_loss, reason = "a rate of three figures")]
        let rate = count as f64 * 1e6 / micros as f64;
        (micros > 0).then_some(rate)
    }

    /// How long counting has lasted.
    pub fn counted_for(&self) -> Duration {
        self.began
            .map_or(Duration::ZERO, |began| self.now.since(began))
    }

    /// Connections that were open at the latest stock-taking, listeners not among them.
    pub fn open_connections(&self) -> usize {
        let states = TcpState::ALL.iter().zip(self.open_now);
        let counted = states.filter(|(s, _)| !matches!(s, TcpState::Listen | TcpState::TimeWait));
        counted.map(|(_, open)| open).sum()
    }

    /// The open sockets that are wanted and in a state, oldest first.
    pub fn sockets_in(
        &mut self,
        engine: &Engine,
        state: TcpState,
        count: usize,
    ) -> Vec<OpenSocket> {
        let sockets = engine.open_sockets(self.now);
        let sockets =
            sockets.filter(|open| open.last.to == state && self.filter.wants_owner(&open.last));
        let mut sockets: Vec<_> = sockets.collect();
        sockets.retain(|open| self.narrow.wants(&open.last));
        oldest(sockets, count)
    }

    /// What is known last of recent connections that are wanted, the latest first.
    pub fn recent(&mut self, of: impl Fn(&Transition) -> bool, count: usize) -> Vec<Transition> {
        let lives = self.history.lives().map(|life| life.last);
        let mut found: Vec<_> = lives.filter(|t| of(t)).collect();
        found.retain(|t| self.narrow.wants(t));
        found.sort_unstable_by_key(|t| std::cmp::Reverse((t.at, t.conn)));
        found.truncate(count);
        found
    }

    /// Whether all open sockets were gone through at the latest stock-taking.
    pub fn is_census(&self) -> bool {
        self.counted == self.now
    }

    /// What one connection did, if it is remembered.
    pub fn life(&self, conn: ConnId) -> Option<&Life> {
        self.history.of(conn)
    }
}
