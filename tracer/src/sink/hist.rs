//! Histograms of dwells, by state, interval after interval.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _, hash::Hash, time::Duration};

use anyhow::Result;
use bytes::BytesMut;
use hashbrown::{HashMap, hash_map::Entry};
use jiff::tz::TimeZone;
use tracer_common::address::Address;

use super::{
    Sink, Start,
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
        };
        key.unwrap_or(Self::Unknown)
    }

    /// Safe for a terminal.
    fn text(&self) -> Cow<'_, str> {
        match self {
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
    clock: WallClock,
    zone: TimeZone,
    /// When the current interval began, and the latest stock-taking.
    began: Option<Mono>,
    latest: Mono,
    dwells: BTreeMap<TcpState, HashMap<Key, DurationHistogram>>,
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
        let key = self.options.by.map_or(Key::All, |by| Key::of(by, t));
        let keys = self.dwells.entry(t.from).or_default();
        let key = if keys.len() >= MAX_KEYS && !keys.contains_key(&key) {
            Key::Other
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
            let mut by_text: Vec<_> = keys
                .into_iter()
                .flatten()
                .map(|(key, counts)| (key.text(), counts))
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
    fn open(&self, engine: &Engine) -> HashMap<TcpState, DurationHistogram> {
        let mut open = HashMap::new();
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
