//! `export`: recordings for other tools.

use std::{io::IsTerminal as _, path::PathBuf, process::ExitCode, rc::Rc};

use anyhow::Result;

use super::{
    replay::{Task, View, in_turn, read},
    trace::{self, RowFormat},
};
use crate::{
    anonymize::Pseudonyms,
    cli::{ExportArgs, ExportFormat},
    error::Failure,
    filter::{Filter, Window},
    recording::Recording,
    sink::{AnonymousSink, Beside, MergedSink, PerfettoSink, Sink},
};

/// Runs it.
pub(super) async fn run(args: ExportArgs) -> Result<ExitCode> {
    let key = args.anonymize.as_deref().map(Pseudonyms::of_file);
    let pseudonyms = key.transpose()?.map(Rc::new);
    match args.to {
        ExportFormat::Ndjson => rows(args, pseudonyms, RowFormat::Ndjson).await,
        ExportFormat::Csv => rows(args, pseudonyms, RowFormat::Csv).await,
        ExportFormat::Parquet => tables(args, pseudonyms).await,
        ExportFormat::Perfetto => tracks(args, pseudonyms).await,
    }
}

/// What `trace` prints.
async fn rows(
    args: ExportArgs,
    pseudonyms: Option<Rc<Pseudonyms>>,
    format: RowFormat,
) -> Result<ExitCode> {
    let filter = Filter::try_from(args.filters)?;
    let task = task(filter, args.strict, args.output);
    let shown = pseudonyms.clone();
    let view = View {
        alone: move || anonymous(format.sink(), shown.as_ref()),
        several: move |recordings: &[Recording]| -> Box<dyn MergedSink> {
            let sinks = trace::rows(recordings, format).into_iter();
            let sinks = sinks.map(|sink| anonymous(sink, pseudonyms.as_ref()));
            Box::new(Beside::new(sinks.collect()))
        },
        one_by_one: false,
    };
    Box::pin(read(task, &args.files, view)).await
}

/// Behind pseudonyms, if there are any.
fn anonymous(sink: Box<dyn Sink>, pseudonyms: Option<&Rc<Pseudonyms>>) -> Box<dyn Sink> {
    match pseudonyms {
        Some(pseudonyms) => Box::new(AnonymousSink::new(sink, Rc::clone(pseudonyms))),
        None => sink,
    }
}

#[cfg(feature = "parquet")]
async fn tables(mut args: ExportArgs, pseudonyms: Option<Rc<Pseudonyms>>) -> Result<ExitCode> {
    use std::cell::RefCell;

    use crate::sink::{Dataset, ParquetSink};

    let Some(directory) = args.output.take() else {
        let why = "--to parquet: it is a directory of files: -o DIR is needed";
        return Err(Failure::Usage(why.to_owned()).into());
    };
    let (filter, task) = whole_connections(&mut args)?;
    let dataset = Dataset::create(&directory, pseudonyms.is_some())?;
    let dataset = Rc::new(RefCell::new(dataset));
    let shared = Rc::clone(&dataset);
    let sink = move || -> Box<dyn Sink> {
        let dataset = Rc::clone(&shared);
        Box::new(ParquetSink::new(
            dataset,
            filter.clone(),
            pseudonyms.clone(),
        ))
    };
    let replayed = Box::pin(in_turn(task, &args.files, sink)).await?;
    if let Some(dataset) = Rc::into_inner(dataset) {
        dataset.into_inner().finish(replayed.is_whole)?;
    }
    Ok(replayed.code)
}

#[cfg(not(feature = "parquet"))]
#[expect(clippy::unused_async, reason = "as the one that writes it")]
async fn tables(_args: ExportArgs, _pseudonyms: Option<Rc<Pseudonyms>>) -> Result<ExitCode> {
    let why = "--to parquet: this tcpdwell was built without it (cargo feature 'parquet'); csv and ndjson \
               have the same transitions";
    Err(Failure::Usage(why.to_owned()).into())
}

/// Connections as tracks.
async fn tracks(mut args: ExportArgs, pseudonyms: Option<Rc<Pseudonyms>>) -> Result<ExitCode> {
    if args.output.is_none() && std::io::stdout().is_terminal() {
        let why = "--to perfetto: nothing that a terminal can show: -o FILE is needed";
        return Err(Failure::Usage(why.to_owned()).into());
    }
    let (filter, task) = whole_connections(&mut args)?;
    let mut recordings = 0;
    let sink = move || -> Box<dyn Sink> {
        recordings += 1;
        let (filter, pseudonyms) = (filter.clone(), pseudonyms.clone());
        Box::new(PerfettoSink::new(recordings, filter, pseudonyms))
    };
    let replayed = Box::pin(in_turn(task, &args.files, sink)).await?;
    Ok(replayed.code)
}

/// The filter for a sink that decides at the end of each connection, when its owner is known, and the
/// rest of it for those before.
fn whole_connections(args: &mut ExportArgs) -> Result<(Filter, Task)> {
    let filter = Filter::try_from(args.filters.clone())?;
    args.filters.keep_kernel_part();
    let kernel_part = Filter::try_from(args.filters.clone())?;
    let task = task(kernel_part, args.strict, args.output.take());
    Ok((filter, task))
}

fn task(filter: Filter, is_strict: bool, output: Option<PathBuf>) -> Task {
    Task {
        filter,
        window: Window::default(),
        is_strict,
        output,
        stop_after: u64::MAX,
        verbosity: 0,
    }
}
