//! `trace`: one line per transition.

use std::process::ExitCode;

use anyhow::Result;

use super::replay;
use crate::{
    cli::{TraceArgs, TraceFormat},
    sink::{CsvSink, JsonSink, LineOptions, LinesSink, Sink},
};

/// Runs it.
pub(super) async fn run(args: TraceArgs, verbosity: u8) -> Result<ExitCode> {
    let stop_after = args.stop_after.unwrap_or(u64::MAX);
    let (format, options) = (
        args.format,
        LineOptions {
            relative: args.time,
            wall: args.timestamp,
            wide: args.wide,
        },
    );
    let sink = move || -> Box<dyn Sink> {
        match format {
            TraceFormat::Lines => Box::new(LinesSink::new(options)),
            TraceFormat::Ndjson => Box::new(JsonSink::default()),
            TraceFormat::Csv => Box::new(CsvSink::default()),
        }
    };
    Box::pin(replay::or_live(args.run, verbosity, stop_after, sink)).await
}
