//! Several recordings at once, in the order of the time of day.
//!
//! Each recording keeps an engine, a clock and a gate of its own: a socket's address, cookie and network
//! namespace mean something on one host, from one boot to the next, only. What is merged is what the
//! engines tell. An engine lives from the first event of its recording to the last: memory goes by the
//! recordings that overlap, one block of each.

use std::{cmp::Reverse, collections::BinaryHeap};

use anyhow::Result;

use crate::{
    engine::{Engine, Event, EventBody, Limits, Update},
    filter::{Filter, Gate, Window},
    render::completeness::Completeness,
    shutdown::{Ended, Shutdown},
    sink::{MergedSink, Output, Start},
    source::{EventSource as _, file::FileSource},
};

/// A recording that is to be read.
#[derive(Debug)]
pub struct Lane {
    /// The recording.
    pub source: FileSource,
    /// What it stands on.
    pub start: Start,
    /// When it began by the wall clock, ns; 0: not known.
    pub began_ns: i64,
}

/// What is merged, and where to.
pub struct Merge {
    /// The recordings; a lane's place is its number.
    pub lanes: Vec<Lane>,
    /// What is wanted of each.
    pub filter: Filter,
    /// When.
    pub window: Window,
    /// One recording after the other: nothing that is told goes by the time of day.
    pub one_by_one: bool,
    /// How it is shown.
    pub sink: Box<dyn MergedSink>,
    /// Where it is shown.
    pub output: Output,
    /// Transitions after which the run ends; `u64::MAX`: never.
    pub stop_after: u64,
}

/// How it went.
#[derive(Debug)]
pub struct Merged {
    /// Why it ended, if from outside.
    pub ended: Option<Ended>,
    /// Some recording is damaged or incomplete.
    pub is_damaged: bool,
}

/// A lane that has ended, for whoever tells of it.
#[derive(Debug)]
pub struct Finished<'a> {
    /// What it stood on.
    pub start: &'a Start,
    /// Its engine, as it was left.
    pub engine: &'a Engine,
    /// What is missing.
    pub completeness: Completeness,
}

/// A recording that is being read.
struct Reading {
    lane: usize,
    source: FileSource,
    start: Start,
    /// What the wall clock is ahead of the kernel's.
    offset_ns: i128,
    engine: Engine,
    gate: Gate,
    events: Vec<Event>,
    /// Of these, the next.
    next: usize,
}

/// Where a lane stands: the wall clock at its next event, then its number.
type Turn = Reverse<(i128, usize)>;

impl Merge {
    /// Reads all of them, unless it is ended, or enough was shown. `tell` is told of each that has ended.
    pub async fn run(
        mut self,
        shutdown: &mut Shutdown,
        mut tell: impl FnMut(&Finished<'_>),
    ) -> Result<Merged> {
        let mut turns: BinaryHeap<Turn> = BinaryHeap::new();
        let mut waiting = Vec::new();
        for (number, lane) in self.lanes.drain(..).enumerate() {
            let began = if self.one_by_one { 0 } else { lane.began_ns };
            turns.push(Reverse((i128::from(began), number)));
            waiting.push(Some(lane));
        }
        let lanes = waiting.len();
        let mut run = Run {
            reading: waiting.iter().map(|_| None).collect(),
            sink: self.sink,
            output: self.output,
            left: self.stop_after,
            updates: Vec::new(),
            is_damaged: false,
        };
        let mut ended = None;
        while let Some(Reverse((_, number))) = turns.pop() {
            if let Some(lane) = waiting.get_mut(number).and_then(Option::take) {
                let gate = Gate::new(self.filter.clone()).within(self.window);
                run.begin(number, lane, gate)?;
            }
            let until = match turns.peek() {
                Some(Reverse(turn)) if !self.one_by_one => Some(*turn),
                _ => None,
            };
            match run.turn(number, until, shutdown).await? {
                Step::Until(turn) => turns.push(Reverse(turn)),
                Step::Over => run.end(number, &mut tell)?,
                Step::Ended(why) => {
                    ended = why;
                    break;
                }
            }
        }
        for number in 0..lanes {
            run.end(number, &mut tell)?;
        }
        run.sink.finish(run.output.buffer())?;
        run.output.flush()?;
        Ok(Merged {
            ended,
            is_damaged: run.is_damaged,
        })
    }
}

impl std::fmt::Debug for Merge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Merge").finish_non_exhaustive()
    }
}

/// How a lane's turn ended.
enum Step {
    /// Another lane is earlier than its next event.
    Until((i128, usize)),
    /// It has no more, or what comes is not wanted.
    Over,
    /// The whole run is over; `None`: enough was shown, or nobody reads any more.
    Ended(Option<Ended>),
}

struct Run {
    /// By lane; `None`: not yet, or not any more.
    reading: Vec<Option<Reading>>,
    sink: Box<dyn MergedSink>,
    output: Output,
    /// Transitions that may still be shown.
    left: u64,
    updates: Vec<Update>,
    is_damaged: bool,
}

impl Run {
    fn begin(&mut self, number: usize, lane: Lane, gate: Gate) -> Result<()> {
        self.sink.start(number, &lane.start, self.output.buffer())?;
        let clock = lane.source.meta().clock;
        let mut engine = Engine::new(Limits::default());
        engine.watch_close_waits();
        let reading = Reading {
            lane: number,
            source: lane.source,
            start: lane.start,
            offset_ns: i128::from(clock.wall_ns) - i128::from(clock.mono_ns),
            engine,
            gate,
            events: Vec::new(),
            next: 0,
        };
        if let Some(place) = self.reading.get_mut(number) {
            *place = Some(reading);
        }
        Ok(())
    }

    /// Takes a lane's events in until another lane is earlier.
    async fn turn(
        &mut self,
        number: usize,
        until: Option<(i128, usize)>,
        shutdown: &mut Shutdown,
    ) -> Result<Step> {
        loop {
            let Some(reading) = self.reading.get_mut(number).and_then(Option::as_mut) else {
                return Ok(Step::Over);
            };
            if reading.next == reading.events.len() {
                let latest = reading.events.last().map(|event| event.at);
                if latest.is_some_and(|latest| reading.gate.is_over(latest)) {
                    return Ok(Step::Over);
                }
                reading.events.clear();
                reading.next = 0;
                let more = tokio::select! {
                    biased;
                    ended = shutdown.wait() => return Ok(Step::Ended(Some(ended?))),
                    more = reading.source.next_batch(None, &mut reading.events) => more?,
                };
                if !more && reading.events.is_empty() {
                    return Ok(Step::Over);
                }
                continue;
            }
            let event = &reading.events[reading.next];
            let turn = (i128::from(event.at.0) + reading.offset_ns, number);
            if until.is_some_and(|until| turn > until) {
                return Ok(Step::Until(turn));
            }
            reading.next += 1;
            reading.engine.handle_event(event, &mut self.updates);
            let mut ticks = false;
            if let EventBody::Clock { wall_ns } = event.body {
                reading.offset_ns = i128::from(wall_ns) - i128::from(event.at.0);
                ticks = true;
            }
            if !self.updates.is_empty() && !self.show(number)? {
                return Ok(Step::Ended(None));
            }
            if ticks {
                let running = self.reading.iter().flatten();
                let running: Vec<_> = running.map(|r| (r.lane, &r.engine)).collect();
                let out = self.output.buffer();
                self.sink.tick(number, &running, out)?;
            }
        }
    }

    /// Shows what a lane's engine told; whether to go on.
    fn show(&mut self, number: usize) -> Result<bool> {
        let Some(reading) = self.reading.get_mut(number).and_then(Option::as_mut) else {
            return Ok(true);
        };
        for update in self.updates.drain(..) {
            reading.gate.sift(&update, |update| {
                if matches!(update, Update::Transition(_)) {
                    if self.left == 0 {
                        return Ok(());
                    }
                    self.left -= 1;
                }
                self.sink.update(number, update, self.output.buffer())
            })?;
        }
        Ok(self.output.flush_if_full()? && self.left > 0)
    }

    /// A lane is over: what its engine still holds is told, and its account.
    fn end(&mut self, number: usize, tell: &mut impl FnMut(&Finished<'_>)) -> Result<()> {
        let Some(reading) = self.reading.get_mut(number).and_then(Option::as_mut) else {
            return Ok(());
        };
        reading.engine.finish(&mut self.updates);
        self.show(number)?;
        let Some(mut reading) = self.reading.get_mut(number).and_then(Option::take) else {
            return Ok(());
        };
        let account = reading.source.account()?;
        let completeness = Completeness::new(&account, reading.engine.ledger());
        self.is_damaged |= reading.source.is_damaged();
        let out = self.output.buffer();
        self.sink.end(number, &reading.engine, &completeness, out)?;
        self.output.flush_if_full()?;
        tell(&Finished {
            start: &reading.start,
            engine: &reading.engine,
            completeness,
        });
        Ok(())
    }
}
