//! Takes events from the one who drains the ring, and writes them on a thread of its own: a slow disk
//! costs counted events, never a stalled ring and never memory without bound.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Error, Result, anyhow};

use super::{
    files::Files,
    segment::{BLOCK_EVENTS, Progress},
    worker::Worker,
};
use crate::engine::{Account, Engine, Event, Mono};

/// Events that may wait for the disk: 60 MB of them, or a second of the heaviest load.
const MAX_WAITING: usize = 1 << 19;
/// Messages that may wait.
const MESSAGES: usize = 4096;
/// Emptied buffers that are kept for the next events.
const SPARE: usize = 4;
/// What has been recorded so far; to be looked at from elsewhere.
#[derive(Debug, Default)]
pub struct Gauge {
    /// Events written, or waiting in a block.
    pub events: AtomicU64,
    /// Bytes written.
    pub bytes: AtomicU64,
    /// Events dropped, because too many waited for the disk.
    pub dropped: AtomicU64,
    pub(super) waiting: AtomicUsize,
    /// The next file is due.
    pub(super) is_due: AtomicBool,
    /// What is kept in memory is to be written out.
    pub(super) is_wanted: AtomicBool,
}

impl Gauge {
    /// Has written out what `--flight` keeps.
    pub fn want(&self) {
        self.is_wanted.store(true, Relaxed);
    }
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

/// From the one who drains the ring to the one who writes.
#[derive(Debug)]
pub(super) enum Message {
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
        let worker = Worker::new(files, (path, segment), (from, give), Arc::clone(&gauge));
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

    /// Takes in what `engine` is about to be told, and what the kernel side had counted after that;
    /// never waits. An error: recording has failed, and ended.
    pub fn take(&mut self, events: &[Event], engine: &Engine, account: &Account) -> Result<()> {
        if self.gauge.is_due.load(Relaxed) {
            let at = events.first().map_or(Mono(0), |event| event.at);
            match self.to.try_send(Message::Next(engine.standing(at))) {
                Ok(()) => self.gauge.is_due.store(false, Relaxed),
                // With the next events, then.
                Err(TrySendError::Full(_)) => {}
                Err(TrySendError::Disconnected(_)) => return Err(self.failure()),
            }
        }
        self.account(account)?;
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

    fn account(&mut self, account: &Account) -> Result<()> {
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
