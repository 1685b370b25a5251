//! Histograms of dwells, by state, interval after interval.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _, hash::Hash, time::Duration};

use anyhow::Result;
use bytes::BytesMut;
use hashbrown::{HashMap, hash_map::Entry};
use jiff::{Timestamp, tz::TimeZone};
use tracer_common::address::Address;

use super::{
    MergedSink, Sink, Start,
    row::{WallClock, known_address},
};
use crate::{
    engine::{
        ClosedFirst, DurationHistogram, EndReason, Endpoint, Engine, Mono, ProcessName, StateSet,
        TcpState, Transition, Update,
    },
    logging,
    render::{completeness::Completeness, escape, histogram},
};

/// Histograms beside each other in one state; the rest goes into `other`.
const MAX_KEYS: usize = 20;

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
    /// The host.
    Host,
}

/// What one histogram is of. No text: that is made when it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// Not told apart.
    All,
    Process(ProcessName),
    Port(u16),
    Address(Address),
    First(ClosedFirst),
    Reason(EndReason),
    /// The host of this lane.
    Host(usize),
    Unknown,
    /// Beyond [`MAX_KEYS`].
    Other,
}

impl Key {
    fn of(by: HistKey, t: &Transition) -> Self {
        let key = match by {
            HistKey::Process => t.process.map(|p| Self::Process(p.name)),
            HistKey::Lport => t.tuple.local.port().map(Self::Port),
            HistKey::Raddr => {
                let remote = t.tuple.remote;
                known_address(&remote).map(|_| Self::Address(remote.address))
            }
            HistKey::ClosedFirst => t.closed_first.map(Self::First),
            HistKey::EndReason => t.end_reason.map(Self::Reason),
            HistKey::Host => None,
        };
        key.unwrap_or(Self::Unknown)
    }

    /// Safe for a terminal.
    fn text<'a>(&'a self, lanes: &'a [Lane]) -> Cow<'a, str> {
        match self {
            Self::Host(lane) => lanes
                .get(*lane)
                .map_or("-".into(), |lane| escape::text(lane.host.as_bytes())),
            Self::All => "".into(),
            Self::Process(name) => escape::text(name.bytes()),
            Self::Port(port) => port.to_string().into(),
            Self::Address(address) => {
                let (address, port) = (*address, 0);
                Endpoint { address, port }.ip().to_string().into()
            }
            Self::First(first) => first.name().into(),
            Self::Reason(reason) => reason.name().into(),
            Self::Unknown => "-".into(),
            Self::Other => "other".into(),
        }
    }
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
    zone: TimeZone,
    /// One run, or several recordings by the wall clock.
    lanes: Vec<Lane>,
    is_merged: bool,
    /// When the current interval began, and the latest stock-taking: see [`Lane::time`].
    began: Option<i128>,
    latest: i128,
    dwells: BTreeMap<TcpState, HashMap<Key, DurationHistogram>>,
    /// Of recordings that have ended since it was printed: what was open then.
    left_open: HashMap<TcpState, DurationHistogram>,
}

/// A run, or one of several recordings.
#[derive(Debug, Default)]
struct Lane {
    host: String,
    clock: WallClock,
    latest: Mono,
}

impl Lane {
    /// What intervals go by: the kernel's clock, or, where there are several, the wall clock.
    fn time(&self, is_merged: bool) -> i128 {
        let wall = self.clock.at(self.latest).filter(|_| is_merged);
        wall.map_or_else(|| i128::from(self.latest.0), Timestamp::as_nanosecond)
    }
}

impl HistSink {
    /// Nothing counted yet.
    pub fn new(options: HistOptions) -> Self {
        Self {
            options,
            zone: TimeZone::system(),
            lanes: vec![Lane::default()],
            is_merged: false,
            began: None,
            latest: 0,
            dwells: BTreeMap::new(),
            left_open: HashMap::new(),
        }
    }

    /// The same of so many recordings together.
    pub fn merged(options: HistOptions, lanes: usize) -> Self {
        Self {
            lanes: (0..lanes).map(|_| Lane::default()).collect(),
            is_merged: true,
            ..Self::new(options)
        }
    }

    /// The first lane of this one's host.
    fn host_of(&self, lane: usize) -> usize {
        let host = self.lanes.get(lane).map(|lane| &lane.host);
        let first = self
            .lanes
            .iter()
            .position(|other| Some(&other.host) == host);
        first.unwrap_or(lane)
    }

    fn wants(&self, state: TcpState) -> bool {
        self.options.states.is_empty() || self.options.states.contains(state)
    }

    fn count(&mut self, lane: usize, t: &Transition) {
        let Some(dwell) = t.dwell.filter(|_| self.wants(t.from)) else {
            return;
        };
        let key = self.options.by.map_or(Key::All, |by| match by {
            HistKey::Host => Key::Host(self.host_of(lane)),
            _ => Key::of(by, t),
        });
        let keys = self.dwells.entry(t.from).or_default();
        let key = if keys.len() >= MAX_KEYS && !keys.contains_key(&key) {
            Key::Other
        } else {
            key
        };
        record(keys, key, dwell);
    }

    /// Counts dwells that somebody else counted.
    pub fn count_all(&mut self, state: TcpState, dwells: &DurationHistogram) {
        if !self.wants(state) {
            return;
        }
        let keys = self.dwells.entry(state).or_default();
        match keys.entry(Key::All) {
            Entry::Occupied(there) => there.into_mut().merge(dwells),
            Entry::Vacant(place) => {
                place.insert(dwells.clone());
            }
        }
    }

    fn print(
        &mut self,
        lane: usize,
        running: &[(usize, &Engine)],
        out: &mut BytesMut,
    ) -> Result<()> {
        if self.options.interval.is_some() {
            let lane = self.lanes.get(lane);
            match lane.and_then(|lane| lane.clock.at(lane.latest)) {
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
        let mut open = std::mem::take(&mut self.left_open);
        for (lane, engine) in running {
            self.count_open(*lane, engine, &mut open);
        }
        for state in TcpState::ALL {
            let keys = self.dwells.get(&state);
            let mut by_text: Vec<_> = keys
                .into_iter()
                .flatten()
                .map(|(key, counts)| (key.text(&self.lanes), counts))
                .collect();
            by_text.sort_by(|a, b| a.0.cmp(&b.0));
            for (key, counts) in by_text {
                let by = if key.is_empty() { "" } else { " " };
                writeln!(out, "state = {state}{by}{key}")?;
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
    fn count_open(
        &self,
        lane: usize,
        engine: &Engine,
        open: &mut HashMap<TcpState, DurationHistogram>,
    ) {
        if !self.options.open {
            return;
        }
        let latest = self.lanes.get(lane).map_or(Mono(0), |lane| lane.latest);
        for (state, stayed) in engine.open_dwells(latest) {
            if state != TcpState::Listen && self.wants(state) {
                record(open, state, stayed);
            }
        }
    }
}

/// Counts a duration under its key.
fn record<K: Hash + Eq>(
    histograms: &mut HashMap<K, DurationHistogram>,
    key: K,
    duration: Duration,
) {
    let histogram = match histograms.entry(key) {
        Entry::Occupied(there) => there.into_mut(),
        Entry::Vacant(place) => match DurationHistogram::new() {
            Some(new) => place.insert(new),
            None => return,
        },
    };
    histogram.record(duration);
}

impl MergedSink for HistSink {
    fn start(&mut self, lane: usize, start: &Start, _out: &mut BytesMut) -> Result<()> {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.host.clone_from(&start.host);
        }
        Ok(())
    }

    fn update(&mut self, lane: usize, update: &Update, _out: &mut BytesMut) -> Result<()> {
        match update {
            Update::Transition(t) => self.count(lane, t),
            Update::Lost { lost, .. } => logging::note(&format!(
                "lost {} events: the histograms lack what they began or ended",
                lost.total()
            )),
            Update::Clock { at, wall_ns } => {
                if let Some(lane) = self.lanes.get_mut(lane) {
                    lane.latest = *at;
                    lane.clock.set(*at, *wall_ns);
                    self.latest = lane.time(self.is_merged);
                    self.began.get_or_insert(self.latest);
                }
            }
            Update::Irregular(_) | Update::Forgotten(_) | Update::Cgroup(_) => {}
        }
        Ok(())
    }

    fn tick(
        &mut self,
        lane: usize,
        running: &[(usize, &Engine)],
        out: &mut BytesMut,
    ) -> Result<()> {
        let Some((interval, began)) = self.options.interval.zip(self.began) else {
            return Ok(());
        };
        let passed = u64::try_from(self.latest - began).unwrap_or(0);
        if Duration::from_nanos(passed) + EARLY >= interval {
            self.print(lane, running, out)?;
        }
        Ok(())
    }

    fn end(
        &mut self,
        lane: usize,
        engine: &Engine,
        _completeness: &Completeness,
        _out: &mut BytesMut,
    ) -> Result<()> {
        let mut open = std::mem::take(&mut self.left_open);
        self.count_open(lane, engine, &mut open);
        self.left_open = open;
        Ok(())
    }

    fn finish(&mut self, out: &mut BytesMut) -> Result<()> {
        let nothing_new = self.options.interval.is_some() && self.dwells.is_empty();
        if nothing_new {
            return Ok(());
        }
        let last = self
            .lanes
            .iter()
            .position(|lane| lane.time(self.is_merged) == self.latest);
        self.print(last.unwrap_or(0), &[], out)
    }
}

/// One run is the only lane.
impl Sink for HistSink {
    fn start(&mut self, start: &Start, out: &mut BytesMut) -> Result<()> {
        MergedSink::start(self, 0, start, out)
    }

    fn update(&mut self, update: &Update, out: &mut BytesMut) -> Result<()> {
        MergedSink::update(self, 0, update, out)
    }

    fn tick(&mut self, engine: &Engine, out: &mut BytesMut) -> Result<()> {
        MergedSink::tick(self, 0, &[(0, engine)], out)
    }

    fn end(
        &mut self,
        engine: &Engine,
        completeness: &Completeness,
        out: &mut BytesMut,
    ) -> Result<()> {
        MergedSink::end(self, 0, engine, completeness, out)?;
        self.finish(out)
    }
}
