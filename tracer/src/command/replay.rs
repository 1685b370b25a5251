//! What the verbs do that read the running kernel or a recording: the same, whichever it is.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;

use super::live::{Live, tell_outcome};
use crate::{
    cli::RunArgs,
    engine::{ConnId, Engine, Limits},
    filter::{Filter, Gate, Window},
    logging,
    merge::{Finished, Lane, Merge},
    pipeline::Pipeline,
    recording::{self, Meta, Recording, by_host},
    render::{completeness::Completeness, dwells, ends, escape},
    shutdown::{Ended, Shutdown},
    sink::{MergedSink, Output, Sink, Start},
    source::file::FileSource,
};

/// What shows it: of one run or recording, or of several.
pub(super) struct View<A, S> {
    /// Of one.
    pub(super) alone: A,
    /// Of several recordings, in the order of their beginnings.
    pub(super) several: S,
    /// Whether each recording is shown as a whole, so that they may be read one after another.
    pub(super) one_by_one: bool,
}

/// Runs on what `--from` names, or live.
pub(super) async fn or_live<A, S>(
    args: RunArgs,
    verbosity: u8,
    stop_after: u64,
    view: View<A, S>,
) -> Result<ExitCode>
where
    A: FnOnce() -> Box<dyn Sink>,
    S: FnOnce(&[Recording]) -> Box<dyn MergedSink>,
{
    if args.from.files.is_empty() {
        return Live::attach(args, verbosity)?
            .run((view.alone)(), stop_after)
            .await;
    }
    let task = Task {
        filter: Filter::try_from(args.filters)?,
        window: args.from.window()?,
        is_strict: args.from.strict,
        output: args.output,
        stop_after,
        verbosity,
    };
    read(task, &args.from.files, view).await
}

/// Reads recordings: several are merged by the time of day.
pub(super) async fn read<A, S>(task: Task, files: &[PathBuf], view: View<A, S>) -> Result<ExitCode>
where
    A: FnOnce() -> Box<dyn Sink>,
    S: FnOnce(&[Recording]) -> Box<dyn MergedSink>,
{
    let recordings = by_host(recording::recordings(files)?);
    if recordings.len() == 1 {
        let sink = std::iter::once((view.alone)());
        return Ok(each(task, recordings, sink).await?.code);
    }
    let sink = (view.several)(&recordings);
    let mut shutdown = Shutdown::new(None)?;
    let output = Output::open(task.output.as_deref())?;
    let mut hosts = Ends::default();
    let lanes = recordings.into_iter().map(|recording| {
        let began_ns = recording.began_ns;
        let source = FileSource::new(recording.parts, task.filter.clone());
        let start = Start {
            host: recording.host,
            ..start(source.meta())
        };
        tell_start(&start, source.meta());
        Lane {
            source,
            start,
            began_ns,
        }
    });
    let merge = Merge {
        lanes: lanes.collect(),
        filter: task.filter.clone(),
        window: task.window,
        one_by_one: view.one_by_one,
        sink,
        output,
        stop_after: task.stop_after,
    };
    let merged = merge
        .run(&mut shutdown, |finished| {
            hosts.tell(finished, task.verbosity);
        })
        .await?;
    hosts.tell_sum();
    Ok(exit_code(merged.is_damaged && task.is_strict))
}

/// The accounts of recordings that have ended.
#[derive(Default)]
struct Ends {
    sum: Option<Completeness>,
}

impl Ends {
    fn tell(&mut self, finished: &Finished<'_>, verbosity: u8) {
        let host = escape::text(finished.start.host.as_bytes());
        if verbosity > 0 {
            let stats = finished.engine.stats();
            for line in dwells::table(stats).into_iter().chain(ends::lines(stats)) {
                logging::note(&line);
            }
        }
        logging::note(&format!("{host}: {}", finished.completeness.line()));
        match &mut self.sum {
            Some(sum) => sum.add(&finished.completeness),
            none => *none = Some(finished.completeness),
        }
    }

    fn tell_sum(&self) {
        if let Some(sum) = &self.sum {
            logging::note(&sum.line());
        }
    }
}

/// What to do with recordings.
pub(super) struct Task {
    pub(super) filter: Filter,
    pub(super) window: Window,
    pub(super) is_strict: bool,
    pub(super) output: Option<PathBuf>,
    pub(super) stop_after: u64,
    pub(super) verbosity: u8,
}

/// How reading went.
pub(super) struct Replayed {
    pub(super) code: ExitCode,
    /// It was not broken off.
    #[cfg_attr(
        not(feature = "parquet"),
        expect(dead_code, reason = "a manifest says it")
    )]
    pub(super) is_whole: bool,
}

/// Reads recordings one after another, each with a sink of its own, and says whether to the end.
pub(super) async fn in_turn(
    task: Task,
    files: &[PathBuf],
    sink: impl FnMut() -> Box<dyn Sink>,
) -> Result<Replayed> {
    let recordings = by_host(recording::recordings(files)?);
    each(task, recordings, std::iter::repeat_with(sink)).await
}

async fn each(
    task: Task,
    recordings: Vec<Recording>,
    sinks: impl Iterator<Item = Box<dyn Sink>>,
) -> Result<Replayed> {
    let mut output = Output::open(task.output.as_deref())?;
    let mut shutdown = Shutdown::new(None)?;
    let (mut left, mut first, mut is_damaged) = (task.stop_after, ConnId(1), false);
    let mut is_whole = true;
    for (recording, sink) in recordings.into_iter().zip(sinks) {
        let mut source = FileSource::new(recording.parts, task.filter.clone());
        let start = start(source.meta());
        tell_start(&start, source.meta());
        let pipeline = Pipeline {
            source: &mut source,
            engine: engine(first),
            gate: Gate::new(task.filter.clone()).within(task.window),
            sink,
            output,
            stop_after: left,
            tap: None,
        };
        let outcome = pipeline.run(&start, &mut shutdown).await?;
        tell_outcome(&outcome, &[], task.verbosity);
        is_damaged |= source.is_damaged();
        first = outcome.engine.next_name();
        left -= outcome.shown;
        output = outcome.output;
        if left == 0 || matches!(outcome.ended, Some(Ended::Signal)) {
            is_whole = false;
            break;
        }
    }
    Ok(Replayed {
        code: exit_code(is_damaged && task.is_strict),
        is_whole,
    })
}

/// What makes sense of a recording, of leaks too, naming its connections from here on.
pub(super) fn engine(first: ConnId) -> Engine {
    let mut engine = Engine::new(Limits::default()).naming_from(first);
    engine.watch_close_waits();
    engine
}

pub(super) fn exit_code(failed: bool) -> ExitCode {
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

pub(super) fn tell_start(start: &Start, meta: &Meta) {
    logging::note(&format!(
        "reading a recording of {} ({}), {}",
        escape::text(start.host.as_bytes()),
        escape::text(start.kernel.as_bytes()),
        began(meta)
    ));
}

/// What the recording stood on.
pub(super) fn start(meta: &Meta) -> Start {
    let hooks = meta.hooks.clone();
    Start {
        host: meta.host.clone(),
        kernel: meta.kernel.clone(),
        state: hooks.state,
        time_wait: hooks.time_wait,
        snapshot: hooks.snapshot,
        owner: hooks.owner,
        boot_id: meta.boot_id.clone(),
    }
}

fn began(meta: &Meta) -> String {
    let wall_ns = i128::from(meta.clock.wall_ns);
    match jiff::Timestamp::from_nanosecond(wall_ns) {
        Ok(began) if wall_ns > 0 => format!("begun {}", began.strftime("%F %T UTC")),
        _ => "begun at an unknown time".to_owned(),
    }
}
