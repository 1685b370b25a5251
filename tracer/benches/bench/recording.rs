//! What a recording costs: bytes for each event, and the time to write it, to read it, and to replay it.

use std::{hint::black_box, path::PathBuf, time::Duration};

use anyhow::{Result, anyhow};
use serde::Serialize;
use tracer::{
    decode::Decoder,
    engine::{Engine, Event, Limits, Mono},
    filter::Filter,
    recording::{BlockReader, BlockType, Meta, Next, Progress, Segment, decode, recordings},
    source::{EventSource as _, file::FileSource},
};

use crate::{
    Effort,
    report::Spread,
    synthetic::{RECORD, Synthetic},
    tool::Place,
    user::{UPDATES, thread_time},
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
    /// From a file through the engine, as `--from` does it, and nothing shown. CPU time of one thread.
    pub replay_ns: Spread,
}

pub fn measure(effort: &Effort, place: &Place) -> Result<Vec<Recorded>> {
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
            measured.push(one(open, level, &events, place)?);
        }
    }
    Ok(measured)
}

fn one(open: usize, level: i32, events: &[Event], place: &Place) -> Result<Recorded> {
    let (mut encode, mut decoded, mut replayed) = (Vec::new(), Vec::new(), Vec::new());
    let per_event = |start: Duration| -> Result<f64> {
        let spent = thread_time()?.saturating_sub(start);
        Ok(spent.as_nanos() as f64 / events.len() as f64)
    };
    let mut file = Vec::new();
    for _ in 0..REPEATS {
        file.clear();
        let start = thread_time()?;
        let mut segment = Segment::begin(file, level, &Meta::default(), Progress::default())?;
        for event in events {
            segment.push(event)?;
        }
        file = segment.end()?.0;
        encode.push(per_event(start)?);
        let start = thread_time()?;
        anyhow::ensure!(read(&file)? == events.len(), "events are missing");
        decoded.push(per_event(start)?);
        place.write(&file)?;
        let start = thread_time()?;
        replay(place.file(), events.len())?;
        replayed.push(per_event(start)?);
    }
    place.clear()?;
    Ok(Recorded {
        open,
        level,
        events: events.len(),
        bytes_per_event: file.len() as f64 / events.len() as f64,
        encode_ns: Spread::of(encode),
        decode_ns: Spread::of(decoded),
        replay_ns: Spread::of(replayed),
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

/// What the pipeline does, less what is shown.
fn replay(file: PathBuf, expected: usize) -> Result<()> {
    let mut found = recordings(&[file])?;
    let parts = found.pop().ok_or_else(|| anyhow!("no recording"))?;
    let mut source = FileSource::new(parts, Filter::default());
    let mut engine = Engine::new(Limits::default());
    let (mut events, mut updates) = (Vec::new(), Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        while source.next_batch(None, &mut events).await? {
            for event in events.drain(..) {
                engine.handle_event(&event, &mut updates);
                if updates.len() >= UPDATES {
                    black_box(&updates[..]);
                    updates.clear();
                }
            }
        }
        anyhow::ensure!(
            engine.ledger().delivered as usize == expected,
            "events are missing: {:?}",
            engine.ledger()
        );
        Ok(())
    })
}
