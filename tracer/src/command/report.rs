//! `report`: everything about a window of time; `diagnose`: what it means.

use std::process::ExitCode;

use anyhow::Result;

use super::{live::Live, replay};
use crate::{
    cli::{DiagnoseArgs, DiagnoseFormat, ReportArgs, ReportFormat, RunArgs},
    error::Failure,
    filter::Filter,
    sink::{Render, ReportSink, Sink},
};

/// Runs `report`.
pub(super) async fn run(args: ReportArgs, verbosity: u8) -> Result<ExitCode> {
    let render = match args.format {
        ReportFormat::Text => ReportSink::TEXT,
        ReportFormat::Json => ReportSink::JSON,
        ReportFormat::Html => ReportSink::HTML,
    };
    watch(args.run, render, verbosity).await
}

/// Runs `diagnose`.
pub(super) async fn diagnose(args: DiagnoseArgs, verbosity: u8) -> Result<ExitCode> {
    let render = match args.format {
        DiagnoseFormat::Text => ReportSink::FINDINGS_TEXT,
        DiagnoseFormat::Json => ReportSink::FINDINGS_JSON,
    };
    watch(args.run, render, verbosity).await
}

async fn watch(mut args: RunArgs, render: Render, verbosity: u8) -> Result<ExitCode> {
    let filter = Filter::try_from(args.filters.clone())?;
    // An owner may be found out late: the report decides at the end of each connection.
    args.filters.keep_kernel_part();
    if args.from.since.is_some() || args.from.until.is_some() {
        let why = "--since, --until: a report is of a whole recording: what was open at its ends can't be told \
                   of a part ('trace --from' takes them)";
        return Err(Failure::Usage(why.to_owned()).into());
    }
    let sink = move || -> Box<dyn Sink> { Box::new(ReportSink::new(filter.clone(), render)) };
    if args.from.files.is_empty() {
        // A last look tells why sockets are in CLOSE_WAIT.
        return Live::attach(args, verbosity)?
            .looking(None)
            .run(sink(), u64::MAX)
            .await;
    }
    replay::or_live(args, verbosity, u64::MAX, sink).await
}
