//! What the verbs do that read the running kernel or a recording: the same, whichever it is.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;

use super::live::{Live, tell_outcome};
use crate::{
    cli::RunArgs,
    engine::{ConnId, Engine, Limits},
    filter::{Filter, Gate, Window},
    logging,
    pipeline::Pipeline,
    recording::{self, Meta},
    shutdown::{Ended, Shutdown},
    sink::{Output, Sink, Start},
    source::file::FileSource,
};

/// Runs on what `--from` names, or live. Each recording gets a sink and an engine of its own: sockets
/// of two hosts, or of two boots, have nothing to do with each other.
pub(super) async fn or_live(
    args: RunArgs,
    verbosity: u8,
    stop_after: u64,
    mut sink: impl FnMut() -> Box<dyn Sink>,
) -> Result<ExitCode> {
    if args.from.files.is_empty() {
        return Live::attach(args, verbosity)?.run(sink(), stop_after).await;
    }
    let task = Task {
        filter: Filter::try_from(args.filters)?,
        window: args.from.window()?,
        is_strict: args.from.strict,
        output: args.output,
        stop_after,
        verbosity,
    };
    replay(task, &args.from.files, sink).await
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

/// Reads them, one after another.
pub(super) async fn replay(
    task: Task,
    files: &[PathBuf],
    sink: impl FnMut() -> Box<dyn Sink>,
) -> Result<ExitCode> {
    let replayed = read(task, files, sink).await?;
    Ok(replayed.code)
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

/// Reads them, one after another, and says whether to the end.
pub(super) async fn read(
    task: Task,
    files: &[PathBuf],
    mut sink: impl FnMut() -> Box<dyn Sink>,
) -> Result<Replayed> {
    let Task {
        filter,
        window,
        is_strict,
        output,
        stop_after,
        verbosity,
    } = task;
    let recordings = recording::recordings(files)?;
    let mut output = Output::open(output.as_deref())?;
    let mut shutdown = Shutdown::new(None)?;
    let (mut left, mut first, mut is_damaged) = (stop_after, ConnId(1), false);
    let mut is_whole = true;
    for parts in recordings {
        let mut source = FileSource::new(parts, filter.clone());
        let start = start(source.meta());
        logging::note(&format!(
            "reading a recording of {} ({}), {}",
            start.host,
            start.kernel,
            began(source.meta())
        ));
        let pipeline = Pipeline {
            source: &mut source,
            engine: Engine::new(Limits::default()).naming_from(first),
            gate: Gate::new(filter.clone()).within(window),
            sink: sink(),
            output,
            stop_after: left,
            tap: None,
        };
        let outcome = pipeline.run(&start, &mut shutdown).await?;
        tell_outcome(&outcome, &[], verbosity);
        is_damaged |= source.is_damaged();
        first = outcome.engine.next_name();
        left -= outcome.shown;
        output = outcome.output;
        if left == 0 || matches!(outcome.ended, Some(Ended::Signal)) {
            is_whole = false;
            break;
        }
    }
    let failed = is_damaged && is_strict;
    let code = if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    };
    Ok(Replayed { code, is_whole })
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
