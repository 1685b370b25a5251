//! Who may run: root only, and a storm only alone.

use std::{env, fs::File};

use rustix::fs::{FlockOperation, flock};

/// Held while a test runs.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "the lock goes with the file")] File);

/// How much noise a test makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Noise {
    /// Runs beside others.
    Little,
    /// Fills every ring on the machine: runs alone.
    Storm,
}

/// Leave to run, or `None` when the test is to be skipped (already said).
pub(crate) fn turn(name: &str, noise: Noise) -> Option<Turn> {
    let wanted = env::var("TCPDWELL_LIVE").ok();
    if wanted.as_deref() == Some("0") {
        eprintln!("skipped: {name}: TCPDWELL_LIVE=0");
        return None;
    }
    if !rustix::process::geteuid().is_root() {
        assert!(
            wanted.as_deref() != Some("1"),
            "{name}: TCPDWELL_LIVE=1 but not root"
        );
        eprintln!("skipped: {name}: needs root");
        return None;
    }
    // A file lock, so that it also holds between processes (cargo nextest).
    let path = env::temp_dir().join("tcpdwell-live.lock");
    let file = File::create(path).unwrap();
    let operation = match noise {
        Noise::Little => FlockOperation::LockShared,
        Noise::Storm => FlockOperation::LockExclusive,
    };
    flock(&file, operation).unwrap();
    Some(Turn(file))
}

/// Whether this is a slow machine.
pub(crate) fn is_scaled_down() -> bool {
    scale() < 1.0
}

fn scale() -> f64 {
    env::var("TCPDWELL_SCALE")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(1.0)
}

/// `count`, as the machine can bear it.
pub(crate) fn scaled(count: usize) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "small counts"
    )]
    let scaled = (count as f64 * scale()) as usize;
    scaled.max(1)
}
