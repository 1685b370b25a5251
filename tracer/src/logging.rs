//! Diagnostics: to stderr, and only what `-v` asks for.

use std::io::Write as _;

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

/// One line to stderr for the person who watches. A stderr that is gone is nobody who watches.
pub fn note(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "tcpdwell: {line}");
}
