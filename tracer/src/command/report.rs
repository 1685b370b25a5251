//! `report`: everything about a window of time.

use std::process::ExitCode;

use anyhow::Result;

use super::live::Live;
use crate::{
    cli::{ReportArgs, ReportFormat},
    filter::Filter,
    sink::ReportSink,
};

/// Runs it.
pub(super) async fn run(mut args: ReportArgs, verbosity: u8) -> Result<ExitCode> {
    let render = match args.format {
        ReportFormat::Text => ReportSink::TEXT,
        ReportFormat::Json => ReportSink::JSON,
        ReportFormat::Html => ReportSink::HTML,
    };
    let filter = Filter::try_from(args.run.filters.clone())?;
    // An owner may be found out late: the report decides at the end of each connection.
    args.run.filters.keep_kernel_part();
    let sink = ReportSink::new(filter, render);
    Live::attach(args.run, verbosity)?
        .run(Box::new(sink), u64::MAX)
        .await
}
