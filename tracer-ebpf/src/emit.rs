//! The only place that touches the ring buffer and the counters.

use core::mem::size_of;

use tracer_common::{
    counters::Counters,
    record::{
        KIND_PROCESS_SEEN, ProcessFacts, ProcessSeen, SocketHeld, StateChange, StateChangeV4,
    },
    timewait::{IntoTimewait, TimewaitEnd, TimewaitRearmed},
};

use crate::{
    diagnostics::Outcome,
    maps::{COUNTERS, EVENTS},
    owner::Facts,
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
    submit(fill)
}

/// The same in the short form.
#[inline(always)]
pub fn state_change_v4(fill: impl FnOnce(*mut StateChangeV4)) -> Outcome {
    submit(fill)
}

/// The same for the change at which a minisock takes over.
#[inline(always)]
pub fn into_timewait(fill: impl FnOnce(*mut IntoTimewait)) -> Outcome {
    submit(fill)
}

/// The same for a change of a minisock.
#[inline(always)]
pub fn timewait_end(fill: impl FnOnce(*mut TimewaitEnd)) -> Outcome {
    submit(fill)
}

/// The same for a minisock's timer that was set anew.
#[inline(always)]
pub fn timewait_rearmed(fill: impl FnOnce(*mut TimewaitRearmed)) -> Outcome {
    submit(fill)
}

#[inline(always)]
fn submit<T: 'static>(fill: impl FnOnce(*mut T)) -> Outcome {
    if let Some(mut entry) = EVENTS.reserve::<T>(0) {
        fill(entry.as_mut_ptr());
        entry.submit(WAKE_WHEN_CAUGHT_UP);
        count(|c| c.submitted += 1);
        Outcome::Done
    } else {
        count(|c| c.ring_full += 1);
        Outcome::RingFull
    }
}

/// Submits who holds a socket.
#[inline(always)]
pub fn socket_held(held: SocketHeld) -> bool {
    let Some(mut entry) = EVENTS.reserve::<SocketHeld>(0) else {
        count(|c| c.facts_ring_full += 1);
        return false;
    };
    entry.write(held);
    entry.submit(WAKE_WHEN_CAUGHT_UP);
    true
}

const _: () = assert!(size_of::<Facts>() == size_of::<ProcessFacts>());

/// Submits what is known of a process; whether it got through.
#[inline(always)]
pub fn process_seen(tgid: u32, ts_ns: u64, facts: &Facts) -> bool {
    let Some(mut entry) = EVENTS.reserve::<ProcessSeen>(0) else {
        count(|c| c.facts_ring_full += 1);
        return false;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: a reservation of this size; every field is written.
    unsafe {
        (*record).kind = KIND_PROCESS_SEEN;
        (*record).reserved = [0; 3];
        (*record).tgid = tgid;
        (*record).ts_ns = ts_ns;
        (&raw mut (*record).facts).cast::<Facts>().write(*facts);
    }
    entry.submit(WAKE_WHEN_CAUGHT_UP);
    true
}
