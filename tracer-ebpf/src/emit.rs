//! The only place that touches the ring buffer and the counters.

use tracer_common::{
    counters::Counters,
    record::{KIND_PROCESS_SEEN, ProcessFacts, ProcessSeen, StateChange},
};

use crate::{
    diagnostics::Outcome,
    maps::{COUNTERS, EVENTS},
};

/// The kernel wakes the reader only if it has read everything before: it then sleeps a little and
/// takes the batch, so a busy host sees a few wake-ups a second, an idle one none.
const WAKE_WHEN_CAUGHT_UP: u64 = 0;

/// This CPU's counters.
#[inline(always)]
pub fn count(update: impl FnOnce(&mut Counters)) {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: a per-CPU value, alive as long as the program. An interrupting program may touch
        // other fields, or finish its own increment in between: never during one (each is a single
        // add to memory, or is guarded by the program's own recursion guard).
        update(unsafe { &mut *counters });
    }
}

/// Submits a state change, or counts it as lost.
///
/// Made in place once there is room: a record beside the rest does not fit into 512 bytes of stack.
#[inline(always)]
pub fn state_change(make: impl FnOnce() -> StateChange) -> Outcome {
    if let Some(mut entry) = EVENTS.reserve::<StateChange>(0) {
        entry.write(make());
        entry.submit(WAKE_WHEN_CAUGHT_UP);
        count(|c| c.submitted += 1);
        Outcome::Done
    } else {
        count(|c| c.ring_full += 1);
        Outcome::RingFull
    }
}

/// Submits what is known of a process; whether it got through.
#[inline(always)]
pub fn process_seen(tgid: u32, ts_ns: u64, facts: &ProcessFacts) -> bool {
    let Some(mut entry) = EVENTS.reserve::<ProcessSeen>(0) else {
        count(|c| c.process_ring_full += 1);
        return false;
    };
    entry.write(ProcessSeen {
        kind: KIND_PROCESS_SEEN,
        reserved: [0; 3],
        tgid,
        ts_ns,
        facts: *facts,
    });
    entry.submit(WAKE_WHEN_CAUGHT_UP);
    true
}
