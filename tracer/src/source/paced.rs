//! A recording told as fast as it happened, or faster, or slower: events come when their time has come.
//! Whoever plays it holds the [`Playback`], and may change it at any time.

use std::{cell::Cell, collections::VecDeque, time::Duration};

use anyhow::Result;

use super::{Account, EventSource, file::FileSource};
use crate::{
    clock,
    engine::{Event, Mono},
};

/// Events per batch: whoever waits for a key gets a turn in between.
const BATCH: usize = 8192;

/// No wait is longer, so that the place moves.
const PATIENCE: Duration = Duration::from_millis(100);

/// Speeds are powers of two.
const SPEEDS: std::ops::RangeInclusive<i8> = -4..=10;

/// Where a recording is played, and how fast.
#[derive(Debug)]
pub struct Playback {
    begin: Mono,
    end: Mono,
    /// A moment here, and its moment in the recording.
    anchor: Cell<(Mono, Mono)>,
    speed: Cell<i8>,
    is_paused: Cell<bool>,
    /// Everything up to here is told at once.
    target: Cell<Option<Mono>>,
}

impl Playback {
    /// From the beginning of a recording that covers this time.
    pub fn new(begin: Mono, end: Mono) -> Self {
        Self {
            begin,
            end,
            anchor: Cell::new((clock::monotonic(), begin)),
            speed: Cell::new(0),
            is_paused: Cell::new(false),
            target: Cell::new(None),
        }
    }

    /// When the recording begins.
    pub const fn begin(&self) -> Mono {
        self.begin
    }

    /// When it ends.
    pub const fn end(&self) -> Mono {
        self.end
    }

    /// Its speed: 2 to the power of this.
    pub const fn speed(&self) -> i8 {
        self.speed.get()
    }

    /// Whether it stands still.
    pub const fn is_paused(&self) -> bool {
        self.is_paused.get()
    }

    /// Whether it is being read up to another place.
    pub fn is_seeking(&self) -> bool {
        self.target.get().is_some()
    }

    /// Where it is.
    pub fn at(&self) -> Mono {
        if let Some(target) = self.target.get() {
            return target;
        }
        let (here, there) = self.anchor.get();
        if self.is_paused.get() {
            return there;
        }
        let passed = clock::monotonic().since(here);
        there
            .plus(stretched(passed, self.speed.get()))
            .min(self.end)
    }

    /// Stands still, or goes on.
    pub fn pause(&self) {
        self.hold(self.at());
        self.is_paused.set(!self.is_paused.get());
    }

    /// Twice as fast, so often; slower if that is negative.
    pub fn accelerate(&self, by: i8) {
        self.hold(self.at());
        let speed = self.speed.get().saturating_add(by);
        self.speed.set(speed.clamp(*SPEEDS.start(), *SPEEDS.end()));
    }

    /// Everything up to there is told at once. What was told is not taken back: to go back, the recording
    /// is read anew.
    pub fn seek(&self, to: Mono) {
        self.target.set(Some(to.clamp(self.begin, self.end)));
    }

    fn hold(&self, there: Mono) {
        self.anchor.set((clock::monotonic(), there));
    }
}

/// So much longer in the recording than here.
fn stretched(passed: Duration, speed: i8) -> Duration {
    let factor = 1_u32 << speed.unsigned_abs().min(30);
    if speed < 0 {
        passed / factor
    } else {
        passed.saturating_mul(factor)
    }
}

/// See the module.
#[derive(Debug)]
pub struct Paced<'a> {
    from: FileSource,
    playback: &'a Playback,
    pending: VecDeque<Event>,
    read: Vec<Event>,
    is_over: bool,
}

impl<'a> Paced<'a> {
    /// Plays a recording.
    pub fn new(from: FileSource, playback: &'a Playback) -> Self {
        Self {
            from,
            playback,
            pending: VecDeque::new(),
            read: Vec::new(),
            is_over: false,
        }
    }

    /// Appends what has happened until then; whether that was all of it.
    async fn until(&mut self, then: Mono, events: &mut Vec<Event>) -> Result<bool> {
        while events.len() < BATCH {
            if let Some(event) = self.pending.pop_front() {
                if event.at > then {
                    self.pending.push_front(event);
                    return Ok(true);
                }
                events.push(event);
            } else if self.is_over {
                return Ok(true);
            } else {
                // Into a place of our own: nothing is lost where this is dropped.
                self.is_over = !self.from.next_batch(None, &mut self.read).await?;
                self.pending.extend(self.read.drain(..));
            }
        }
        Ok(false)
    }
}

impl EventSource for Paced<'_> {
    /// There is always more: whoever has come to the end may go back.
    async fn next_batch(&mut self, _by: Option<Mono>, events: &mut Vec<Event>) -> Result<bool> {
        loop {
            tokio::task::yield_now().await;
            let then = self.playback.at();
            let target = self.playback.target.get();
            let all = self.until(then, events).await?;
            if all && target.is_some() {
                self.playback.target.set(None);
                self.playback.hold(then);
            }
            if !events.is_empty() {
                return Ok(true);
            }
            tokio::time::sleep(PATIENCE).await;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_stretched_by_powers_of_two() {
        let second = Duration::from_secs(1);
        assert_eq!(stretched(second, 0), second);
        assert_eq!(stretched(second, 3), Duration::from_secs(8));
        assert_eq!(stretched(second, -2), Duration::from_millis(250));
    }

    #[test]
    fn it_stands_still_and_stays_in_its_bounds() {
        let playback = Playback::new(Mono(1_000), Mono(2_000_000_000_000));
        playback.pause();
        let at = playback.at();
        playback.accelerate(2);
        assert_eq!((playback.at(), playback.speed()), (at, 2));
        playback.accelerate(100);
        assert_eq!(playback.speed(), *SPEEDS.end());
        playback.seek(Mono(u64::MAX));
        assert_eq!(playback.at(), playback.end());
        assert!(playback.is_seeking());
    }
}
