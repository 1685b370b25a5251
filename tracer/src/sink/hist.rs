//! Histograms of dwells, by state, interval after interval.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt::Write as _,
    time::Duration,
};

use anyhow::Result;
use bytes::BytesMut;
use jiff::tz::TimeZone;

use super::{
    Sink, Start,
    row::{WallClock, known_address},
};
use crate::{
    engine::{
        ClosedFirst, DurationHistogram, EndReason, Engine, Mono, StateSet, TcpState, Transition,
        Update,
    },
    logging,
    render::{completeness::Completeness, escape, histogram},
};

/// Histograms beside each other in one state; the rest goes into `other`.
const MAX_KEYS: usize = 20;
const OTHER: &str = "other";

/// Ticks come a little early or late.
const EARLY: Duration = Duration::from_millis(100);

/// What dwells are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistKey {
    /// Owner's name.
    Process,
    /// Local port.
    Lport,
    /// Remote address.
    Raddr,
    /// Who closed first.
    ClosedFirst,
    /// Why it ended.
    EndReason,
}

/// What to draw.
#[derive(Clone, Debug, Default)]
pub struct HistOptions {
    /// Whose dwells; none: all.
    pub states: StateSet,
    /// How often; `None`: at the end.
    pub interval: Option<Duration>,
    /// Never starting anew.
    pub cumulative: bool,
    /// In ms instead of µs.
    pub milliseconds: bool,
    /// One for each of these.
    pub by: Option<HistKey>,
    /// Whether to tell of connections that are still in the state.
    pub open: bool,
}

/// See the module.
#[derive(Debug)]
pub struct HistSink {
    options: HistOptions,
    clock: WallClock,
    zone: TimeZone,
    /// When the current interval began, and the latest stock-taking.
    began: Option<Mono>,
    latest: Mono,
    dwells: BTreeMap<TcpState, BTreeMap<String, DurationHistogram>>,
}

impl HistSink {
    /// Nothing counted yet.
    pub fn new(options: HistOptions) -> Self {
        Self {
            options,
            clock: WallClock::default(),
            zone: TimeZone::system(),
            began: None,
            latest: Mono(0),
            dwells: BTreeMap::new(),
        }
    }

    fn wants(&self, state: TcpState) -> bool {
        self.options.states.is_empty() || self.options.states.contains(state)
    }

    fn count(&mut self, t: &Transition) {
        let Some(dwell) = t.dwell.filter(|_| self.wants(t.from)) else {
            return;
        };
        let key = self.options.by.map_or_else(String::new, |by| key(by, t));
        let keys = self.dwells.entry(t.from).or_default();
        let key = if keys.len() >= MAX_KEYS && !keys.contains_key(&key) {
            OTHER.to_owned()
        } else {
            key
        };
        record(keys, key, dwell);
    }

    fn print(&mut self, engine: &Engine, out: &mut BytesMut) -> Result<()> {
        if self.options.interval.is_some() {
            match self.clock.at(self.latest) {
                Some(ts) => writeln!(
                    out,
                    "{}",
                    ts.to_zoned(self.zone.clone()).strftime("%H:%M:%S")
                )?,
                None => writeln!(out, "-")?,
            }
        }
        let unit = if self.options.milliseconds {
            histogram::Unit::Milliseconds
        } else {
            histogram::Unit::Microseconds
        };
        let open = self.open(engine);
        for state in TcpState::ALL {
            let keys = self.dwells.get(&state);
            for (key, counts) in keys.into_iter().flatten() {
                let by = if key.is_empty() { "" } else { " " };
                writeln!(out, "state = {state}{by}{}", escape::text(key.as_bytes()))?;
                histogram::draw(counts, unit, out)?;
            }
            if let Some(open) = open.get(&state) {
                writeln!(
                    out,
                    "{state}, still open: {}",
                    histogram::summary(open, unit)
                )?;
            }
            if keys.is_some() || open.contains_key(&state) {
                writeln!(out)?;
            }
        }
        if !self.options.cumulative {
            self.dwells.clear();
        }
        self.began = Some(self.latest);
        Ok(())
    }

    /// How long those have stayed so far that are in a state now, as far as that is known: a lower
    /// bound of each.
    fn open(&self, engine: &Engine) -> BTreeMap<TcpState, DurationHistogram> {
        let mut open = BTreeMap::new();
        if !self.options.open {
            return open;
        }
        for (state, stayed) in engine.open_dwells(self.latest) {
            if state == TcpState::Listen || !self.wants(state) {
                continue;
            }
            record(&mut open, state, stayed);
        }
        open
    }
}

/// Counts a duration under its key.
fn record<K: Ord>(histograms: &mut BTreeMap<K, DurationHistogram>, key: K, duration: Duration) {
    let histogram = match histograms.entry(key) {
        Entry::Occupied(there) => there.into_mut(),
        Entry::Vacant(place) => match DurationHistogram::new() {
            Some(new) => place.insert(new),
            None => return,
        },
    };
    histogram.record(duration);
}

/// What a transition is counted under.
fn key(by: HistKey, t: &Transition) -> String {
    let unknown = || "-".to_owned();
    match by {
        HistKey::Process => t.process.as_ref().map_or_else(unknown, |p| {
            String::from_utf8_lossy(p.name.bytes()).into_owned()
        }),
        HistKey::Lport => t.tuple.local.port().map_or_else(unknown, |p| p.to_string()),
        HistKey::Raddr => known_address(&t.tuple.remote).map_or_else(unknown, |ip| ip.to_string()),
        HistKey::ClosedFirst => t
            .closed_first
            .map_or_else(unknown, |c| ClosedFirst::name(c).to_owned()),
        HistKey::EndReason => t
            .end_reason
            .map_or_else(unknown, |r| EndReason::name(r).to_owned()),
    }
}

impl Sink for HistSink {
    fn start(&mut self, _start: &Start, _out: &mut BytesMut) -> Result<()> {
        Ok(())
    }

    fn update(&mut self, update: &Update, _out: &mut BytesMut) -> Result<()> {
        match update {
            Update::Transition(t) => self.count(t),
            Update::Lost { lost, .. } => logging::note(&format!(
                "lost {} events: the histograms lack what they began or ended",
                lost.total()
            )),
            Update::Clock { at, wall_ns } => {
                self.began.get_or_insert(*at);
                self.latest = *at;
                self.clock.set(*at, *wall_ns);
            }
            Update::Irregular(_) | Update::Forgotten(_) | Update::Cgroup(_) => {}
        }
        Ok(())
    }

    fn tick(&mut self, engine: &Engine, out: &mut BytesMut) -> Result<()> {
        let Some((interval, began)) = self.options.interval.zip(self.began) else {
            return Ok(());
        };
        if self.latest.since(began) + EARLY >= interval {
            self.print(engine, out)?;
        }
        Ok(())
    }

    fn end(
        &mut self,
        engine: &Engine,
        _completeness: &Completeness,
        out: &mut BytesMut,
    ) -> Result<()> {
        let nothing_new = self.options.interval.is_some() && self.dwells.is_empty();
        if nothing_new {
            return Ok(());
        }
        self.print(engine, out)
    }
}
