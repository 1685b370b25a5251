//! One file of a recording in the making: META, blocks of events, END. Each block goes out in one
//! write, so that what is in the file is whole blocks, and at most one that is cut off.

use std::io::{self, Write};

use super::{
    block::{Label, Packer},
    bytes::{put_delta, put_varint},
    events::EventsEncoder,
    header::BlockType,
    ledger::Ledger,
    meta::Meta,
    sections::{Section, put_section},
};
use crate::engine::{Account, Event};

/// A block is closed at so many events.
pub const BLOCK_EVENTS: u32 = 16_384;
/// And at so many bytes of the kinds that have no bound.
const BLOCK_RARE: usize = 2 << 20;
/// Places of the index; beyond it every second is dropped.
const INDEX: usize = 4096;

/// The account of a recording across its files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Blocks so far.
    pub blocks: u64,
    /// Events so far, dropped ones included.
    pub events: u64,
    /// Of these, dropped because the disk was too slow.
    pub dropped: u64,
    /// What the kernel side counted.
    pub account: Option<Account>,
}

/// Writes one file.
#[derive(Debug)]
pub struct Segment<W> {
    to: W,
    packer: Packer,
    encoder: EventsEncoder,
    recording: u32,
    progress: Progress,
    dropped_before: u64,
    written: u64,
    index: Vec<(u64, u64)>,
    stride: u64,
    payload: Vec<u8>,
    block: Vec<u8>,
}

impl<W: Write> Segment<W> {
    /// Begins a file; `progress` is what the files before it came to.
    pub fn begin(to: W, level: i32, meta: &Meta, progress: Progress) -> io::Result<Self> {
        let mut segment = Self {
            to,
            packer: Packer::new(level)?,
            encoder: EventsEncoder::default(),
            recording: meta.tag(),
            progress,
            dropped_before: 0,
            written: 0,
            index: Vec::new(),
            stride: 1,
            payload: Vec::new(),
            block: Vec::new(),
        };
        segment.payload = serde_json::to_vec(meta)?;
        let at = meta.clock.mono_ns;
        segment.write(BlockType::Meta, 0, (at, at))?;
        Ok(segment)
    }

    /// Takes an event in.
    pub fn push(&mut self, event: &Event) -> io::Result<()> {
        self.encoder.push(event);
        self.progress.events += 1;
        if self.encoder.count() >= BLOCK_EVENTS || self.encoder.rare_len() >= BLOCK_RARE {
            self.close_block()?;
        }
        Ok(())
    }

    /// So many events are missing here.
    pub fn drop_events(&mut self, count: u64) -> io::Result<()> {
        self.close_block()?;
        self.dropped_before += count;
        self.progress.dropped += count;
        self.progress.events += count;
        Ok(())
    }

    /// What the kernel side counted meanwhile.
    pub const fn set_account(&mut self, account: Account) {
        self.progress.account = Some(account);
    }

    /// Whether events wait for their block.
    pub const fn is_open(&self) -> bool {
        self.encoder.count() > 0
    }

    /// Writes the events that wait, if any.
    pub fn close_block(&mut self) -> io::Result<()> {
        let count = self.encoder.count();
        if count == 0 {
            return Ok(());
        }
        let span = self.encoder.span();
        let ledger = Ledger {
            events_before: self.progress.events - u64::from(count),
            account: self.progress.account,
        };
        self.payload.clear();
        self.encoder.finish(&ledger, &mut self.payload);
        self.note(span.0);
        self.write(BlockType::Events, count, span)
    }

    /// Writes what the files before have led to, for a reader who has not got them.
    pub fn snapshot(&mut self, events: &[Event]) -> io::Result<()> {
        for part in events.chunks(BLOCK_EVENTS as usize) {
            self.close_block()?;
            for event in part {
                self.encoder.push(event);
            }
            let (count, span) = (self.encoder.count(), self.encoder.span());
            let ledger = Ledger {
                events_before: self.progress.events,
                account: self.progress.account,
            };
            self.payload.clear();
            self.encoder.finish(&ledger, &mut self.payload);
            self.write(BlockType::Snapshot, count, span)?;
        }
        Ok(())
    }

    /// Ends the file in order.
    pub fn end(mut self) -> io::Result<(W, Progress)> {
        self.finish()?;
        Ok((self.to, self.progress))
    }

    /// The same, where the file is still needed. Nothing may follow.
    pub fn finish(&mut self) -> io::Result<()> {
        self.close_block()?;
        let ledger = Ledger {
            events_before: self.progress.events,
            account: self.progress.account,
        };
        let mut part = Vec::new();
        ledger.put(&mut part);
        self.payload.clear();
        put_section(&mut self.payload, Section::Ledger, &part);
        part.clear();
        put_varint(&mut part, self.stride);
        let (mut offset, mut at) = (0, 0);
        for place in &self.index {
            put_delta(&mut part, &mut offset, place.0);
            put_delta(&mut part, &mut at, place.1);
        }
        put_section(&mut self.payload, Section::Index, &part);
        self.write(BlockType::End, 0, (at, at))
    }

    /// Bytes written so far.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// The account so far.
    pub const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Where it went.
    pub fn into_target(self) -> W {
        self.to
    }

    /// Where it goes.
    pub const fn target(&self) -> &W {
        &self.to
    }

    /// Every so many blocks of events a place in the index.
    fn note(&mut self, at: u64) {
        if !self.progress.blocks.is_multiple_of(self.stride) {
            return;
        }
        if self.index.len() == INDEX {
            let mut keep = false;
            self.index.retain(|_| {
                keep = !keep;
                keep
            });
            self.stride *= 2;
        }
        self.index.push((self.written, at));
    }

    fn write(&mut self, kind: BlockType, count: u32, span: (u64, u64)) -> io::Result<()> {
        let label = Label {
            kind,
            seq: self.progress.blocks,
            count,
            span,
            lost_before: std::mem::take(&mut self.dropped_before),
            recording: self.recording,
        };
        self.block.clear();
        self.packer.pack(&label, &self.payload, &mut self.block)?;
        self.to.write_all(&self.block)?;
        self.written += self.block.len() as u64;
        self.progress.blocks += 1;
        Ok(())
    }
}
