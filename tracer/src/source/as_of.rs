//! A recording up to some moment: what happened later is not told, as if it had been ended there.

use anyhow::Result;

use super::{Account, EventSource, file::FileSource};
use crate::engine::{Event, EventBody, Mono};

/// See the module.
///
/// The last event is a look at the clock, at that moment or where the recording ends.
#[derive(Debug)]
pub struct AsOf {
    from: FileSource,
    /// The moment, in ns since 1970; `None`: its end.
    until: Option<i128>,
    /// What the wall clock is ahead of the kernel's.
    offset_ns: i128,
    /// The latest event.
    latest: Mono,
    read: Vec<Event>,
    is_over: bool,
}

impl AsOf {
    /// Reads it up to this moment, in ns since 1970; `None`: to its end.
    pub fn new(from: FileSource, until: Option<i128>) -> Self {
        let clock = from.meta().clock;
        Self {
            from,
            until,
            offset_ns: i128::from(clock.wall_ns) - i128::from(clock.mono_ns),
            latest: Mono(0),
            read: Vec::new(),
            is_over: false,
        }
    }

    /// Whether something of what was read is missing or damaged.
    pub const fn is_damaged(&self) -> bool {
        self.from.is_damaged()
    }

    /// Takes one event in; `false`: the moment has come.
    fn take(&mut self, event: Event, events: &mut Vec<Event>) -> bool {
        if let EventBody::Clock { wall_ns } = event.body {
            self.offset_ns = i128::from(wall_ns) - i128::from(event.at.0);
        }
        let wall_ns = i128::from(event.at.0) + self.offset_ns;
        if let Some(until) = self.until.filter(|until| wall_ns > *until) {
            // Other events may come a little out of turn. These two say that all before has come.
            let is_sure = matches!(event.body, EventBody::Clock { .. } | EventBody::Watermark);
            if is_sure {
                // Where the clock was set meanwhile, not before what has happened.
                let at = u64::try_from(until - self.offset_ns).unwrap_or(0);
                self.latest = self.latest.max(Mono(at));
            }
            return !is_sure;
        }
        self.latest = self.latest.max(event.at);
        events.push(event);
        true
    }

    /// The clock, where it ends.
    fn end(&mut self, events: &mut Vec<Event>) {
        self.is_over = true;
        let wall_ns = i128::from(self.latest.0) + self.offset_ns;
        events.push(Event {
            at: self.latest,
            body: EventBody::Clock {
                wall_ns: i64::try_from(wall_ns).unwrap_or(i64::MAX),
            },
        });
    }
}

impl EventSource for AsOf {
    async fn next_batch(&mut self, by: Option<Mono>, events: &mut Vec<Event>) -> Result<bool> {
        if self.is_over {
            return Ok(false);
        }
        // Into a place of our own: nothing is lost where this is dropped.
        let more = self.from.next_batch(by, &mut self.read).await?;
        let mut read = std::mem::take(&mut self.read);
        let goes_on = read.drain(..).all(|event| self.take(event, events));
        self.read = read;
        if !more || !goes_on {
            self.end(events);
        }
        Ok(true)
    }

    fn take_stock(&mut self, events: &mut Vec<Event>) -> Result<()> {
        self.from.take_stock(events)
    }

    async fn finish(&mut self, events: &mut Vec<Event>) -> Result<bool> {
        self.from.finish(events).await
    }

    fn account(&mut self) -> Result<Account> {
        self.from.account()
    }
}
