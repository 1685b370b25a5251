//! `hist`: how long connections stayed in each state, as histograms in the terminal.

use std::process::ExitCode;

use anyhow::Result;

use super::replay;
use crate::{
    cli::{HistArgs, HistKeyArg},
    sink::{HistKey, HistOptions, HistSink, Sink},
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
        // Whom a connection belongs to is told with its transitions only.
        open: args.run.filters.kernel_decides(),
    };
    let sink = move || -> Box<dyn Sink> { Box::new(HistSink::new(options.clone())) };
    Box::pin(replay::or_live(args.run, verbosity, u64::MAX, sink)).await
}

const fn key(by: HistKeyArg) -> HistKey {
    match by {
        HistKeyArg::Process => HistKey::Process,
        HistKeyArg::Lport => HistKey::Lport,
        HistKeyArg::Raddr => HistKey::Raddr,
        HistKeyArg::ClosedFirst => HistKey::ClosedFirst,
        HistKeyArg::EndReason => HistKey::EndReason,
    }
}
