//! A recording gives what the run gave, byte for byte: same pipeline, same sinks, other source.

use std::{fs, path::Path, sync::atomic::Ordering::Relaxed, time::Duration};

use tempfile::TempDir;
use tracer::{
    engine::{Account, Engine, Event, EventBody, Limits, Mono, TcpState},
    filter::{Filter, Gate, Window},
    pipeline::Pipeline,
    recording::{Files, Recorder, Rotation, inspect, recordings},
    shutdown::Shutdown,
    sink::{HistOptions, JsonSink, Output, Sink, Start},
    source::{EventSource, file::FileSource},
};

use crate::{made, sinks::sinks};

/// Events as a kernel delivers them: some at a time, stock taken in between.
struct Scripted {
    events: Vec<Event>,
    next: usize,
    account: Account,
}

impl EventSource for Scripted {
    async fn next_batch(
        &mut self,
        _by: Option<Mono>,
        out: &mut Vec<Event>,
    ) -> anyhow::Result<bool> {
        tokio::task::yield_now().await;
        let batch = 1 + self.next % 37;
        let end = self.events.len().min(self.next + batch);
        out.extend_from_slice(&self.events[self.next..end]);
        self.next = end;
        Ok(end < self.events.len())
    }

    fn take_stock(&mut self, out: &mut Vec<Event>) -> anyhow::Result<()> {
        let at = self.events.get(self.next).or(self.events.last());
        let wall_ns = 1_790_000_000_000_000_000 + i64::try_from(self.next).unwrap();
        out.push(Event {
            at: at.map_or(Mono(0), |event| event.at),
            body: EventBody::Clock { wall_ns },
        });
        Ok(())
    }

    async fn finish(&mut self, out: &mut Vec<Event>) -> anyhow::Result<bool> {
        self.take_stock(out)?;
        Ok(false)
    }

    fn account(&mut self) -> anyhow::Result<Account> {
        self.account.counters.seen = self.next as u64;
        Ok(self.account)
    }
}

/// Of every second, and with what is still open.
fn hist() -> HistOptions {
    HistOptions {
        interval: Some(Duration::from_secs(1)),
        open: true,
        ..HistOptions::default()
    }
}

fn start() -> Start {
    Start {
        host: "host-1".to_owned(),
        kernel: "6.18.0".to_owned(),
        state: "tp_btf".to_owned(),
        time_wait: "timer".to_owned(),
        snapshot: "iter".to_owned(),
        owner: "accept".to_owned(),
        boot_id: None,
    }
}

async fn run<S: EventSource>(
    source: &mut S,
    sink: Box<dyn Sink>,
    to: &Path,
    tap: Option<&mut Recorder>,
) -> Account {
    let pipeline = Pipeline {
        source,
        engine: Engine::new(Limits::default()),
        gate: Gate::new(Filter::default()),
        sink,
        output: Output::open(Some(to)).unwrap(),
        stop_after: u64::MAX,
        tap,
    };
    let mut shutdown = Shutdown::new(None).unwrap();
    pipeline.run(&start(), &mut shutdown).await.unwrap().account
}

#[test]
fn a_recording_says_what_the_run_said() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    // Clock readings two seconds apart, so that intervals end.
    let mut events = made::events(40_000);
    for (i, event) in events.iter_mut().enumerate() {
        event.at = Mono(1_000_000_000 + 100_000 * i as u64);
        if i % 10_000 == 9999 {
            event.body = EventBody::Clock {
                wall_ns: 1_790_000_000_000_000_000 + 100_000 * i64::try_from(i).unwrap(),
            };
        }
    }
    for (i, (live, replayed)) in sinks(hist()).into_iter().zip(sinks(hist())).enumerate() {
        let recording = path(&format!("{i}.tdw"));
        let files = Files::new(&recording, 1, made::meta(1), Rotation::default());
        let mut recorder = Recorder::start(files).unwrap();
        let mut source = Scripted {
            events: events.clone(),
            next: 0,
            account: Account::default(),
        };
        let account = runtime.block_on(run(&mut source, live, &path("live"), Some(&mut recorder)));
        let summary = recorder.finish(&account).unwrap();
        assert_eq!(summary.progress.dropped, 0);
        let mut found = recordings(&[recording]).unwrap();
        let mut source = FileSource::new(found.remove(0), Filter::default());
        let again = runtime.block_on(run(&mut source, replayed, &path("replayed"), None));
        assert!(!source.is_damaged());
        assert_eq!(account, again);
        let [live, replayed] = ["live", "replayed"].map(|name| fs::read(path(name)).unwrap());
        assert!(live.len() > 500, "sink {i} said too little to compare");
        assert!(live == replayed, "sink {i}: live and replayed differ");
    }
}

/// All that a recording's files say, in NDJSON.
fn told(runtime: &tokio::runtime::Runtime, files: &[std::path::PathBuf], to: &Path) -> Vec<u8> {
    let mut found = recordings(files).unwrap();
    assert_eq!(found.len(), 1);
    let mut source = FileSource::new(found.remove(0), Filter::default());
    runtime.block_on(run(&mut source, Box::new(JsonSink::default()), to, None));
    assert!(!source.is_damaged());
    fs::read(to).unwrap()
}

#[test]
fn a_recording_in_many_files_is_one_and_its_end_stands_by_itself() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("x.tdw");
    let rotation = Rotation {
        size: Some(1000),
        ..Rotation::default()
    };
    let files = Files::new(&path, 1, made::meta(1), rotation);
    let mut recorder = Recorder::start(files).unwrap();
    let mut source = Scripted {
        events: made::events(1000),
        next: 0,
        account: Account::default(),
    };
    // Each batch waits until the recorder has dealt with the one before, as a kernel's would.
    let mut engine = Engine::new(Limits::default());
    let mut events = Vec::new();
    let mut updates = Vec::new();
    while runtime
        .block_on(source.next_batch(None, &mut events))
        .unwrap()
    {
        recorder.take(&events, &engine, &source.account).unwrap();
        for event in events.drain(..) {
            engine.handle_event(&event, &mut updates);
        }
        std::thread::sleep(Duration::from_millis(60));
    }
    recorder.take(&events, &engine, &source.account).unwrap();
    let summary = recorder.finish(&Account::default()).unwrap();
    assert!(summary.files > 1, "{summary:?}");
    let mut all: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    all.sort();
    assert_eq!(all.len() as u64, summary.files);

    let whole = directory.path().join("whole");
    fs::write(&whole, made::recording(1, &made::events(1000), 100)).unwrap();
    let transitions = |text: &[u8]| {
        let text = String::from_utf8(text.to_vec()).unwrap();
        let lines = text.lines().filter(|l| l.contains("\"transition\""));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let to = directory.path().join("told");
    let of_many = transitions(&told(&runtime, &all, &to));
    let of_one = transitions(&told(&runtime, &[whole], &to));
    assert!(of_one.len() > 100);
    assert_eq!(of_many, of_one, "rotation changes nothing");

    // `x.tdw` sorts last: the others begin in the middle.
    let later = &all[..all.len() - 1];
    let of_later = transitions(&told(&runtime, later, &to));
    assert!(of_later.len() > 20 && of_later.len() < of_one.len());
    let after = |line: &String| line.split("\"mono_ns\":").nth(1).unwrap().to_owned();
    let last = (
        after(of_later.last().unwrap()),
        after(of_one.last().unwrap()),
    );
    let moment = |text: &str| text.split(',').next().unwrap().to_owned();
    assert_eq!(moment(&last.0), moment(&last.1));
}

/// What the wall clock shows at the kernel's second 1.
const WALL: i64 = 1_790_000_000_000_000_000;

/// How many transitions of a recording lie in a window, by what the wall clock is ahead of `WALL`.
fn shown(file: &Path, since: i64, until: i64) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let window = Window {
        since: Some(i128::from(WALL + since)),
        until: Some(i128::from(WALL + until)),
    };
    let mut found = recordings(&[file.to_owned()]).unwrap();
    let mut source = FileSource::new(found.remove(0), Filter::default());
    let pipeline = Pipeline {
        source: &mut source,
        engine: Engine::new(Limits::default()),
        gate: Gate::new(Filter::default()).within(window),
        sink: Box::new(JsonSink::default()),
        output: Output::nowhere(),
        stop_after: u64::MAX,
        tap: None,
    };
    runtime.block_on(async {
        let mut shutdown = Shutdown::new(None).unwrap();
        pipeline.run(&start(), &mut shutdown).await.unwrap().shown
    })
}

fn clock(at: Mono, wall_ns: i64) -> Event {
    let body = EventBody::Clock { wall_ns };
    Event { at, body }
}

#[test]
fn a_window_is_of_the_time_of_day() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("x.tdw");
    let mut events = made::events(2000);
    // A later reading would move the window.
    events.retain(|e| !matches!(e.body, EventBody::Clock { .. }));
    events.insert(0, clock(Mono(1_000_000_000), WALL));
    fs::write(&file, made::recording(1, &events, 100)).unwrap();
    let (all, first, second) = (
        shown(&file, i64::MIN / 4, i64::MAX / 4),
        shown(&file, i64::MIN / 4, 1_000_000),
        shown(&file, 1_000_000, i64::MAX / 4),
    );
    assert!(first > 10 && second > 10);
    assert_eq!(first + second, all);
}

/// An hour ahead for ten seconds: those ten are an hour later, and nothing else is.
#[test]
fn a_clock_that_is_set_ahead_and_back_ends_no_window() {
    const SECOND: i64 = 1_000_000_000;
    const HOUR: i64 = 3600 * SECOND;
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("x.tdw");
    let mut events = Vec::new();
    for second in 1..=40 {
        let at = Mono(1_000_000_000 * second);
        let ahead = if (11..21).contains(&second) { HOUR } else { 0 };
        let since = SECOND * i64::try_from(second - 1).unwrap();
        events.push(clock(at, WALL + since + ahead));
        // Not at the same moment: a listener that comes.
        let later = Mono(at.0 + 1_000_000);
        events.push(made::change(
            later,
            second,
            TcpState::Close,
            TcpState::Listen,
        ));
    }
    fs::write(&file, made::recording(1, &events, 10)).unwrap();
    assert_eq!(shown(&file, i64::MIN / 4, i64::MAX / 4), 40);
    assert_eq!(shown(&file, HOUR, 2 * HOUR), 10, "while it was ahead");
    assert_eq!(shown(&file, 0, 25 * SECOND), 15, "and while it was not");
    assert_eq!(shown(&file, 25 * SECOND, HOUR), 15);
}

#[test]
fn a_flood_is_recorded_or_counted() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("x.tdw");
    let files = Files::new(&path, 1, made::meta(1), Rotation::default());
    let mut recorder = Recorder::start(files).unwrap();
    let gauge = recorder.gauge();
    let events = made::events(16_384);
    let engine = Engine::new(Limits::default());
    let times = 100;
    for _ in 0..times {
        recorder
            .take(&events, &engine, &Account::default())
            .unwrap();
    }
    let progress = recorder.finish(&Account::default()).unwrap().progress;
    let all = times * events.len() as u64;
    assert_eq!(progress.events, all);
    assert_eq!(progress.dropped, gauge.dropped.load(Relaxed));
    let found = inspect(fs::File::open(&path).unwrap(), |_| Ok(())).unwrap();
    assert!(found.is_intact());
    assert_eq!(found.events + found.dropped, all);
    assert_eq!(found.dropped, progress.dropped);
}
