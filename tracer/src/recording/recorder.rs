//! Takes events from the one who drains the ring, and writes them on a thread of its own: a slow disk
//! costs counted events, never a stalled ring and never memory without bound.

use std::{
    fs::File,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Error, Result, anyhow};

use super::{
    files::{Files, is_removed},
    segment::{BLOCK_EVENTS, Progress, Segment},
};
use crate::{
    clock,
    engine::{Account, Engine, Event, EventBody, Mono},
};

/// Events that may wait for the disk: 60 MB of them, or a second of the heaviest load.
const MAX_WAITING: usize = 1 << 19;
/// Messages that may wait.
const MESSAGES: usize = 4096;
/// Emptied buffers that are kept for the next events.
const SPARE: usize = 4;
/// A block is written when its first event has waited for so long: what a crash may cost.
const BLOCK_AGE: Duration = Duration::from_millis(900);
/// How often the disk is asked to keep what it was given.
const SYNC: Duration = Duration::from_secs(1);

/// Paths of cgroups that are told anew in the next file.
const MAX_CGROUPS: usize = 65_536;

/// What has been recorded so far; to be looked at from elsewhere.
#[derive(Debug, Default)]
pub struct Gauge {
    /// Events written, or waiting in a block.
    pub events: AtomicU64,
    /// Bytes written.
    pub bytes: AtomicU64,
    /// Events dropped, because too many waited for the disk.
    pub dropped: AtomicU64,
    waiting: AtomicUsize,
    /// The next file is due.
    is_due: AtomicBool,
}

/// What a recording came to.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The last file.
    pub path: PathBuf,
    /// How many were made.
    pub files: u64,
    /// Bytes written in all.
    pub bytes: u64,
    /// Blocks and events.
    pub progress: Progress,
}

enum Message {
    Events {
        /// Events dropped before these.
        dropped: u64,
        events: Vec<Event>,
    },
    Account(Box<Account>),
    /// What stood when the next file begins.
    Next(Vec<Event>),
    Finish,
}

/// See the module.
#[derive(Debug)]
pub struct Recorder {
    to: SyncSender<Message>,
    spare: Receiver<Vec<Event>>,
    gauge: Arc<Gauge>,
    /// Dropped since the last message that went through.
    dropped: u64,
    thread: Option<JoinHandle<Result<Summary>>>,
}

impl Recorder {
    /// Makes the file and starts the thread.
    pub fn start(mut files: Files) -> Result<Self> {
        let (path, segment) = files.begin(Progress::default())?;
        let (to, from) = sync_channel(MESSAGES);
        let (give, spare) = sync_channel(SPARE);
        let gauge = Arc::new(Gauge::default());
        let worker = Worker {
            files,
            count: 1,
            before: 0,
            cgroups: Vec::new(),
            path,
            segment,
            from,
            spare: give,
            gauge: Arc::clone(&gauge),
            close_by: None,
            sync_by: clock::monotonic().plus(SYNC),
            is_dirty: true,
            waits_for_next: false,
        };
        let thread = thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || worker.run())
            .context("starting the thread that records")?;
        Ok(Self {
            to,
            spare,
            gauge,
            dropped: 0,
            thread: Some(thread),
        })
    }

    /// What has been recorded so far.
    pub fn gauge(&self) -> Arc<Gauge> {
        Arc::clone(&self.gauge)
    }

    /// Takes in what `engine` is about to be told; never waits. An error: recording has failed, and
    /// ended.
    pub fn take(&mut self, events: &[Event], engine: &Engine) -> Result<()> {
        if self.gauge.is_due.load(Relaxed) {
            let at = events.first().map_or(Mono(0), |event| event.at);
            match self.to.try_send(Message::Next(engine.standing(at))) {
                Ok(()) => self.gauge.is_due.store(false, Relaxed),
                // With the next events, then.
                Err(TrySendError::Full(_)) => {}
                Err(TrySendError::Disconnected(_)) => return Err(self.failure()),
            }
        }
        for chunk in events.chunks(BLOCK_EVENTS as usize) {
            let waiting = self.gauge.waiting.load(Relaxed);
            if waiting + chunk.len() > MAX_WAITING {
                self.drop_events(chunk.len());
                continue;
            }
            let mut buffer = self.spare.try_recv().unwrap_or_default();
            buffer.extend_from_slice(chunk);
            self.gauge.waiting.fetch_add(chunk.len(), Relaxed);
            let message = Message::Events {
                dropped: self.dropped,
                events: buffer,
            };
            match self.to.try_send(message) {
                Ok(()) => self.dropped = 0,
                Err(TrySendError::Full(_)) => {
                    self.gauge.waiting.fetch_sub(chunk.len(), Relaxed);
                    self.drop_events(chunk.len());
                }
                Err(TrySendError::Disconnected(_)) => return Err(self.failure()),
            }
        }
        Ok(())
    }

    /// What the kernel side has counted by now.
    pub fn account(&mut self, account: &Account) -> Result<()> {
        match self.to.try_send(Message::Account(Box::new(*account))) {
            // The next one will do.
            Ok(()) | Err(TrySendError::Full(_)) => Ok(()),
            Err(TrySendError::Disconnected(_)) => Err(self.failure()),
        }
    }

    /// Writes what waits, and ends the recording in order. `account` is the last.
    pub fn finish(mut self, account: &Account) -> Result<Summary> {
        let dropped = std::mem::take(&mut self.dropped);
        let last = [
            Message::Events {
                dropped,
                events: Vec::new(),
            },
            Message::Account(Box::new(*account)),
            Message::Finish,
        ];
        for message in last {
            if self.to.send(message).is_err() {
                return Err(self.failure());
            }
        }
        self.join()
    }

    fn drop_events(&mut self, count: usize) {
        if self.gauge.dropped.load(Relaxed) == 0 {
            log::warn!(
                "the disk is too slow: events are missing from the recording, which counts them"
            );
        }
        self.dropped += count as u64;
        self.gauge.dropped.fetch_add(count as u64, Relaxed);
    }

    fn join(&mut self) -> Result<Summary> {
        let thread = self.thread.take();
        let thread = thread.ok_or_else(|| anyhow!("recording has ended"))?;
        thread
            .join()
            .unwrap_or_else(|_| Err(anyhow!("the thread that records failed")))
    }

    /// Why the thread has ended before it was asked to.
    fn failure(&mut self) -> Error {
        match self.join() {
            Err(error) => error,
            Ok(_) => anyhow!("recording has ended"),
        }
    }
}

struct Worker {
    files: Files,
    /// Files made.
    count: u64,
    /// Bytes of those before this one.
    before: u64,
    /// Paths of cgroups, each told once.
    cgroups: Vec<Event>,
    path: PathBuf,
    segment: Segment<File>,
    from: Receiver<Message>,
    spare: SyncSender<Vec<Event>>,
    gauge: Arc<Gauge>,
    /// When the open block is to be written.
    close_by: Option<Mono>,
    sync_by: Mono,
    is_dirty: bool,
    /// The next file was asked for.
    waits_for_next: bool,
}

impl Worker {
    fn run(mut self) -> Result<Summary> {
        match self.record() {
            Ok(()) => self.end(),
            Err(error) => Err(self.rescue(error)),
        }
    }

    fn record(&mut self) -> Result<()> {
        loop {
            let now = clock::monotonic();
            let wake_by = self
                .close_by
                .map_or(self.sync_by, |by| by.min(self.sync_by));
            match self.from.recv_timeout(wake_by.since(now)) {
                Ok(Message::Events { dropped, events }) => self.take(dropped, events)?,
                Ok(Message::Account(account)) => self.segment.set_account(*account),
                Ok(Message::Next(standing)) => self.next_file(&standing)?,
                Ok(Message::Finish) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.be_punctual()?;
        }
    }

    fn take(&mut self, dropped: u64, mut events: Vec<Event>) -> Result<()> {
        if dropped > 0 {
            self.segment.drop_events(dropped)?;
        }
        for event in &events {
            self.segment.push(event)?;
            if let EventBody::Cgroup(_) = event.body
                && self.cgroups.len() < MAX_CGROUPS
            {
                self.cgroups.push(event.clone());
            }
        }
        self.gauge.waiting.fetch_sub(events.len(), Relaxed);
        events.clear();
        let _ = self.spare.try_send(events);
        Ok(())
    }

    /// Does what is due: the block, the disk.
    fn be_punctual(&mut self) -> Result<()> {
        let now = clock::monotonic();
        if !self.segment.is_open() {
            self.close_by = None;
        } else if self.close_by.get_or_insert(now.plus(BLOCK_AGE)).0 <= now.0 {
            self.segment.close_block()?;
            self.close_by = None;
        }
        if self.files.is_due(self.segment.written(), now) && !self.waits_for_next {
            self.waits_for_next = true;
            self.gauge.is_due.store(true, Relaxed);
        }
        let written = self.before + self.segment.written();
        self.is_dirty |= self.gauge.bytes.swap(written, Relaxed) != written;
        let events = self.segment.progress().events;
        self.gauge.events.store(events, Relaxed);
        if self.sync_by > now {
            return Ok(());
        }
        let file = self.segment.target();
        if is_removed(file) {
            return Err(anyhow!("the file was removed"));
        }
        if std::mem::take(&mut self.is_dirty) {
            file.sync_data()?;
        }
        self.files.sweep(self.segment.written(), now);
        self.sync_by = clock::monotonic().plus(SYNC);
        Ok(())
    }

    /// Ends this file in order, and begins the next.
    fn next_file(&mut self, standing: &[Event]) -> Result<()> {
        self.segment.finish()?;
        self.segment.target().sync_all()?;
        let bytes = self.segment.written();
        let (path, segment) = self.files.begin(*self.segment.progress())?;
        let old = std::mem::replace(&mut self.path, path);
        self.segment = segment;
        self.before += bytes;
        self.count += 1;
        self.files.close(old, bytes);
        let clock = self.files.clock();
        let (at, wall_ns) = (Mono(clock.mono_ns), clock.wall_ns);
        let body = EventBody::Clock { wall_ns };
        self.segment.snapshot(&[Event { at, body }])?;
        self.segment.snapshot(&self.cgroups)?;
        self.segment.snapshot(standing)?;
        self.waits_for_next = false;
        Ok(())
    }

    fn end(self) -> Result<Summary> {
        let (files, before) = (self.count, self.before);
        let Self { path, segment, .. } = self;
        let shown = path.display();
        let (file, progress) = segment
            .end()
            .with_context(|| format!("recording to '{shown}': writing its last block"))?;
        file.sync_all()
            .with_context(|| format!("recording to '{shown}': waiting for the disk"))?;
        let bytes = file.metadata().map_or(0, |metadata| metadata.len());
        Ok(Summary {
            path,
            files,
            bytes: before + bytes,
            progress,
        })
    }

    /// Leaves whole blocks only, and says what is safe.
    fn rescue(&self, error: Error) -> Error {
        let file = self.segment.target();
        let bytes = self.segment.written();
        let left = file.set_len(bytes).and_then(|()| file.sync_data());
        let removed = is_removed(file);
        let shown = self.path.display();
        match left {
            Ok(()) if !removed => anyhow!(
                "recording to '{shown}' failed: {error:#}; {bytes} bytes of whole blocks are safe in it"
            ),
            _ => anyhow!("recording to '{shown}' failed: {error:#}; nothing of it may be left"),
        }
    }
}
