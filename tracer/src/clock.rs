//! The only place that reads a clock.

use std::time::Duration;

use nix::time::{ClockId, clock_getres, clock_gettime};

use crate::engine::{Event, EventBody, Mono};

fn read(clock: ClockId) -> i64 {
    // Neither clock can fail on Linux; a zero would be visible at once.
    clock_gettime(clock).map_or(0, |t| t.tv_sec() * 1_000_000_000 + t.tv_nsec())
}

/// Kernel time now: the clock of `bpf_ktime_get_ns`.
pub fn monotonic() -> Mono {
    Mono(read(ClockId::CLOCK_MONOTONIC).unsigned_abs())
}

/// Kernel time and what the wall clock (ns since 1970) shows at the same moment: off by half the time
/// of a system call at most.
pub fn pair() -> (Mono, i64) {
    let before = monotonic();
    let wall_ns = read(ClockId::CLOCK_REALTIME);
    let after = monotonic();
    (Mono(before.0.midpoint(after.0)), wall_ns)
}

/// What the wall clock shows now, as an event.
pub fn anchor() -> Event {
    let (at, wall_ns) = pair();
    let body = EventBody::Clock { wall_ns };
    Event { at, body }
}

/// How long this process has run on CPUs, all its threads together.
pub fn process_cpu() -> Duration {
    Duration::from_nanos(read(ClockId::CLOCK_PROCESS_CPUTIME_ID).unsigned_abs())
}

/// How long a jiffy is: the resolution of the coarse clocks (`TICK_NSEC`).
pub fn jiffy() -> Option<Duration> {
    let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).ok()?;
    let tick = Duration::from(tick);
    (!tick.is_zero()).then_some(tick)
}
