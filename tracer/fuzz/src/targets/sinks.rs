//! The views of one host's events: what hostile input must not break, and what a recording must give
//! again as the run did (`tests/recording`).

use tracer::{
    filter::Filter,
    sink::{CsvSink, HistOptions, HistSink, JsonSink, LineOptions, LinesSink, ReportSink, Sink},
};

/// Nothing told to any yet.
pub fn sinks(hist: HistOptions) -> Vec<Box<dyn Sink>> {
    let report = |render| Box::new(ReportSink::new(Filter::default(), render));
    vec![
        Box::new(JsonSink::default()),
        Box::new(CsvSink::default()),
        Box::new(LinesSink::new(LineOptions {
            relative: true,
            wall: true,
            wide: true,
        })),
        Box::new(HistSink::new(hist)),
        report(ReportSink::JSON),
        report(ReportSink::TEXT),
        report(ReportSink::HTML),
        report(ReportSink::FINDINGS_JSON),
    ]
}
