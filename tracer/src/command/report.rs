//! `report`: everything about a window of time; `diagnose`: what it means.

use std::process::ExitCode;

use anyhow::Result;

use super::live::Live;
use crate::{
    cli::{DiagnoseArgs, DiagnoseFormat, ReportArgs, ReportFormat, RunArgs},
    filter::Filter,
    sink::{Render, ReportSink},
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
    let sink = ReportSink::new(filter, render);
    Live::attach(args, verbosity)?
        .run(Box::new(sink), u64::MAX)
        .await
}
