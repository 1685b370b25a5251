//! `stuck --from`: the sockets that lingered when a recording ended, or at some moment of it.

use std::process::ExitCode;

use anyhow::Result;
use bytes::BufMut as _;
use jiff::Timestamp;

use super::{live::tell_outcome, replay};
use crate::{
    cli::RunArgs,
    engine::ConnId,
    error::Failure,
    filter::{Filter, Gate},
    logging,
    pipeline::Pipeline,
    recording::{self, Recording, by_host},
    render::escape,
    shutdown::{Ended, Shutdown},
    sink::{Output, Start, StuckSink},
    source::{as_of::AsOf, file::FileSource},
};

/// What is asked.
pub(super) struct Task<'a> {
    pub(super) filter: Filter,
    pub(super) args: &'a RunArgs,
    /// As of when; `None`: its end.
    pub(super) at: Option<Timestamp>,
    /// What lies between what is said of two recordings.
    pub(super) between: &'static [u8],
    pub(super) verbosity: u8,
}

/// Runs it: each recording by itself, in the order of their beginnings.
pub(super) async fn run(task: Task<'_>, sink: impl Fn() -> StuckSink) -> Result<ExitCode> {
    let from = &task.args.from;
    if from.is_of_a_part() {
        let why = "--since, --until: what is stuck is told as of one moment: --at TIME, or the recording's end";
        return Err(Failure::Usage(why.to_owned()).into());
    }
    let recordings = covering(by_host(recording::recordings(&from.files)?), task.at)?;
    let mut output = Output::open(task.args.output.as_deref())?;
    let mut shutdown = Shutdown::new(None)?;
    let mut first = ConnId(1);
    let mut is_damaged = false;
    for (place, recording) in recordings.into_iter().enumerate() {
        if place > 0 {
            output.buffer().put_slice(task.between);
        }
        let file = FileSource::new(recording.parts, task.filter.clone());
        let start = Start {
            host: recording.host,
            ..replay::start(file.meta())
        };
        replay::tell_start(&start, file.meta());
        let mut source = AsOf::new(file, task.at.map(Timestamp::as_nanosecond));
        let pipeline = Pipeline {
            source: &mut source,
            engine: replay::engine(first),
            gate: Gate::new(task.filter.clone()),
            sink: Box::new(sink()),
            output,
            stop_after: u64::MAX,
            tap: None,
        };
        let outcome = Box::pin(pipeline.run(&start, &mut shutdown)).await?;
        tell_outcome(&outcome, &[], task.verbosity);
        is_damaged |= source.is_damaged();
        first = outcome.engine.next_name();
        output = outcome.output;
        if matches!(outcome.ended, Some(Ended::Signal)) {
            break;
        }
    }
    Ok(replay::exit_code(is_damaged && from.strict))
}

/// Those that know of this moment.
fn covering(recordings: Vec<Recording>, at: Option<Timestamp>) -> Result<Vec<Recording>> {
    let Some(at) = at else {
        return Ok(recordings);
    };
    let mut spans = String::new();
    let mut covering = Vec::new();
    for recording in recordings {
        let Some((began, ended)) = span(&recording) else {
            // Its own clock events will tell.
            covering.push(recording);
            continue;
        };
        if (began..=ended).contains(&at) {
            covering.push(recording);
            continue;
        }
        let host = escape::text(recording.host.as_bytes());
        let told = format!("the recording of {host} is from {began:.3} to {ended:.3}");
        logging::note(&format!("{told}: nothing of it is told"));
        spans = told;
    }
    if covering.is_empty() {
        let why = format!("--at: {at} is in none of the recordings; {spans}");
        return Err(Failure::Usage(why).into());
    }
    Ok(covering)
}

/// From when to when a recording tells, by the wall clock as it was read for its first and last file.
fn span(recording: &Recording) -> Option<(Timestamp, Timestamp)> {
    let wall = |mono_ns: u64, clock: &recording::ClockPair| {
        let wall_ns = i128::from(mono_ns) - i128::from(clock.mono_ns) + i128::from(clock.wall_ns);
        Timestamp::from_nanosecond(wall_ns).ok()
    };
    let told = || recording.parts.iter().filter(|part| part.span.is_some());
    let (first, last) = (told().next()?, told().next_back()?);
    let began = wall(first.span?.0, &first.meta.as_ref()?.clock)?;
    let ended = wall(last.span?.1, &last.meta.as_ref()?.clock)?;
    Some((began, ended))
}
