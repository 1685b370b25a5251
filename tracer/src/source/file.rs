//! Events from a recording, in place of the kernel's. What is missing is told as lost.

use std::{
    collections::VecDeque,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom, Take},
    path::PathBuf,
};

use anyhow::{Context as _, Result};

use super::{Account, EventSource};
use crate::{
    engine::{Event, EventBody, LostCount, Mono},
    filter::Filter,
    recording::{BlockReader, BlockType, Header, Ledger, Meta, Next, Part, account_since, decode},
};

/// One recording as a source, however many files it takes.
#[derive(Debug)]
pub struct FileSource {
    meta: Meta,
    filter: Filter,
    parts: VecDeque<Part>,
    open: Option<(PathBuf, BlockReader<Take<File>>)>,
    account: Account,
    /// What was counted before this began.
    before: Account,
    /// Not wanted by the filter.
    filtered: u64,
    /// Events that are missing.
    missing: u64,
    /// What the next intact block should be.
    expected: Option<Expected>,
    is_damaged: bool,
    /// Events were told, other than what stood at the beginning.
    has_events: bool,
    unknown: u64,
    repeats: u64,
}

/// Where the reading stands.
#[derive(Clone, Copy, Debug)]
struct Expected {
    seq: u64,
    /// Events up to here; `None`: not known yet.
    events: Option<u64>,
    /// Time of the latest that came with an account.
    at: Mono,
    /// Blocks that were not there since.
    missing: u64,
    /// It was ended in order.
    ended: bool,
}

impl Expected {
    /// Blocks that are not there, before this one.
    const fn missing_before(&self, header: &Header) -> u64 {
        let here = header.seq.saturating_sub(self.seq);
        self.missing.saturating_add(here)
    }
}

impl FileSource {
    /// Reads these parts of one recording, in this order.
    pub fn new(parts: Vec<Part>, filter: Filter) -> Self {
        let meta = parts.iter().find_map(|part| part.meta.clone());
        let is_damaged = meta.is_none();
        if is_damaged {
            log::warn!("what the recording stands on (host, kernel, hooks) is lost");
        }
        Self {
            meta: meta.unwrap_or_default(),
            filter,
            parts: parts.into(),
            open: None,
            account: Account::default(),
            before: Account::default(),
            filtered: 0,
            missing: 0,
            expected: None,
            is_damaged,
            has_events: false,
            unknown: 0,
            repeats: 0,
        }
    }

    /// What the recording stands on.
    pub const fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Whether something of it is missing or damaged.
    pub const fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    /// The events of the next intact block; `false`: there is none.
    fn block(&mut self, events: &mut Vec<Event>) -> Result<bool> {
        loop {
            let Some((path, reader)) = &mut self.open else {
                let Some(part) = self.parts.pop_front() else {
                    self.tell_end();
                    return Ok(false);
                };
                self.open = Some(open(part)?);
                continue;
            };
            let shown = path.display();
            let next = reader.read();
            match next.with_context(|| format!("reading the recording '{shown}'"))? {
                Next::Damage { offset, bytes, why } => {
                    log::warn!("'{shown}': {bytes} bytes at {offset} are no intact block: {why}");
                    self.is_damaged = true;
                }
                Next::End => self.open = None,
                Next::Block { header, .. } if self.is_repeat(&header) => {}
                Next::Block { header, .. } => {
                    if self.take(&header, events) {
                        return Ok(true);
                    }
                }
            }
        }
    }

    /// Whether the block was there before: a file was given twice, or glued to itself.
    fn is_repeat(&mut self, header: &Header) -> bool {
        let repeats = self.expected.is_some_and(|e| header.seq < e.seq);
        if repeats {
            self.repeats += 1;
            self.is_damaged = true;
        }
        repeats
    }

    /// Takes an intact block in; whether it held events.
    fn take(&mut self, header: &Header, events: &mut Vec<Event>) -> bool {
        let payload = self.open.as_ref().map_or(&[][..], |(_, r)| r.payload());
        let count = u64::from(header.count);
        let for_us = header.flags == 0 && header.codec.is_some();
        let (ledger, holds_events) = match header.kind {
            BlockType::Events if for_us => {
                let first = events.len();
                match decode(payload, header.count, events) {
                    Ok(decoded) => {
                        self.unknown += u64::from(decoded.unknown);
                        self.pass(first, events);
                        if let Some(gap) = self.gap(header, &decoded.ledger) {
                            events.insert(first, gap);
                        }
                        self.has_events = true;
                        (Some(decoded.ledger), true)
                    }
                    Err(why) => {
                        log::warn!("block {} can't be understood: {why}", header.seq);
                        self.is_damaged = true;
                        return false;
                    }
                }
            }
            BlockType::Snapshot if for_us && self.starts_here() => {
                let first = events.len();
                if let Ok(decoded) = decode(payload, header.count, events) {
                    self.before = decoded.ledger.account.unwrap_or_default();
                    self.pass(first, events);
                }
                (None, true)
            }
            BlockType::End if for_us => match Ledger::of_end(payload) {
                Ok(ledger) => {
                    events.extend(self.gap(header, &ledger));
                    (Some(ledger), false)
                }
                Err(_) => (None, false),
            },
            _ => (None, false),
        };
        if self.expected.is_none() && header.seq > 0 {
            log::warn!(
                "it begins with block {}, and what stood then: those before it are not there",
                header.seq
            );
        }
        if let Some(account) = ledger.and_then(|ledger| ledger.account) {
            self.account = account;
        }
        let before = self.expected;
        let events_before = before.and_then(|before| before.events);
        // What a file begins with has none: what is missing before it is told with the first that has.
        let without = before.filter(|_| ledger.is_none());
        self.expected = Some(Expected {
            seq: header.seq.saturating_add(1),
            missing: without.map_or(0, |before| before.missing_before(header)),
            events: match ledger {
                Some(ledger) => Some(ledger.events_before.saturating_add(count)),
                None if header.seq == 0 => Some(0),
                None => events_before,
            },
            at: without.map_or(Mono(header.last_ts), |before| before.at),
            ended: header.kind == BlockType::End,
        });
        holds_events || !events.is_empty()
    }

    /// Whether what led here is not there: then it is told by what stood.
    const fn starts_here(&self) -> bool {
        !self.has_events
    }

    /// What is missing between the block before and this one, as an event.
    fn gap(&mut self, header: &Header, ledger: &Ledger) -> Option<Event> {
        let at = Mono(header.first_ts);
        let expected = self.expected?;
        let gone = ledger
            .events_before
            .saturating_sub(header.lost_before)
            .saturating_sub(expected.events.unwrap_or(u64::MAX));
        let blocks = expected.missing_before(header);
        if blocks > 0 || gone > 0 {
            log::warn!(
                "missing before block {}: {blocks} block(s) with {gone} event(s), of {:.3} s",
                header.seq,
                at.since(expected.at).as_secs_f64()
            );
            self.is_damaged = true;
        }
        if header.lost_before > 0 {
            log::warn!(
                "not recorded, because the disk was too slow: {} event(s)",
                header.lost_before
            );
        }
        let recording = gone.saturating_add(header.lost_before);
        if recording == 0 {
            return None;
        }
        self.missing = self.missing.saturating_add(recording);
        let lost = LostCount {
            recording,
            ..LostCount::default()
        };
        let body = EventBody::Lost(lost);
        Some(Event { at, body })
    }

    /// Lets through, of the events from `first` on, what the filter of the kernel programs would have.
    fn pass(&mut self, first: usize, events: &mut Vec<Event>) {
        if !self.filter.has_kernel_part() {
            return;
        }
        let mut read = events.split_off(first);
        read.retain_mut(|event| {
            let wanted = self.filter.admits(&mut event.body);
            let counted = !matches!(event.body, EventBody::Found(_) | EventBody::Inspected(_));
            self.filtered += u64::from(!wanted && counted);
            wanted
        });
        events.append(&mut read);
    }

    /// How it ended.
    fn tell_end(&mut self) {
        if self.repeats > 0 {
            log::warn!(
                "left out, because they come again: {} block(s)",
                self.repeats
            );
        }
        if self.unknown > 0 {
            log::warn!(
                "left out, because they are of a newer tcpdwell: {} event(s)",
                self.unknown
            );
        }
        if !self.expected.is_some_and(|e| e.ended) {
            log::warn!(
                "the recording was not ended in order: its recorder was killed, or its file is cut \
                 off; what came last, a second as a rule, is missing"
            );
            self.is_damaged = true;
        }
    }
}

fn open(part: Part) -> Result<(PathBuf, BlockReader<Take<File>>)> {
    let reading = || format!("reading the recording '{}'", part.path.display());
    let mut file = File::open(&part.path).with_context(reading)?;
    file.seek(SeekFrom::Start(part.offset))
        .with_context(reading)?;
    let reader = BlockReader::new(file.take(part.bytes), part.offset).with_context(reading)?;
    Ok((part.path, reader))
}

impl EventSource for FileSource {
    async fn next_batch(&mut self, _by: Option<Mono>, events: &mut Vec<Event>) -> Result<bool> {
        // A file is always ready: signals get their turn here.
        tokio::task::yield_now().await;
        self.block(events)
    }

    /// The recording holds what was noticed when it was made.
    fn take_stock(&mut self, _events: &mut Vec<Event>) -> Result<()> {
        Ok(())
    }

    async fn finish(&mut self, _events: &mut Vec<Event>) -> Result<bool> {
        Ok(false)
    }

    fn account(&mut self) -> Result<Account> {
        let mut account = account_since(&self.account, &self.before);
        let missing = account.lost.recording.saturating_add(self.missing);
        account.lost.recording = missing;
        let filtered = account.counters.filtered.saturating_add(self.filtered);
        account.counters.filtered = filtered;
        account.counters.submitted = account.counters.submitted.saturating_sub(self.filtered);
        Ok(account)
    }
}
