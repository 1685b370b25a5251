//! The thread that writes: packs events into blocks, hands each to the disk at once, and does in time
//! what is due.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::Duration,
};

use anyhow::{Context as _, Error, Result, anyhow};
use caps::{CapSet, Capability, CapsHashSet};

use super::{
    files::Files,
    recorder::{Gauge, Message, Summary},
    segment::Segment,
    syncer::Syncer,
    target::Target,
};
use crate::{
    clock,
    engine::{Event, EventBody, Mono},
    logging,
};

/// A block is written when its first event has waited for so long. A crash may cost a second, of which a busy
/// machine takes its share.
const BLOCK_AGE: Duration = Duration::from_millis(400);
/// How often the disk is asked to keep what it was given.
const SYNC: Duration = Duration::from_secs(1);

/// Paths of cgroups and settings that are told anew in the next file.
const MAX_TOLD_ONCE: usize = 65_536;

/// See the module.
pub(super) struct Worker {
    files: Files,
    /// Files made.
    count: u64,
    /// Bytes of those before this one.
    before: u64,
    /// Paths of cgroups and settings, each told once.
    told_once: Vec<Event>,
    path: PathBuf,
    segment: Segment<Target>,
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
    /// Goes on with the first file.
    pub(super) fn new(
        files: Files,
        (path, segment): (PathBuf, Segment<Target>),
        (from, spare): (Receiver<Message>, SyncSender<Vec<Event>>),
        gauge: Arc<Gauge>,
    ) -> Self {
        Self {
            files,
            count: 1,
            before: 0,
            told_once: Vec::new(),
            path,
            segment,
            from,
            spare,
            gauge,
            close_by: None,
            sync_by: clock::monotonic().plus(SYNC),
            is_dirty: true,
            waits_for_next: false,
        }
    }

    /// Until it is told to end, or fails.
    pub(super) fn run(mut self) -> Result<Summary> {
        match give_up_privileges(self.files.makes_more()).and_then(|()| self.record()) {
            Ok(()) => self.end(),
            Err(error) => Err(self.rescue(&error)),
        }
    }

    fn record(&mut self) -> Result<()> {
        let mut syncer = Syncer::start().context("starting the thread that asks the disk")?;
        loop {
            let now = clock::monotonic();
            let wake_by = self
                .close_by
                .map_or(self.sync_by, |by| by.min(self.sync_by));
            match self.from.recv_timeout(wake_by.since(now)) {
                Ok(Message::Events { dropped, events }) => self.take(dropped, events)?,
                Ok(Message::Account(account)) => self.segment.set_account(*account),
                Ok(Message::Next(standing)) => {
                    syncer.wait()?;
                    self.next_file(&standing)?;
                }
                Ok(Message::Finish) | Err(RecvTimeoutError::Disconnected) => {
                    return Ok(syncer.wait()?);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.be_punctual(&mut syncer)?;
        }
    }

    fn take(&mut self, dropped: u64, mut events: Vec<Event>) -> Result<()> {
        if dropped > 0 {
            self.segment.drop_events(dropped)?;
        }
        for event in &events {
            self.segment.push(event)?;
            if let EventBody::Cgroup(_) | EventBody::Sysctl(_) = event.body
                && self.told_once.len() < MAX_TOLD_ONCE
            {
                self.told_once.push(event.clone());
            }
        }
        self.gauge.waiting.fetch_sub(events.len(), Relaxed);
        events.clear();
        let _ = self.spare.try_send(events);
        Ok(())
    }

    /// Does what is due: the block, the disk.
    fn be_punctual(&mut self, syncer: &mut Syncer) -> Result<()> {
        let now = clock::monotonic();
        if !self.segment.is_open() {
            self.close_by = None;
        } else if self.close_by.get_or_insert(now.plus(BLOCK_AGE)).0 <= now.0 {
            self.segment.close_block()?;
            self.close_by = None;
        }
        let is_wanted = self.gauge.is_wanted.load(Relaxed);
        let is_due = is_wanted || self.files.is_due(self.segment.written(), now);
        if is_due && !self.waits_for_next {
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
        if file.is_removed() {
            return Err(anyhow!("the file was removed"));
        }
        if self.is_dirty
            && syncer.is_idle()?
            && let Some(file) = file.on_disk()?
        {
            syncer.sync(file)?;
            self.is_dirty = false;
        }
        self.files.sweep(self.segment.written(), now);
        self.sync_by = clock::monotonic().plus(SYNC);
        Ok(())
    }

    /// Ends this file in order, and begins the next.
    fn next_file(&mut self, standing: &[Event]) -> Result<()> {
        self.segment.finish()?;
        self.segment.target().sync()?;
        let bytes = self.segment.written();
        let (path, segment) = self.files.begin(*self.segment.progress())?;
        let path = std::mem::replace(&mut self.path, path);
        let old = std::mem::replace(&mut self.segment, segment);
        self.before += bytes;
        self.count += 1;
        self.files.close(path, bytes, old.into_target());
        if self.gauge.is_wanted.swap(false, Relaxed) {
            self.write_out()?;
        }
        let clock = self.files.clock();
        let (at, wall_ns) = (Mono(clock.mono_ns), clock.wall_ns);
        let body = EventBody::Clock { wall_ns };
        self.segment.snapshot(&[Event { at, body }])?;
        self.segment.snapshot(&self.told_once)?;
        self.segment.snapshot(standing)?;
        self.files.began_with(self.segment.written());
        self.files.sweep(self.segment.written(), clock::monotonic());
        self.waits_for_next = false;
        Ok(())
    }

    /// What was kept in memory goes to the disk.
    fn write_out(&mut self) -> Result<()> {
        if let Some((path, bytes)) = self.files.write_out()? {
            let shown = path.display();
            logging::note(&format!("'{shown}' holds the latest, {bytes} bytes"));
            self.path = path;
        }
        Ok(())
    }

    fn end(mut self) -> Result<Summary> {
        let shown = self.path.display();
        self.segment
            .finish()
            .with_context(|| format!("recording to '{shown}': writing its last block"))?;
        let synced = self.segment.target().sync();
        synced.with_context(|| format!("recording to '{shown}': waiting for the disk"))?;
        let Self { segment, .. } = self;
        let (bytes, progress) = (segment.written(), *segment.progress());
        let mut files = self.files;
        let mut path = self.path;
        files.close(path.clone(), bytes, segment.into_target());
        if let Some((written, _)) = files.write_out()? {
            path = written;
        }
        Ok(Summary {
            path,
            files: self.count,
            bytes: self.before + bytes,
            progress,
        })
    }

    /// Leaves whole blocks only, and says what is safe.
    fn rescue(&self, error: &Error) -> Error {
        let file = self.segment.target();
        let bytes = self.segment.written();
        let left = file.truncate(bytes);
        let removed = file.is_removed();
        let shown = self.path.display();
        match left {
            Ok(()) if !removed => anyhow!(
                "recording to '{shown}' failed: {error:#}; {bytes} bytes of whole blocks are safe in it"
            ),
            _ => anyhow!("recording to '{shown}' failed: {error:#}; nothing of it may be left"),
        }
    }
}

/// This thread writes files. If it is to make some, then also where only root may.
fn give_up_privileges(makes_files: bool) -> Result<()> {
    let held = caps::read(None, CapSet::Permitted).context("reading our capabilities")?;
    let needed = |cap: &Capability| makes_files && *cap == Capability::CAP_DAC_OVERRIDE;
    let kept: CapsHashSet = held.into_iter().filter(needed).collect();
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &kept).context("giving up capabilities")?;
    }
    Ok(())
}
