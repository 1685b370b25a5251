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
/// `fill` sets every field, in place: what it left out would be old bytes of the ring buffer, and a
/// record made on the stack would be copied byte by byte (`memcpy` is a loop here).
#[inline(always)]
pub fn state_change(fill: impl FnOnce(*mut StateChange)) -> Outcome {
    if let Some(mut entry) = EVENTS.reserve::<StateChange>(0) {
        fill(entry.as_mut_ptr());
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
