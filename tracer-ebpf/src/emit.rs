//! The only place that touches the ring buffer and the counters, beside a yardstick.

use tracer_common::{counters::Counters, record::room};

use crate::{
    diagnostics::Outcome,
    maps::{COUNTERS, EVENTS},
};

/// The kernel wakes the reader only if it has read everything before: it then sleeps a little and
/// takes the batch, so a busy host sees a few wake-ups a second, an idle one none.
const WAKE_WHEN_CAUGHT_UP: u64 = 0;

/// Whose counters. An addition is a load and a store; the kernel guards a program against itself
/// only, and another that interrupts it in between would be forgotten by the store. So every program
/// has counters of its own, and user space adds them up.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum By {
    First = 0,
    Second = 1,
    Last = 2,
    MinisockEnd = 3,
    MinisockRearmed = 4,
    Holder = 5,
    Classic = 6,
    Witness = 7,
    Found = 8,
}

/// How many of [`By`] there are.
pub const COUNTING: u32 = 9;

/// This program's counters on this CPU.
#[inline(always)]
pub fn count(by: By, update: impl FnOnce(&mut Counters)) {
    if let Some(counters) = COUNTERS.get_ptr_mut(by as u32) {
        // SAFETY: a per-CPU value, alive as long as the program, and changed by this program only.
        update(unsafe { &mut *counters });
    }
}

/// Submits a record of something that happened, or counts it as lost.
///
/// `fill` sets every field, in place: what it left out would be old bytes of the ring buffer, and a
/// record made on the stack would be copied byte by byte (`memcpy` is a loop here).
#[inline(always)]
pub fn submit<T>(by: By, fill: impl FnOnce(*mut T)) -> Outcome {
    if send(fill) {
        count(by, |c| c.submitted += 1);
        Outcome::Done
    } else {
        count(by, |c| c.ring_full += 1);
        Outcome::RingFull
    }
}

/// Submits a fact, which does not happen but is so; whether it got through. `fill` as above.
#[inline(always)]
pub fn tell<T>(by: By, fill: impl FnOnce(*mut T)) -> bool {
    let sent = send(fill);
    if !sent {
        count(by, |c| c.facts_ring_full += 1);
    }
    sent
}

#[inline(always)]
fn send<T>(fill: impl FnOnce(*mut T)) -> bool {
    let Some(mut entry) = EVENTS.reserve_bytes(room::<T>(), 0) else {
        return false;
    };
    // Aligned to eight by the kernel, as every record wants it.
    fill(entry.as_mut_ptr().cast());
    entry.submit(WAKE_WHEN_CAUGHT_UP);
    true
}
