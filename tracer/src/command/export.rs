//! `export`: a recording's transitions for other tools.

use std::process::ExitCode;

use anyhow::Result;

use super::replay::{Task, replay};
use crate::{
    cli::{ExportArgs, ExportFormat},
    filter::{Filter, Window},
    sink::{CsvSink, JsonSink, Sink},
};

/// Runs it.
pub(super) async fn run(args: ExportArgs) -> Result<ExitCode> {
    let task = Task {
        filter: Filter::try_from(args.filters)?,
        window: Window::default(),
        is_strict: args.strict,
        output: args.output,
        stop_after: u64::MAX,
        verbosity: 0,
    };
    let to = args.to;
    let mut is_first = true;
    let sink = move || -> Box<dyn Sink> {
        let was_first = std::mem::take(&mut is_first);
        match to {
            ExportFormat::Ndjson => Box::new(JsonSink::default()),
            ExportFormat::Csv if !was_first => Box::new(CsvSink::continued()),
            ExportFormat::Csv => Box::new(CsvSink::default()),
        }
    };
    Box::pin(replay(task, &args.files, sink)).await
}
