//! `record`: all that the engine is told, into a file.

use std::{
    fs,
    io::{IsTerminal as _, Write as _, stderr},
    os::unix::ffi::OsStrExt as _,
    process::ExitCode,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use anyhow::{Context as _, Result};
use bytes::BytesMut;
use tokio::signal::unix::{SignalKind, signal};

use super::live::Live;
use crate::{
    cli::{FromArgs, RecordArgs, RunArgs},
    clock,
    engine::{Engine, TcpState, Update, stuck::LINGERING},
    error::Failure,
    filter::Filter,
    logging,
    recording::{ClockPair, Files, Gauge, Hooks, META_SCHEMA, Meta, Recorder, Summary},
    render::{completeness::Completeness, count, escape},
    sink::{Alarm, Sink, Start, WatchSink},
    source::live::LookOptions,
};

/// After a look there is none for so many times as long as it took: half a percent of a CPU.
const REST: u32 = 200;

/// Runs it.
pub(super) async fn run(args: RecordArgs, verbosity: u8) -> Result<ExitCode> {
    if let [option, ..] = args.filters.decided_later()[..] {
        let why = format!(
            "{option}: what is recorded is decided by the kernel programs, which can't tell that yet; \
             record without it, and give it to the verb that reads: tcpdwell trace --from FILE {option} ..."
        );
        return Err(Failure::Usage(why).into());
    }
    let rotation = args.rotation.rotation()?;
    let filter = Filter::try_from(args.filters.clone())?;
    let filtered = filter.has_kernel_part();
    let forget_after = args.rotation.flight().filter(|_| args.on_finding);
    let run = RunArgs {
        filters: args.filters,
        output: None,
        duration: args.duration,
        live: args.live,
        from: FromArgs::default(),
        command: args.command,
    };
    let mut live = Live::attach_silent(run, verbosity)?;
    if !args.look_every.is_zero() {
        live = live.looking_by(LookOptions {
            every: Some(args.look_every),
            rest: REST,
            without: Some(!looked_at()),
        });
    }
    let meta = meta(live.start(), filtered);
    let files = Files::new(&args.output, args.compress_level, meta, rotation);
    let mut recorder = Recorder::start(files)?;
    live.announce();
    if rotation.in_memory {
        listen(recorder.gauge())?;
    }
    let mut sink: Box<dyn Sink> = Box::new(ProgressLine::new(recorder.gauge()));
    if let Some(forget_after) = forget_after {
        let alarm = alarm(recorder.gauge());
        sink = Box::new(WatchSink::new(sink, filter, forget_after, alarm));
    }
    let outcome = live.tapped(sink, u64::MAX, Some(&mut recorder)).await?;
    let summary = recorder.finish(&outcome.account)?;
    logging::note(&line(&summary));
    Ok(ExitCode::SUCCESS)
}

/// A bit for each state that a look while recording is about: where sockets wait, and listeners. Not
/// minisocks: what is known of them is told by their events.
fn looked_at() -> u32 {
    let others = [TcpState::Listen, TcpState::NewSynRecv];
    let states = LINGERING.into_iter().chain(others);
    states.fold(0, |bits, state| bits | 1 << state.index())
}

/// From here on SIGUSR1 has the latest written out.
fn listen(gauge: Arc<Gauge>) -> Result<()> {
    let mut signals = signal(SignalKind::user_defined1()).context("listening for SIGUSR1")?;
    tokio::spawn(async move {
        while signals.recv().await.is_some() {
            gauge.want();
        }
    });
    Ok(())
}

/// Has the latest written out, and says why.
fn alarm(gauge: Arc<Gauge>) -> Alarm {
    Box::new(move |rule, finding| {
        let subject = escape::text(finding.subject.as_bytes());
        let summary = escape::text(finding.summary.as_bytes());
        let severity = finding.severity.name();
        logging::note(&format!("{severity}: {rule}: {subject}: {summary}"));
        gauge.want();
    })
}

fn line(summary: &Summary) -> String {
    let progress = &summary.progress;
    let mut line = format!(
        "recorded {}, {}, in {}, the last '{}'",
        count::of(progress.events - progress.dropped, "event"),
        count::of(summary.bytes, "byte"),
        count::of(summary.files, "file"),
        escape::text(summary.path.as_os_str().as_bytes())
    );
    if progress.dropped > 0 {
        line += &format!(
            "; without {} for which the disk was too slow",
            count::of(progress.dropped, "event")
        );
    }
    line
}

fn meta(start: &Start, filtered: bool) -> Meta {
    let read = |path| {
        let text = fs::read_to_string(path).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let (mono, wall_ns) = clock::pair();
    let id = read("/proc/sys/kernel/random/uuid").unwrap_or_default();
    Meta {
        schema: META_SCHEMA.to_owned(),
        recording: id,
        segment: 0,
        host: start.host.clone(),
        machine_id: read("/etc/machine-id"),
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        kernel: start.kernel.clone(),
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        command_line: std::env::args_os()
            .map(|argument| argument.to_string_lossy().into_owned())
            .collect(),
        filtered,
        hooks: Hooks {
            state: start.state.clone(),
            time_wait: start.time_wait.clone(),
            snapshot: start.snapshot.clone(),
            owner: start.owner.clone(),
        },
        clock: ClockPair {
            mono_ns: mono.0,
            wall_ns,
        },
    }
}

/// How it goes, once a second, where a person watches.
struct ProgressLine {
    gauge: Arc<Gauge>,
    is_terminal: bool,
    before: u64,
}

impl ProgressLine {
    fn new(gauge: Arc<Gauge>) -> Self {
        Self {
            gauge,
            is_terminal: stderr().is_terminal(),
            before: 0,
        }
    }
}

impl Sink for ProgressLine {
    fn start(&mut self, _start: &Start, _out: &mut BytesMut) -> Result<()> {
        Ok(())
    }

    fn update(&mut self, _update: &Update, _out: &mut BytesMut) -> Result<()> {
        Ok(())
    }

    fn tick(&mut self, engine: &Engine, _out: &mut BytesMut) -> Result<()> {
        if !self.is_terminal {
            return Ok(());
        }
        let events = self.gauge.events.load(Relaxed);
        let rate = events.saturating_sub(self.before);
        self.before = events;
        let lost = engine.ledger().lost.total() + self.gauge.dropped.load(Relaxed);
        let kilobytes = self.gauge.bytes.load(Relaxed) / 1000;
        // A terminal that is gone is nobody who watches.
        let _ = write!(
            stderr().lock(),
            "\r\x1b[Krecording: {events} events, {rate}/s, {kilobytes} kB, lost {lost}"
        );
        Ok(())
    }

    fn end(
        &mut self,
        _engine: &Engine,
        _completeness: &Completeness,
        _out: &mut BytesMut,
    ) -> Result<()> {
        if self.is_terminal {
            let _ = write!(stderr().lock(), "\r\x1b[K");
        }
        Ok(())
    }
}
