//! A file block by block, for people: what is there, what is damaged, what is missing. And what is
//! intact, copied.

use std::io::{Read, Write};

use anyhow::Result;
use hashbrown::HashMap;

use super::{
    bytes::Corrupt,
    events::decode,
    header::{BlockType, HEADER, Header},
    ledger::Ledger,
    reader::{BlockReader, Next},
};

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Intact blocks.
    pub blocks: u64,
    /// Events in them.
    pub events: u64,
    /// Bytes that are in no intact block.
    pub damaged_bytes: u64,
    /// Blocks that should be between others and are not, or that come twice.
    pub missing_blocks: u64,
    /// Events that the recorder had to drop.
    pub dropped: u64,
    /// The last block is END.
    pub is_ended: bool,
}

impl Inspection {
    /// Whether nothing is wrong.
    pub const fn is_intact(&self) -> bool {
        self.damaged_bytes == 0 && self.missing_blocks == 0 && self.is_ended
    }

    /// Takes note of an intact block.
    fn count(&mut self, header: &Header) {
        self.blocks += 1;
        self.events += u64::from(header.count);
        self.dropped = self.dropped.saturating_add(header.lost_before);
        self.is_ended = header.kind == BlockType::End;
    }
}

/// Looks at every block; each, and each gap, is told as a line.
pub fn inspect(from: impl Read, mut tell: impl FnMut(&str) -> Result<()>) -> Result<Inspection> {
    let mut reader = BlockReader::new(from, 0)?;
    let mut found = Inspection::default();
    // By recording: glued files are no damage.
    let mut expected: HashMap<u32, u64> = HashMap::new();
    tell("OFFSET       SEQ      TYPE     EVENTS BYTES    FROM(s)        TO(s)")?;
    loop {
        match reader.read()? {
            Next::End => return Ok(found),
            Next::Damage { offset, bytes, why } => {
                found.damaged_bytes += bytes;
                found.is_ended = false;
                tell(&format!("{offset:<12} damaged  {bytes} bytes: {why}"))?;
            }
            Next::Block { offset, header } => {
                let due = expected.insert(header.recording, header.seq.saturating_add(1));
                // A file of a rotated recording begins in its middle.
                let due = due.unwrap_or(header.seq);
                if header.seq != due {
                    let missing = header.seq.saturating_sub(due).max(1);
                    found.missing_blocks = found.missing_blocks.saturating_add(missing);
                    let gap = format!("{:<12} {} comes, {due} was due", "missing", header.seq);
                    tell(&gap)?;
                }
                found.count(&header);
                tell(&line(offset, &header))?;
                if let Err(why) = understand(&header, reader.payload()) {
                    found.damaged_bytes += HEADER as u64 + u64::from(header.comp_len);
                    tell(&format!("{offset:<12} damaged  its contents: {why}"))?;
                }
            }
        }
    }
}

/// Whether the contents are what the header says.
fn understand(header: &Header, payload: &[u8]) -> Result<(), Corrupt> {
    if header.flags != 0 || header.codec.is_none() {
        return Ok(());
    }
    match header.kind {
        BlockType::Events => decode(payload, header.count, &mut Vec::new()).map(drop),
        BlockType::End => Ledger::of_end(payload).map(drop),
        BlockType::Meta | BlockType::Snapshot | BlockType::Other(_) => Ok(()),
    }
}

fn line(offset: u64, header: &Header) -> String {
    let bytes = HEADER as u64 + u64::from(header.comp_len);
    format!(
        "{offset:<12} {:<8} {:<8} {:<6} {bytes:<8} {} {}",
        header.seq,
        header.kind.name(),
        header.count,
        seconds(header.first_ts),
        seconds(header.last_ts),
    )
}

/// Kernel time, to the microsecond.
fn seconds(ns: u64) -> String {
    let text = format!("{}.{:06}", ns / 1_000_000_000, ns % 1_000_000_000 / 1000);
    format!("{text:<14}")
}

/// Copies the intact blocks, as they are: what is missing stays a gap in their numbers.
pub fn repair(from: impl Read, to: &mut impl Write) -> Result<Inspection> {
    let mut reader = BlockReader::new(from, 0)?;
    let mut found = Inspection::default();
    loop {
        match reader.read()? {
            Next::End => break,
            Next::Damage { bytes, .. } => found.damaged_bytes += bytes,
            Next::Block { header, .. } => {
                found.count(&header);
                to.write_all(reader.block())?;
            }
        }
    }
    anyhow::ensure!(
        found.blocks > 0,
        "no intact block is in it: there is nothing to keep"
    );
    Ok(found)
}
