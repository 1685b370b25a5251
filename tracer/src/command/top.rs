//! `top`: the dashboard, live or of a recording.

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
    rc::Rc,
    time::Duration,
};

use anyhow::Result;

use super::{
    live::{Live, tell_outcome},
    replay,
};
use crate::{
    cli::{TopArgs, parse_filter},
    engine::{Engine, Limits, Mono},
    error::Failure,
    filter::{Filter, Gate},
    pipeline::Pipeline,
    recording::{self, Part},
    shutdown::{Ended, Shutdown},
    sink::Output,
    source::{
        file::FileSource,
        live::LookOptions,
        paced::{Paced, Playback},
    },
    top::{Dashboard, Options, Wish},
};

/// Why sockets are in CLOSE_WAIT is looked for so often,
const LOOK: Duration = Duration::from_secs(10);
/// and less often where a look takes more than this part of the time.
const REST: u32 = 200;

/// Runs it.
pub(super) async fn run(mut args: TopArgs, verbosity: u8) -> Result<ExitCode> {
    args.check()?;
    if !io::stdout().is_terminal() {
        let why = "top draws on a terminal, and standard output is none: 'report', 'hist -i 1' and \
                   'stuck --watch' say the same as text";
        return Err(Failure::Usage(why.to_owned()).into());
    }
    let filter = Filter::try_from(args.run.filters.clone())?;
    // An owner may be found out late: the dashboard decides.
    args.run.filters.keep_kernel_part();
    let options = Options {
        interval: args.interval,
        filter,
        parse: Box::new(parse_filter),
        // https://no-color.org: set and not empty.
        has_colours: std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()),
    };
    if args.run.from.files.is_empty() {
        let dashboard = Dashboard::new(options, None);
        return Live::attach_silent(args.run, verbosity)?
            .looking_by(LookOptions {
                every: Some(LOOK),
                rest: REST,
                without: None,
            })
            .run(Box::new(dashboard), u64::MAX)
            .await;
    }
    let mut recordings = recording::recordings(&args.run.from.files)?;
    if recordings.len() > 1 {
        let why =
            "--from: top plays one recording, and these files hold several: name those of one";
        return Err(Failure::Usage(why.to_owned()).into());
    }
    let kernel_part = Filter::try_from(args.run.filters)?;
    let parts = recordings.remove(0);
    Box::pin(play(&parts, &kernel_part, options, verbosity)).await
}

/// Plays a recording. To go back, it is read anew.
async fn play(
    parts: &[Part],
    filter: &Filter,
    options: Options,
    verbosity: u8,
) -> Result<ExitCode> {
    let spans = parts.iter().filter_map(|part| part.span);
    let span = spans.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    let Some((begin, end)) = span else {
        anyhow::bail!("playing the recording: no event is in it");
    };
    let playback = Rc::new(Playback::new(Mono(begin), Mono(end)));
    let mut dashboard = Dashboard::new(options, Some(Rc::clone(&playback)));
    let mut shutdown = Shutdown::new(None)?;
    loop {
        let from = FileSource::new(parts.to_vec(), filter.clone());
        let start = replay::start(from.meta());
        let mut engine = Engine::new(Limits::default());
        engine.watch_close_waits();
        let pipeline = Pipeline {
            source: &mut Paced::new(from, &playback),
            engine,
            gate: Gate::new(filter.clone()),
            sink: Box::new(&mut dashboard),
            output: Output::nowhere(),
            stop_after: u64::MAX,
            tap: None,
        };
        let outcome = Box::pin(pipeline.run(&start, &mut shutdown)).await?;
        match dashboard.wish() {
            Wish::Restart(to) if outcome.ended.is_none() => playback.seek(to),
            _ => {
                drop(dashboard);
                debug_assert!(matches!(outcome.ended, None | Some(Ended::Signal)));
                tell_outcome(&outcome, &[], verbosity);
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}
