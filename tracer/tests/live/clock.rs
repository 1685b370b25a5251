//! `CLOCK_MONOTONIC`, the clock of the kernel programs' timestamps.

use std::{thread, time::Duration};

use rustix::time::{ClockId, clock_gettime};

/// Now, in nanoseconds.
pub(crate) fn mono_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap()
}

/// When a call began and when it had returned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Just before.
    pub(crate) before: u64,
    /// Just after.
    pub(crate) after: u64,
}

/// Runs `call` and takes the time around it.
pub(crate) fn timed<T>(call: impl FnOnce() -> T) -> (T, Span) {
    let before = mono_ns();
    let result = call();
    let after = mono_ns();
    (result, Span { before, after })
}

/// Asks until the answer is `Some`, for at most `limit`.
pub(crate) fn until<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = mono_ns() + u64::try_from(limit.as_nanos()).unwrap();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if mono_ns() > end {
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
}
