//! `trace`: one line per transition.

use std::process::ExitCode;

use anyhow::Result;

use super::live::Live;
use crate::{
    cli::{TraceArgs, TraceFormat},
    sink::{CsvSink, JsonSink, LineOptions, LinesSink, Sink},
};

/// Runs it.
pub(super) async fn run(args: TraceArgs, verbosity: u8) -> Result<ExitCode> {
    let live = Live::attach(args.run, verbosity)?;
    let sink: Box<dyn Sink> = match args.format {
        TraceFormat::Lines => Box::new(LinesSink::new(LineOptions {
            relative: args.time,
            wall: args.timestamp,
            wide: args.wide,
        })),
        TraceFormat::Ndjson => Box::new(JsonSink::default()),
        TraceFormat::Csv => Box::new(CsvSink::default()),
    };
    live.run(sink, args.stop_after.unwrap_or(u64::MAX)).await
}
