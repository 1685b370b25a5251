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
    let mut is_first = true;
    let sink = move || -> Box<dyn Sink> {
        let was_first = std::mem::take(&mut is_first);
        match format {
            TraceFormat::Lines => Box::new(LinesSink::new(options)),
            TraceFormat::Ndjson => Box::new(JsonSink::default()),
            TraceFormat::Csv if !was_first => Box::new(CsvSink::continued()),
            TraceFormat::Csv => Box::new(CsvSink::default()),
        }
    };
    Box::pin(replay::or_live(args.run, verbosity, stop_after, sink)).await
}
