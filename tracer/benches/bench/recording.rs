//! What a recording costs: bytes and time for each event, in memory.

use std::{hint::black_box, time::Instant};

use anyhow::{Result, anyhow};
use serde::Serialize;
use tracer::{
    decode::Decoder,
    engine::{Event, Mono},
    recording::{BlockReader, BlockType, Meta, Next, Progress, Segment, decode},
};

use crate::{
    Effort,
    report::Spread,
    synthetic::{RECORD, Synthetic},
};

const REPEATS: usize = 5;

/// One load at one level.
#[derive(Debug, Serialize)]
pub struct Recorded {
    /// Connections open at once.
    pub open: usize,
    pub level: i32,
    pub events: usize,
    pub bytes_per_event: f64,
    /// Columns, zstd, checksums.
    pub encode_ns: Spread,
    /// All of it, back to events.
    pub decode_ns: Spread,
}

pub fn measure(effort: &Effort) -> Result<Vec<Recorded>> {
    let mut measured = Vec::new();
    for open in [100, 1000, 100_000] {
        let records = Synthetic::new(open).records(effort.records);
        let mut events: Vec<Event> = records
            .chunks_exact(RECORD)
            .map(|record| Decoder::default().event(record))
            .collect::<Result<_, _>>()
            .map_err(|error| anyhow!("decoding: {error:?}"))?;
        // As unevenly as a kernel's: nothing repeats.
        for (i, event) in events.iter_mut().enumerate() {
            let jitter = (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55;
            event.at = Mono(event.at.0 + jitter);
        }
        for level in [1, 3] {
            measured.push(one(open, level, &events)?);
        }
    }
    Ok(measured)
}

fn one(open: usize, level: i32, events: &[Event]) -> Result<Recorded> {
    let (mut encode, mut decoded) = (Vec::new(), Vec::new());
    let per_event = |start: Instant| start.elapsed().as_nanos() as f64 / events.len() as f64;
    let mut file = Vec::new();
    for _ in 0..REPEATS {
        file.clear();
        let start = Instant::now();
        let mut segment = Segment::begin(file, level, &Meta::default(), Progress::default())?;
        for event in events {
            segment.push(event)?;
        }
        file = segment.end()?.0;
        encode.push(per_event(start));
        let start = Instant::now();
        anyhow::ensure!(read(&file)? == events.len(), "events are missing");
        decoded.push(per_event(start));
    }
    Ok(Recorded {
        open,
        level,
        events: events.len(),
        bytes_per_event: file.len() as f64 / events.len() as f64,
        encode_ns: Spread::of(encode),
        decode_ns: Spread::of(decoded),
    })
}

fn read(file: &[u8]) -> Result<usize> {
    let mut reader = BlockReader::new(file, 0)?;
    let mut events = Vec::new();
    let mut count = 0;
    loop {
        match reader.read()? {
            Next::End => return Ok(count),
            Next::Block { header, .. } if header.kind == BlockType::Events => {
                events.clear();
                decode(reader.payload(), header.count, &mut events)?;
                count += black_box(&events).len();
            }
            _ => {}
        }
    }
}
