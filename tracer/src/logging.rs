//! Diagnostics: to stderr, and only what `-v` asks for.

use std::{
    io::Write as _,
    sync::{Mutex, PoisonError},
};

use log::{Level, LevelFilter, Log, Metadata, Record};

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Of others' crates only what went wrong: what the kernel programs say comes under ours.
        metadata.level() <= Level::Warn || !metadata.target().starts_with("aya")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str().to_ascii_lowercase();
            note(&format!("{level}: {}", record.args()));
        }
    }

    fn flush(&self) {}
}

/// Turns diagnostics on: `-v` to debug, `-vv` to trace.
pub fn init(verbosity: u8) {
    let level = level(verbosity);
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(level);
    }
}

/// What `-v`, so often, means.
pub const fn level(verbosity: u8) -> LevelFilter {
    match verbosity {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    }
}

/// Lines that wait, at most.
const MAX_HELD: usize = 100;

/// What there is to say while the terminal is taken; `None`: it is not.
static HELD: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// One line to stderr for the person who watches. A stderr that is gone is nobody who watches.
pub fn note(line: &str) {
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    match &mut *held {
        // What goes wrong first is worth most.
        Some(lines) if lines.len() < MAX_HELD => lines.push(line.to_owned()),
        Some(_) => {}
        None => write(line),
    }
}

fn write(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "tcpdwell: {line}");
}

/// From here on lines wait: something is drawn on the terminal.
pub fn hold() {
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    held.get_or_insert_default();
}

/// The terminal is free again.
pub fn release() {
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    let lines = held.take();
    lines.iter().flatten().for_each(|line| write(line));
}
