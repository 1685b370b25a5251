//! `trace`: one line per transition.

use std::{fs, process::ExitCode};

use anyhow::{Context as _, Result};
use log::Level;
use tracer_common::filter::NETNS;

use super::require;
use crate::{
    cli::{TraceArgs, TraceFormat},
    ebpf::{Kernel, Probes, StateSource, TimewaitSource},
    engine::{Engine, Limits},
    error::Failure,
    filter::{Filter, Gate},
    logging,
    pipeline::{Outcome, Pipeline},
    render::{dwells, ends},
    shutdown::{Ended, Shutdown},
    sink::{CsvSink, JsonSink, LineOptions, LinesSink, Output, Sink, Start},
    source::live::LiveSource,
};

/// Runs it.
pub(super) async fn run(args: TraceArgs, verbosity: u8) -> Result<ExitCode> {
    let filter = Filter::try_from(args.filters)?;
    let kernel = Kernel::look();
    require(&kernel)?;
    let output = Output::open(args.output.as_deref())?;
    let options = args.live.options(filter.clone(), logging::level(verbosity));
    let probes = Probes::attach(&kernel, &options)?;
    let mut source = LiveSource::new(probes, &filter)?;
    let probes = source.probes();
    tell_rung(probes, &filter)?;
    let start = Start {
        host: fs::read_to_string("/proc/sys/kernel/hostname")
            .unwrap_or_default()
            .trim()
            .to_owned(),
        kernel: kernel.release,
        state: probes.source().name(),
        time_wait: probes.timewait().map_or("none", TimewaitSource::name),
        snapshot: if probes.has_iterators() {
            "iter"
        } else {
            "none"
        },
        owner: match probes.accept() {
            Some(source) => source.name(),
            None if probes.knows_tasks() => "state",
            None => "none",
        },
    };
    let mut shutdown = Shutdown::new(args.duration)?;
    shutdown.run(&args.command, args.output.is_none())?;
    let sink: Box<dyn Sink> = match args.format {
        TraceFormat::Lines => Box::new(LinesSink::new(LineOptions {
            relative: args.time,
            wall: args.timestamp,
            wide: args.wide,
        })),
        TraceFormat::Ndjson => Box::new(JsonSink::default()),
        TraceFormat::Csv => Box::new(CsvSink::default()),
    };
    let pipeline = Pipeline {
        source: &mut source,
        engine: Engine::new(Limits::default()),
        gate: Gate::new(filter),
        sink,
        output,
        stop_after: args.stop_after.unwrap_or(u64::MAX),
    };
    let outcome = pipeline.run(&start, &mut shutdown).await?;
    tell_outcome(&outcome, &args.command, verbosity);
    Ok(ExitCode::SUCCESS)
}

/// Says what the run stands on, and refuses what this rung can't do.
fn tell_rung(probes: &Probes, filter: &Filter) -> Result<()> {
    let classic = probes.source() == StateSource::Tracepoint;
    if classic && filter.kernel.criteria & NETNS != 0 {
        return Err(Failure::Impossible {
            what: "--netns".to_owned(),
            because: "the classic tracepoint does not tell the network namespace".to_owned(),
            mend: "a kernel with BTF is needed (CONFIG_DEBUG_INFO_BTF)".to_owned(),
        })
        .context("applying the filter");
    }
    for attempt in probes.attempts() {
        if let Some(error) = &attempt.error {
            // Without cookies little is lost; without the BTF tracepoint much.
            let level = if classic { Level::Warn } else { Level::Debug };
            log::log!(level, "{} can't be used: {error}", attempt.rung);
        }
    }
    let missing = [
        (!probes.has_cookie(), "cookies"),
        (classic, "network namespaces"),
        (!probes.knows_tasks(), "owners"),
        (probes.timewait().is_none(), "TIME_WAIT"),
    ];
    let missing: Vec<_> = missing
        .iter()
        .filter(|(is, _)| *is)
        .map(|(_, what)| *what)
        .collect();
    let without = match missing.as_slice() {
        [] => String::new(),
        some => format!(" without {}", some.join(", ")),
    };
    let time_wait = probes
        .timewait()
        .map_or_else(String::new, |s| format!(", TIME_WAIT by {}", s.name()));
    logging::note(&format!(
        "tracing TCP state changes by {}{time_wait}{without}; Ctrl-C ends",
        probes.source().name(),
    ));
    Ok(())
}

fn tell_outcome(outcome: &Outcome, command: &[String], verbosity: u8) {
    if let Some(Ended::Command(status)) = &outcome.ended {
        let name = command.first().map_or("", String::as_str);
        logging::note(&format!("the command '{name}' ended: {status}"));
    }
    if verbosity > 0 {
        let stats = outcome.engine.stats();
        for line in dwells::table(stats).into_iter().chain(ends::lines(stats)) {
            logging::note(&line);
        }
    }
    logging::note(&outcome.completeness.line());
}
