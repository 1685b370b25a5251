//! User space on one core: from the ring buffer's bytes to the engine, and on to each sink.

use std::{hint::black_box, io, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use bytes::BytesMut;
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;
use tracer::{
    decode::Decoder,
    engine::{Engine, Event, EventBody, Limits, Mono, Update},
    filter::{Filter, Gate},
    recording::{Meta, Progress, Segment},
    sink::{CsvSink, JsonSink, LineOptions, LinesSink, Sink, Start},
};

use crate::{
    Effort,
    report::Spread,
    synthetic::{RECORD, Synthetic, processes},
};

/// As in `source::live`.
const BATCH: usize = 4096;
/// As in `pipeline`.
pub const UPDATES: usize = 128;
/// As in `sink::Output`.
const CHUNK: usize = 64 * 1024;

/// `--compress-level` of `record`.
const LEVEL: i32 = 1;

const REPEATS: usize = 5;

/// One stage, everything before it included.
#[derive(Debug, Serialize)]
pub struct Stage {
    pub name: &'static str,
    /// Connections open at once.
    pub open: usize,
    pub events: usize,
    pub ns_per_event: Spread,
    /// Of the best repeat.
    pub events_per_second: f64,
}

pub fn measure(effort: &Effort) -> Result<Vec<Stage>> {
    let mut stages = Vec::new();
    for open in [1000, 100_000] {
        let records = Synthetic::new(open).records(effort.records);
        stages.push(stage("decode + engine", open, &records, || {
            chain(&records, None)
        })?);
        if open > 1000 {
            continue;
        }
        stages.push(stage("decode", open, &records, || decode_only(&records))?);
        stages.push(stage(
            "decode + engine + gate + ndjson",
            open,
            &records,
            || chain(&records, Some(Box::new(JsonSink::default()))),
        )?);
        stages.push(stage(
            "decode + engine + recording",
            open,
            &records,
            || record(&records),
        )?);
        stages.push(stage(
            "decode + engine + gate + csv",
            open,
            &records,
            || chain(&records, Some(Box::new(CsvSink::default()))),
        )?);
        stages.push(stage(
            "decode + engine + gate + lines",
            open,
            &records,
            || {
                let options = LineOptions::default();
                chain(&records, Some(Box::new(LinesSink::new(options))))
            },
        )?);
    }
    Ok(stages)
}

fn stage(
    name: &'static str,
    open: usize,
    records: &[u8],
    run: impl Fn() -> Result<()>,
) -> Result<Stage> {
    let events = records.len() / RECORD;
    let mut ns = Vec::new();
    for _ in 0..REPEATS {
        let start = thread_time()?;
        run()?;
        let spent = thread_time()?.saturating_sub(start);
        ns.push(spent.as_nanos() as f64 / events as f64);
    }
    let ns_per_event = Spread::of(ns);
    Ok(Stage {
        name,
        open,
        events,
        events_per_second: 1e9 / ns_per_event.min,
        ns_per_event,
    })
}

/// CPU time of this thread: others may be running beside it.
pub fn thread_time() -> Result<Duration> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.map(Duration::from)
        .context("reading the thread's CPU time")
}

/// A full ring buffer, as `source::live` takes it in.
fn fill(decoder: &Decoder, records: &[u8], events: &mut Vec<Event>) -> Result<()> {
    for record in records.chunks_exact(RECORD) {
        take(decoder, record, events)?;
    }
    let at = events.last().map_or(Mono(0), |event| event.at);
    let body = EventBody::Watermark;
    events.push(Event { at, body });
    Ok(())
}

#[inline]
fn take(decoder: &Decoder, record: &[u8], events: &mut Vec<Event>) -> Result<()> {
    match decoder.event(record) {
        Ok(event) => {
            events.push(event);
            Ok(())
        }
        Err(error) => Err(anyhow!("decoding: {error:?}")),
    }
}

fn decode_only(records: &[u8]) -> Result<()> {
    let decoder = Decoder::default();
    let mut events = Vec::with_capacity(BATCH + 1);
    for batch in records.chunks(BATCH * RECORD) {
        fill(&decoder, batch, &mut events)?;
        black_box(&events[..]);
        events.clear();
    }
    Ok(())
}

/// What source and pipeline do with a full ring buffer, less the waiting and the writing.
fn chain(records: &[u8], mut sink: Option<Box<dyn Sink>>) -> Result<()> {
    let decoder = Decoder::default();
    let mut engine = Engine::new(Limits::default());
    let mut gate = Gate::new(Filter::default());
    let mut out = BytesMut::with_capacity(2 * CHUNK);
    let (mut events, mut updates) = (Vec::with_capacity(BATCH + 1), Vec::new());
    let wall_ns = 1_770_000_000_000_000_000;
    events.push(Event {
        at: Mono(0),
        body: EventBody::Clock { wall_ns },
    });
    for process in processes() {
        take(&decoder, &process, &mut events)?;
    }
    if let Some(sink) = &mut sink {
        sink.start(&Start::default(), &mut out)?;
    }
    for batch in records.chunks(BATCH * RECORD) {
        fill(&decoder, batch, &mut events)?;
        for event in &events {
            engine.handle_event(event, &mut updates);
            if updates.len() >= UPDATES {
                show(&mut updates, &mut gate, sink.as_deref_mut(), &mut out)?;
            }
        }
        events.clear();
        show(&mut updates, &mut gate, sink.as_deref_mut(), &mut out)?;
    }
    let ledger = engine.ledger();
    anyhow::ensure!(
        ledger.irregular == 0 && ledger.delivered as usize == records.len() / RECORD,
        "the synthetic load is not what it should be: {ledger:?}"
    );
    Ok(())
}

fn show(
    updates: &mut Vec<Update>,
    gate: &mut Gate,
    sink: Option<&mut (dyn Sink + 'static)>,
    out: &mut BytesMut,
) -> Result<()> {
    let Some(sink) = sink else {
        black_box(&updates[..]);
        updates.clear();
        return Ok(());
    };
    for update in &*updates {
        gate.sift(update, |update| sink.update(update, out))?;
        if out.len() >= CHUNK {
            black_box(&out[..]);
            out.clear();
        }
    }
    updates.clear();
    Ok(())
}

/// What `record` does with a full ring buffer, its two threads one after the other, less the writing.
fn record(records: &[u8]) -> Result<()> {
    let decoder = Decoder::default();
    let mut engine = Engine::new(Limits::default());
    let mut segment = Segment::begin(io::sink(), LEVEL, &Meta::default(), Progress::default())?;
    let (mut events, mut updates) = (Vec::with_capacity(BATCH + 1), Vec::new());
    let mut copied = Vec::new();
    for batch in records.chunks(BATCH * RECORD) {
        fill(&decoder, batch, &mut events)?;
        copied.extend_from_slice(&events);
        for event in &copied {
            segment.push(event)?;
        }
        copied.clear();
        for event in &events {
            engine.handle_event(event, &mut updates);
            if updates.len() >= UPDATES {
                black_box(&updates[..]);
                updates.clear();
            }
        }
        events.clear();
    }
    segment.end()?;
    Ok(())
}
