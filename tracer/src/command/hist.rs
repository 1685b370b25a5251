//! `hist`: how long connections stayed in each state, as histograms in the terminal.

use std::process::ExitCode;

use anyhow::Result;

use super::{
    aggregate::Aggregate,
    live::Live,
    replay::{self, View},
};
use crate::{
    cli::{HistArgs, HistKeyArg},
    error::Failure,
    recording::Recording,
    sink::{HistKey, HistOptions, HistSink, MergedSink, Sink},
};

/// Runs it.
pub(super) async fn run(mut args: HistArgs, verbosity: u8) -> Result<ExitCode> {
    // Here a state is whose dwells are drawn; the filter would also let through what leads into it.
    let states = args.run.filters.take_states();
    if let (Some(interval), Some(count)) = (args.interval, args.count) {
        args.run.duration = interval.checked_mul(count);
    }
    let options = HistOptions {
        states,
        interval: args.interval,
        cumulative: args.cumulative,
        milliseconds: args.milliseconds,
        by: args.by.map(key),
        // Whom a connection belongs to is told with its transitions only; and what is open at the end of a
        // recording is not what was open at the end of a part of it.
        open: args.run.filters.kernel_decides() && !args.run.from.is_of_a_part(),
    };
    if args.aggregate.aggregate {
        if args.by.is_some() {
            let why = "--by: with --aggregate nothing but the state is told apart";
            return Err(Failure::Usage(why.to_owned()).into());
        }
        let adding = Aggregate::attach(args.run, &args.aggregate, verbosity)?;
        return Box::pin(adding.hist(options)).await;
    }
    if args.run.from.files.is_empty() {
        // A last look tells what has become of those that are still there.
        let live = Live::attach(args.run, verbosity)?.looking(None);
        return live.run(Box::new(HistSink::new(options)), u64::MAX).await;
    }
    let merged = options.clone();
    let view = View {
        alone: move || -> Box<dyn Sink> { Box::new(HistSink::new(options)) },
        one_by_one: merged.interval.is_none(),
        several: move |recordings: &[Recording]| -> Box<dyn MergedSink> {
            Box::new(HistSink::merged(merged, recordings.len()))
        },
    };
    Box::pin(replay::or_live(args.run, verbosity, u64::MAX, view)).await
}

const fn key(by: HistKeyArg) -> HistKey {
    match by {
        HistKeyArg::Process => HistKey::Process,
        HistKeyArg::Lport => HistKey::Lport,
        HistKeyArg::Raddr => HistKey::Raddr,
        HistKeyArg::ClosedFirst => HistKey::ClosedFirst,
        HistKeyArg::EndReason => HistKey::EndReason,
        HistKeyArg::Host => HistKey::Host,
    }
}
