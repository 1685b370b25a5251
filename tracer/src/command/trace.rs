//! `trace`: one line per transition.

use std::process::ExitCode;

use anyhow::Result;

use super::replay::{self, View};
use crate::{
    cli::{TraceArgs, TraceFormat},
    recording::Recording,
    sink::{Beside, CsvSink, JsonSink, LineOptions, LinesSink, MergedSink, Sink},
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
    let alone = move || -> Box<dyn Sink> {
        match format {
            TraceFormat::Lines => Box::new(LinesSink::new(options)),
            TraceFormat::Ndjson => RowFormat::Ndjson.sink(),
            TraceFormat::Csv => RowFormat::Csv.sink(),
        }
    };
    let several = move |recordings: &[Recording]| -> Box<dyn MergedSink> {
        match format {
            TraceFormat::Lines => lines(recordings, options),
            TraceFormat::Ndjson => Box::new(Beside::new(rows(recordings, RowFormat::Ndjson))),
            TraceFormat::Csv => Box::new(Beside::new(rows(recordings, RowFormat::Csv))),
        }
    };
    let view = View {
        alone,
        several,
        one_by_one: false,
    };
    Box::pin(replay::or_live(args.run, verbosity, stop_after, view)).await
}

/// Room for the name of a host.
const HOST_WIDTH: std::ops::RangeInclusive<usize> = 4..=16;

/// Lines of several recordings; of several hosts each says which.
fn lines(recordings: &[Recording], options: LineOptions) -> Box<dyn MergedSink> {
    let names = recordings.iter().map(|r| r.host.chars().count());
    let longest = names.max().unwrap_or(0);
    let width = if options.wide {
        longest.max(*HOST_WIDTH.start())
    } else {
        longest.clamp(*HOST_WIDTH.start(), *HOST_WIDTH.end())
    };
    let sink = |(number, recording): (usize, &Recording)| -> Box<dyn Sink> {
        let mut sink = LinesSink::new(options);
        if are_of_several_hosts(recordings) {
            sink = sink.of_host(&recording.host, width);
        }
        Box::new(if number > 0 { sink.continued() } else { sink })
    };
    Box::new(Beside::new(
        recordings.iter().enumerate().map(sink).collect(),
    ))
}

/// Rows for programs.
#[derive(Clone, Copy)]
pub(super) enum RowFormat {
    /// One object a line.
    Ndjson,
    /// Comma-separated.
    Csv,
}

impl RowFormat {
    /// Of one recording.
    pub(super) fn sink(self) -> Box<dyn Sink> {
        match self {
            Self::Ndjson => Box::new(JsonSink::default()),
            Self::Csv => Box::new(CsvSink::default()),
        }
    }
}

/// For rows of several recordings; of several hosts each row says which.
pub(super) fn rows(recordings: &[Recording], format: RowFormat) -> Vec<Box<dyn Sink>> {
    let several = are_of_several_hosts(recordings);
    let sink = |number: usize| -> Box<dyn Sink> {
        match format {
            RowFormat::Ndjson => Box::new(JsonSink::default().naming_host(several)),
            RowFormat::Csv => {
                let sink = CsvSink::default().naming_host(several);
                Box::new(if number > 0 { sink.continued() } else { sink })
            }
        }
    };
    (0..recordings.len()).map(sink).collect()
}

fn are_of_several_hosts(recordings: &[Recording]) -> bool {
    recordings.iter().any(|r| r.host_number > 0)
}
