//! `verify`: whether recordings are intact. `repair`: what is, into a new file.

use std::{
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::{BufWriter, Write as _},
    os::unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context as _, Result};

use crate::{
    cli::{RepairArgs, VerifyArgs},
    logging,
    recording::{Inspection, inspect, repair as repair_into},
    render::{count, escape},
    sink::Output,
};

/// Runs `verify`. Exit code 1 where something is damaged.
pub(super) fn run(args: &VerifyArgs) -> Result<ExitCode> {
    let mut is_damaged = false;
    let mut output = Output::open(None)?;
    for path in &args.files {
        let inspection = inspect(open(path)?, |line| {
            writeln!(output.buffer(), "{line}")?;
            output.flush_if_full()?;
            Ok(())
        })
        .with_context(|| format!("reading the recording '{}'", path.display()))?;
        let verdict = verdict(&inspection);
        let shown = escape::text(path.as_os_str().as_bytes());
        writeln!(output.buffer(), "{shown}: {verdict}")?;
        // Whether somebody reads it or not: the exit code tells, too.
        output.flush()?;
        is_damaged |= !inspection.is_intact();
    }
    Ok(if is_damaged {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Runs `repair`.
pub(super) fn repair(args: &RepairArgs) -> Result<ExitCode> {
    let from = open(&args.file)?;
    let shown = args.output.display();
    let to = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&args.output)
        .with_context(|| format!("making '{shown}'"))?;
    let mut to = BufWriter::new(to);
    let repaired = repair_into(from, &mut to)
        .with_context(|| format!("repairing '{}' into '{shown}'", args.file.display()))?;
    let synced = to.flush().and_then(|()| to.get_ref().sync_all());
    synced.with_context(|| format!("writing '{shown}'"))?;
    logging::note(&format!(
        "'{shown}' has {} with {}; left out: {} that were no intact block",
        count::of(repaired.blocks, "block"),
        count::of(repaired.events, "event"),
        count::of(repaired.damaged_bytes, "byte")
    ));
    Ok(ExitCode::SUCCESS)
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("opening the recording '{}'", path.display()))
}

fn verdict(inspection: &Inspection) -> String {
    let Inspection {
        blocks,
        events,
        damaged_bytes,
        missing_blocks,
        dropped,
        ..
    } = inspection;
    let mut verdict = match damaged_bytes {
        _ if inspection.is_intact() => "intact",
        0 => "INCOMPLETE",
        _ => "DAMAGED",
    }
    .to_owned();
    verdict += &format!(
        ", {blocks} blocks, {events} events, {damaged_bytes} damaged bytes, {missing_blocks} missing \
         blocks, {dropped} events dropped by the recorder"
    );
    if !inspection.is_ended {
        verdict += ", not ended in order";
    }
    verdict
}
