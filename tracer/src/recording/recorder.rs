//! Takes events from the one who drains the ring, and writes them on a thread of its own: a slow disk
//! costs counted events, never a stalled ring and never memory without bound.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
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
    engine::{Account, Event, Mono},
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
}

/// What a recording came to.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The file.
    pub path: PathBuf,
    /// Bytes of it.
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
    pub fn start(files: &Files) -> Result<Self> {
        let (path, segment) = files.begin()?;
        let (to, from) = sync_channel(MESSAGES);
        let (give, spare) = sync_channel(SPARE);
        let gauge = Arc::new(Gauge::default());
        let worker = Worker {
            path,
            segment,
            from,
            spare: give,
            gauge: Arc::clone(&gauge),
            close_by: None,
            sync_by: clock::monotonic().plus(SYNC),
            is_dirty: true,
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

    /// Takes events in; never waits. An error: recording has failed, and ended.
    pub fn take(&mut self, events: &[Event]) -> Result<()> {
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
    path: PathBuf,
    segment: Segment<File>,
    from: Receiver<Message>,
    spare: SyncSender<Vec<Event>>,
    gauge: Arc<Gauge>,
    /// When the open block is to be written.
    close_by: Option<Mono>,
    sync_by: Mono,
    is_dirty: bool,
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
        let written = self.segment.written();
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
        self.sync_by = clock::monotonic().plus(SYNC);
        Ok(())
    }

    fn end(self) -> Result<Summary> {
        let Self { path, segment, .. } = self;
        let shown = path.display();
        let (file, progress) = segment
            .end()
            .with_context(|| format!("recording to '{shown}': writing its last block"))?;
        file.sync_all()
            .with_context(|| format!("recording to '{shown}': waiting for the disk"))?;
        sync_directory(&path);
        let bytes = file.metadata().map_or(0, |metadata| metadata.len());
        Ok(Summary {
            path,
            bytes,
            progress,
        })
    }

    /// Leaves whole blocks only, and says what is safe.
    fn rescue(&self, error: Error) -> Error {
        let file = self.segment.target();
        let bytes = self.segment.written();
        let left = file.set_len(bytes).and_then(|()| file.sync_data());
        let removed = is_removed(file);
        let safe = match left {
            Ok(()) if !removed => format!("{bytes} bytes of whole blocks are safe in it"),
            _ => "nothing of it may be left".to_owned(),
        };
        error.context(format!("recording to '{}', {safe}", self.path.display()))
    }
}

/// The file's name is safe only with its directory.
fn sync_directory(path: &Path) {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    if let Err(error) = File::open(directory).and_then(|directory| directory.sync_all()) {
        log::debug!("'{}' can't be synced: {error}", directory.display());
    }
}
