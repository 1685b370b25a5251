//! The one loop: source, engine, gate, sink. Nobody else holds the engine.

use std::{future::poll_fn, time::Duration};

use anyhow::Result;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    engine::{Account, Engine, Event, EventBody, Update},
    filter::Gate,
    logging,
    recording::Recorder,
    render::completeness::Completeness,
    shutdown::{Ended, Shutdown},
    sink::{Output, Sink, Start},
    source::EventSource,
};

/// How often losses and the time of day are looked at.
const STOCK_TAKING: Duration = Duration::from_secs(1);

/// So many updates wait for the sink at most: they are read where they were written, in the nearest cache.
const UPDATES: usize = 128;

/// The parts, put together.
pub struct Pipeline<'a, S> {
    /// Where events come from.
    pub source: &'a mut S,
    /// What makes sense of them.
    pub engine: Engine,
    /// What is shown of it.
    pub gate: Gate,
    /// How it is shown.
    pub sink: Box<dyn Sink + 'a>,
    /// Where it is shown.
    pub output: Output,
    /// Transitions after which the run ends; `u64::MAX`: never.
    pub stop_after: u64,
    /// Who takes down what the engine is about to be told.
    pub tap: Option<&'a mut Recorder>,
}

/// How a run went.
#[derive(Debug)]
pub struct Outcome {
    /// Why it ended; `None`: enough was shown, or nobody reads any more.
    pub ended: Option<Ended>,
    /// What is missing.
    pub completeness: Completeness,
    /// Transitions shown.
    pub shown: u64,
    /// The engine as it was left.
    pub engine: Engine,
    /// Not all that the engine was told was to be shown.
    pub is_filtered: bool,
    /// What the source counted.
    pub account: Account,
    /// Where it was shown.
    pub output: Output,
}

/// What is known at the end, beside the parts themselves: see [`Outcome`].
struct Ran {
    ended: Option<Ended>,
    completeness: Completeness,
    shown: u64,
    account: Account,
}

/// Whether to go on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Go,
    Enough,
}

impl<S: EventSource> Pipeline<'_, S> {
    /// Runs until `shutdown`, or until enough was shown. What was seen is told if that fails, too.
    pub async fn run(mut self, start: &Start, shutdown: &mut Shutdown) -> Result<Outcome> {
        let run = self.run_to_the_end(start, shutdown).await;
        let ended = run.inspect_err(|_| {
            if let Ok(account) = self.source.account() {
                let completeness = Completeness::new(&account, self.engine.ledger());
                logging::note(&format!("until it failed: {}", completeness.line()));
            }
        })?;
        Ok(Outcome {
            ended: ended.ended,
            completeness: ended.completeness,
            shown: ended.shown,
            account: ended.account,
            engine: self.engine,
            is_filtered: self.gate.leaves_out(),
            output: self.output,
        })
    }

    async fn run_to_the_end(&mut self, start: &Start, shutdown: &mut Shutdown) -> Result<Ran> {
        let mut events = Vec::new();
        let mut updates = Vec::new();
        let mut shown = 0;
        self.sink.start(start, self.output.buffer())?;
        self.source.take_stock(&mut events)?;
        let mut stock = interval(STOCK_TAKING);
        stock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ended = loop {
            if self.process(&mut events, &mut updates, &mut shown)? == Flow::Enough {
                break None;
            }
            let wake_by = self.engine.next_timeout();
            tokio::select! {
                biased;
                ended = shutdown.wait() => break Some(ended?),
                _ = stock.tick() => {
                    self.source.take_stock(&mut events)?;
                    self.sink.account(&self.source.account()?);
                }
                asked = poll_fn(|cx| self.sink.poll_input(cx)) => {
                    asked?;
                    if !self.sink.input(&self.engine)? {
                        break None;
                    }
                }
                more = self.source.next_batch(wake_by, &mut events) => if !more? { break None },
            }
        };
        let mut more = true;
        while more {
            more = self.source.finish(&mut events).await?;
            self.process(&mut events, &mut updates, &mut shown)?;
        }
        self.engine.finish(&mut updates);
        self.show(&mut updates, &mut shown)?;
        let account = self.source.account()?;
        let completeness = Completeness::new(&account, self.engine.ledger());
        self.sink
            .end(&self.engine, &completeness, self.output.buffer())?;
        self.output.flush()?;
        Ok(Ran {
            ended,
            completeness,
            shown,
            account,
        })
    }

    /// Takes the events in, and shows what follows.
    fn process(
        &mut self,
        events: &mut Vec<Event>,
        updates: &mut Vec<Update>,
        shown: &mut u64,
    ) -> Result<Flow> {
        if let Some(tap) = &mut self.tap
            && !events.is_empty()
        {
            // Taken after the events: whatever block they end up in, its account covers them.
            tap.take(events, &self.engine, &self.source.account()?)?;
        }
        let latest = events.last().map(|event| event.at);
        for event in &*events {
            self.engine.handle_event(event, updates);
            // Stock was taken: told by an event, so that a recording has it at the same place.
            let stock = matches!(event.body, EventBody::Clock { .. });
            if (stock || updates.len() >= UPDATES) && self.show(updates, shown)? == Flow::Enough {
                break;
            }
            if stock {
                self.sink.tick(&self.engine, self.output.buffer())?;
            }
        }
        events.clear();
        let flow = self.show(updates, shown)?;
        if self.output.flush()? {
            let is_over = latest.is_some_and(|latest| self.gate.is_over(latest));
            Ok(if is_over { Flow::Enough } else { flow })
        } else {
            Ok(Flow::Enough)
        }
    }

    fn show(&mut self, updates: &mut Vec<Update>, shown: &mut u64) -> Result<Flow> {
        for update in &*updates {
            self.gate.sift(update, |update| {
                if matches!(update, Update::Transition(_)) {
                    if *shown >= self.stop_after {
                        return Ok(());
                    }
                    *shown += 1;
                }
                self.sink.update(update, self.output.buffer())
            })?;
        }
        updates.clear();
        let read = self.output.flush_if_full()?;
        if *shown >= self.stop_after || !read {
            return Ok(Flow::Enough);
        }
        Ok(Flow::Go)
    }
}

impl<S> std::fmt::Debug for Pipeline<'_, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").finish_non_exhaustive()
    }
}
