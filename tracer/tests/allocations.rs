//! In steady state an event allocates nothing, from the ring buffer's bytes to the sink's.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use bytes::BytesMut;
use tracer::{
    decode::Decoder,
    engine::{Engine, Event, EventBody, Limits, Mono, Update},
    filter::{Filter, Gate},
    render::completeness::Completeness,
    sink::{
        CsvSink, HistKey, HistOptions, HistSink, JsonSink, LineOptions, LinesSink, ReportSink,
        Sink, Start,
    },
    source::Account,
    top::Model,
};

#[expect(
    dead_code,
    clippy::cast_possible_truncation,
    reason = "the benchmark uses all of it; its numbers are small"
)]
#[path = "../benches/bench/synthetic.rs"]
mod synthetic;
use synthetic::{RECORD, Synthetic};

/// Counts this thread's allocations: the test harness has threads of its own.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn allocations() -> u64 {
    ALLOCATIONS.get()
}

#[expect(
    unsafe_code,
    reason = "an allocator can't be counted without being one"
)]
// SAFETY: everything is handed to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending has no counter any more, and is not ours.
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What the pipeline does with events, less the waiting and the writing.
struct Chain {
    engine: Engine,
    gate: Gate,
    sink: Box<dyn Sink>,
    events: Vec<Event>,
    updates: Vec<Update>,
    out: BytesMut,
    rendered: usize,
}

impl Chain {
    fn new(mut sink: Box<dyn Sink>) -> Self {
        let mut out = BytesMut::with_capacity(1 << 20);
        sink.start(&Start::default(), &mut out).unwrap();
        let mut chain = Self {
            engine: Engine::new(Limits::default()),
            gate: Gate::new(Filter::default()),
            sink,
            events: Vec::with_capacity(2048),
            updates: Vec::with_capacity(8192),
            out,
            rendered: 0,
        };
        let wall_ns = 1_770_000_000_000_000_000;
        chain.take(EventBody::Clock { wall_ns });
        for record in synthetic::processes() {
            chain.feed(&record, record.len());
        }
        chain
    }

    fn take(&mut self, body: EventBody) {
        let at = Mono(1);
        self.events.push(Event { at, body });
        self.process();
    }

    fn feed(&mut self, records: &[u8], size: usize) {
        for batch in records.chunks(1024 * size) {
            for record in batch.chunks(size) {
                self.events.push(Decoder::default().event(record).unwrap());
            }
            let at = self.events.last().map_or(Mono(0), |event| event.at);
            let body = EventBody::Watermark;
            self.events.push(Event { at, body });
            self.process();
        }
    }

    fn process(&mut self) {
        for event in self.events.drain(..) {
            self.engine.handle_event(&event, &mut self.updates);
        }
        for update in self.updates.drain(..) {
            if let Update::Transition(transition) = &update {
                for passed in self.gate.pass(transition).into_iter().flatten() {
                    let update = Update::Transition(passed);
                    self.sink.update(&update, &mut self.out).unwrap();
                }
            } else {
                self.sink.update(&update, &mut self.out).unwrap();
            }
        }
        self.rendered += self.out.len();
        self.out.clear();
    }
}

/// Allocations for 10,000 events and for 20,000, after the tables have grown.
fn steady_state(sink: Box<dyn Sink>) -> (u64, u64) {
    let (chain, allocated) = run(sink);
    assert!(chain.rendered > 130_000 * 50, "everything was rendered");
    allocated
}

fn run(sink: Box<dyn Sink>) -> (Chain, (u64, u64)) {
    let mut synthetic = Synthetic::new(500);
    let warm_up = synthetic.records(100_000);
    let (some, more) = (synthetic.records(10_000), synthetic.records(20_000));
    let mut chain = Chain::new(sink);
    chain.feed(&warm_up, RECORD);
    let start = allocations();
    chain.feed(&some, RECORD);
    let middle = allocations();
    chain.feed(&more, RECORD);
    let end = allocations();
    assert_eq!(chain.engine.ledger().irregular, 0);
    assert_eq!(chain.engine.ledger().unknown_starts, 0);
    (chain, (middle - start, end - middle))
}

#[test]
fn ndjson_allocates_nothing_per_event() {
    assert_eq!(steady_state(Box::new(JsonSink::default())), (0, 0));
}

#[test]
fn csv_allocates_nothing_per_event() {
    assert_eq!(steady_state(Box::new(CsvSink::default())), (0, 0));
}

#[test]
fn lines_allocate_nothing_per_event() {
    let plain = LineOptions::default();
    assert_eq!(steady_state(Box::new(LinesSink::new(plain))), (0, 0));
    let all = LineOptions {
        relative: true,
        wall: true,
        wide: true,
    };
    assert_eq!(steady_state(Box::new(LinesSink::new(all))), (0, 0));
}

#[test]
fn a_report_allocates_nothing_per_event() {
    let sink = ReportSink::new(Filter::default(), ReportSink::JSON);
    let (mut chain, allocated) = run(Box::new(sink));
    assert_eq!(allocated, (0, 0));
    let account = Account::default();
    let completeness = Completeness::new(&account, chain.engine.ledger());
    let mut out = BytesMut::new();
    chain
        .sink
        .end(&chain.engine, &completeness, &mut out)
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&out).unwrap();
    // Both ends of each connection; ten changes of state.
    let closed = report["connections"]["closed"].as_u64().unwrap();
    assert!((25_000..=26_000).contains(&closed), "{closed}");
}

#[test]
fn hist_allocates_nothing_per_event() {
    let keys = [
        HistKey::Process,
        HistKey::Lport,
        HistKey::Raddr,
        HistKey::ClosedFirst,
        HistKey::EndReason,
    ];
    for by in keys.into_iter().map(Some).chain([None]) {
        let options = HistOptions {
            by,
            ..HistOptions::default()
        };
        let (mut chain, allocated) = run(Box::new(HistSink::new(options)));
        assert_eq!(allocated, (0, 0), "{by:?}");
        let completeness = Completeness::new(&Account::default(), chain.engine.ledger());
        let mut out = BytesMut::new();
        chain
            .sink
            .end(&chain.engine, &completeness, &mut out)
            .unwrap();
        let drawn = String::from_utf8(out.to_vec()).unwrap();
        assert!(drawn.contains("state = ESTABLISHED"), "{by:?}: {drawn}");
    }
}

#[test]
fn the_dashboard_allocates_nothing_per_event() {
    let (_, allocated) = run(Box::new(Figures(Model::new(Filter::default()))));
    assert_eq!(allocated, (0, 0));
}

/// The dashboard's figures, without its screen.
struct Figures(Model);

impl Sink for Figures {
    fn start(&mut self, start: &Start, _out: &mut BytesMut) -> anyhow::Result<()> {
        self.0.start(start);
        Ok(())
    }

    fn update(&mut self, update: &Update, _out: &mut BytesMut) -> anyhow::Result<()> {
        self.0.update(update);
        Ok(())
    }
}

/// The counter counts: a test that can't fail shows nothing.
#[test]
fn an_allocation_is_counted() {
    let before = allocations();
    let some = std::hint::black_box(vec![1_u8; 100]);
    assert_eq!(allocations() - before, 1);
    drop(some);
}
