//! `report`: everything about a window of time; `diagnose`: what it means.

use std::process::ExitCode;

use anyhow::Result;

use super::{
    aggregate::Aggregate,
    live::Live,
    replay::{self, View},
};
use crate::{
    cli::{DiagnoseArgs, DiagnoseFormat, ReportArgs, ReportFormat, RunArgs},
    error::Failure,
    filter::Filter,
    recording::Recording,
    sink::{MergedSink, Render, ReportSink, ReportsSink, Sink},
};

/// Runs `report`.
pub(super) async fn run(args: ReportArgs, verbosity: u8) -> Result<ExitCode> {
    let render = match args.format {
        ReportFormat::Text => ReportSink::TEXT,
        ReportFormat::Json => ReportSink::JSON,
        ReportFormat::Html => ReportSink::HTML,
    };
    // By itself JSON is the same live and from a recording.
    let wants_cost = args.format != ReportFormat::Json || verbosity > 0;
    if args.aggregate.aggregate {
        if args.format == ReportFormat::Html {
            let why = "--format html: with --aggregate a report is text or json: when how many were open is not kept";
            return Err(Failure::Usage(why.to_owned()).into());
        }
        let adding = Aggregate::attach(args.run, &args.aggregate, verbosity)?;
        return Box::pin(adding.report(render, wants_cost)).await;
    }
    let several = move |filter, hosts| ReportsSink::report(filter, hosts, render);
    watch(args.run, render, wants_cost, several, verbosity).await
}

/// Runs `diagnose`.
pub(super) async fn diagnose(args: DiagnoseArgs, verbosity: u8) -> Result<ExitCode> {
    let render = match args.format {
        DiagnoseFormat::Text => ReportSink::FINDINGS_TEXT,
        DiagnoseFormat::Json => ReportSink::FINDINGS_JSON,
    };
    let all = match args.format {
        DiagnoseFormat::Text => ReportsSink::FINDINGS_TEXT,
        DiagnoseFormat::Json => ReportsSink::FINDINGS_JSON,
    };
    let several = move |filter, hosts| ReportsSink::findings(filter, hosts, all);
    watch(args.run, render, false, several, verbosity).await
}

async fn watch(
    mut args: RunArgs,
    render: Render,
    wants_cost: bool,
    several: impl FnOnce(Filter, Vec<usize>) -> ReportsSink,
    verbosity: u8,
) -> Result<ExitCode> {
    let filter = Filter::try_from(args.filters.clone())?;
    // An owner may be found out late: the report decides at the end of each connection.
    args.filters.keep_kernel_part();
    if args.from.is_of_a_part() {
        let why = "--since, --until: a report is of a whole recording: what was open at its ends can't be told \
                   of a part ('trace --from' takes them)";
        return Err(Failure::Usage(why.to_owned()).into());
    }
    if args.from.files.is_empty() {
        // A last look tells why sockets are in CLOSE_WAIT.
        let live = Live::attach(args, verbosity)?.looking(None);
        let mut sink = ReportSink::new(filter, render);
        if wants_cost {
            sink = sink.metered();
        }
        return live.run(Box::new(sink), u64::MAX).await;
    }
    let of_several = filter.clone();
    let view = View {
        alone: move || -> Box<dyn Sink> { Box::new(ReportSink::new(filter, render)) },
        several: move |recordings: &[Recording]| -> Box<dyn MergedSink> {
            let hosts = recordings.iter().map(|r| r.host_number);
            Box::new(several(of_several, hosts.collect()))
        },
        one_by_one: true,
    };
    replay::or_live(args, verbosity, u64::MAX, view).await
}
