//! The only place that touches the ring buffer and the counters, beside a yardstick.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use tracer_common::{counters::Counters, record::room};

use crate::{
    diagnostics::Outcome,
    globals::CAST_TO,
    maps::{COUNTERS, EVENTS},
};

/// The kernel wakes the reader only if it has read everything before: it then sleeps a little and
/// takes the batch, so a busy host sees a few wake-ups a second, an idle one none.
const WAKE_WHEN_CAUGHT_UP: u64 = 0;

/// Whose counters. An addition is a load and a store; the kernel guards a program against itself
/// only (and not even that before 6.2, see [`count`]), and another that interrupts it in between would be
/// forgotten by the store. So every program has counters of its own, and user space adds them up.
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

/// Adds one to this program's counters on this CPU.
///
/// Where the kernel does not guard a BTF tracepoint's program against itself (it does since 6.2, as long as it
/// has casts), a softirq may run it in the middle of the addition.
#[inline(always)]
pub fn count(by: By, which: impl FnOnce(&mut Counters) -> &mut u64) {
    if let Some(counters) = COUNTERS.get_ptr_mut(by as u32) {
        // SAFETY: a per-CPU value, alive as long as the program, and changed by this program only.
        let count: *mut u64 = which(unsafe { &mut *counters });
        if CAST_TO.load() == 0 {
            // SAFETY: as above.
            unsafe { atomic_xadd::<_, _, { AtomicOrdering::Relaxed }>(count, 1_u64) };
        } else {
            // SAFETY: as above.
            unsafe { *count += 1 };
        }
    }
}

/// Submits a record of something that happened, or counts it as lost.
///
/// `fill` sets every field, in place: what it left out would be old bytes of the ring buffer, and a
/// record made on the stack would be copied byte by byte (`memcpy` is a loop here).
#[inline(always)]
pub fn submit<T>(by: By, fill: impl FnOnce(*mut T)) -> Outcome {
    if send(fill) {
        count(by, |c| &mut c.submitted);
        Outcome::Done
    } else {
        count(by, |c| &mut c.ring_full);
        Outcome::RingFull
    }
}

/// Submits a fact, which does not happen but is so; whether it got through. `fill` as above.
#[inline(always)]
pub fn tell<T>(by: By, fill: impl FnOnce(*mut T)) -> bool {
    let sent = send(fill);
    if !sent {
        count(by, |c| &mut c.facts_ring_full);
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
