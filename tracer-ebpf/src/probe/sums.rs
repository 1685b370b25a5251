//! The same hooks where nothing is streamed: what changes is added up here, by the rules of
//! [`tracer_common::books`].
//!
//! Programs of their own, so that those that stream have nothing to decide. Each adds to sums of its
//! own on each CPU, which nobody else changes; dwells, of which there are too many for that, are
//! counted by atomic additions to the CPU's.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_ktime_get_ns, generated::bpf_jiffies64},
    programs::BtfTracePointContext,
};
use tracer_common::{
    books::{Books, Change, Counted, End, Heir, Life, Lives},
    buckets::{BUCKET_WORDS, bucket, bucket_word},
    closing::{EndReason, Evidence},
    frames::{self, Frame, Verdict},
    layout::TimewaitLayout,
    record::{
        FLAG_DEAD, FLAG_LOOKED, FLAG_NO_FILE, FLAG_RCV_SHUTDOWN, FLAG_SEND_SHUTDOWN, STACK_FRAMES,
    },
    state::{CLOSE, LISTEN, NEW_SYN_RECV, SYN_SENT, TIME_WAIT, is_listener},
    timewait::{
        OUTCOME_MADE, OUTCOME_NO_MEMORY, OUTCOME_OVERFLOW, OUTCOME_UNTOLD, stamped, timer_set,
    },
};

use super::{
    common::Common,
    set_state,
    snapshot::Context,
    timewait::{Minisock, is_wanted, minisock_of, substate, take_stack},
};
use crate::{
    emit::{self, By},
    filter::{self, Fate},
    globals::{END_DEPTH, HOOK_NONE, JIFFIES_PER_SECOND, SNAPSHOT_WITHOUT, TIMEWAIT_HOOK, offset},
    kernel::read,
    maps::{DWELLS, FRAMES, LIVES, STACKS, SUMS},
    registers::Called,
};

/// Those that are followed.
struct Followed;

impl Lives for Followed {
    #[inline(always)]
    fn get(&mut self, address: u64) -> Option<&mut Life> {
        // SAFETY: a value of the map. The socket's lock, which whoever changes its state holds, keeps
        // others from it.
        LIVES.get_ptr_mut(address).map(|life| unsafe { &mut *life })
    }

    #[inline(always)]
    fn put(&mut self, address: u64, life: &Life) -> bool {
        LIVES.insert(address, life, 0).is_ok()
    }

    #[inline(always)]
    fn put_new(&mut self, address: u64, life: &Life) -> bool {
        LIVES.insert(address, life, u64::from(BPF_NOEXIST)).is_ok()
    }

    #[inline(always)]
    fn remove(&mut self, address: u64) {
        // It is gone, either way.
        let _ = LIVES.remove(address);
    }

    #[inline(always)]
    fn dwelt(&mut self, state: u8, us: u64) {
        let Some(buckets) = DWELLS.get_ptr_mut(u32::from(state)) else {
            return;
        };
        let (word, one) = bucket_word(bucket(us));
        if word < BUCKET_WORDS {
            // SAFETY: within a per-CPU value. Whoever interrupts adds atomically, too.
            unsafe {
                let counts: *mut u64 = &raw mut (*buckets)[word];
                atomic_xadd::<_, _, { AtomicOrdering::Relaxed }>(counts, one);
            }
        }
    }
}

/// Acts on the books of this program on this CPU, and counts what became of the event.
#[inline(always)]
fn keep(by: By, act: impl FnOnce(&mut Books<'_, Followed>) -> Counted) {
    match with_books(by, act) {
        Counted::Yes => emit::count(by, |c| &mut c.submitted),
        Counted::Full => emit::count(by, |c| &mut c.map_full),
    }
}

/// Acts on the books of this program on this CPU.
#[inline(always)]
fn with_books(by: By, act: impl FnOnce(&mut Books<'_, Followed>) -> Counted) -> Counted {
    let Some(sums) = SUMS.get_ptr_mut(by as u32) else {
        return Counted::Full;
    };
    act(&mut Books {
        lives: Followed,
        // SAFETY: a per-CPU value, alive as long as the program, and changed by this program only.
        sums: unsafe { &mut *sums },
    })
}

/// It is added up here.
pub struct AddUp;

impl set_state::Act for AddUp {
    #[inline(always)]
    fn act(ctx: &BtfTracePointContext, change: &set_state::Change, twin: bool) {
        changed(ctx, change, twin);
    }
}

#[inline(always)]
fn changed(ctx: &BtfTracePointContext, change: &set_state::Change, twin: bool) {
    emit::count(change.by, |c| &mut c.seen);
    let fate = filter::decide(|| {
        // What a listener's peer would be is never known.
        if is_listener(change.oldstate, change.newstate) && !change.passes() {
            Fate::Drop
        } else {
            change.fate()
        }
    });
    match fate {
        Fate::Drop => {
            emit::count(change.by, |c| &mut c.filtered);
            change.forget();
        }
        Fate::SubmitUnwanted => {
            change.forget();
            keep(change.by, |books| {
                books.forget(change.sk as u64);
                Counted::Yes
            });
        }
        Fate::Submit => add(ctx, change, twin),
    }
}

#[inline(always)]
fn add(ctx: &BtfTracePointContext, change: &set_state::Change, twin: bool) {
    // SAFETY: no argument, no effect.
    let at = unsafe { bpf_ktime_get_ns() };
    let beyond = change.beyond();
    let minisock = change.minisock(beyond);
    let is_heir = minisock.is_some();
    let minisock = minisock.unwrap_or(Minisock::NONE);
    let refused = match minisock.outcome {
        _ if !is_heir => None,
        OUTCOME_MADE | OUTCOME_UNTOLD => None,
        OUTCOME_OVERFLOW => Some(EndReason::Overflow),
        OUTCOME_NO_MEMORY => Some(EndReason::NoMemory),
        _ => Some(EndReason::Unknown),
    };
    let end = change.end(beyond);
    let has = |flag| end.flags & flag != 0;
    let by_stack = (!is_heir && change.is_aborted()).then(|| {
        let nearest = nearest(ctx, change.by, STACK_FRAMES as u32);
        frames::aborted(nearest, knows_validate())
    });
    let change_of = Change {
        sk: change.sk as u64,
        at,
        from: change.oldstate,
        to: change.newstate,
        twin,
        evidence: Evidence {
            err: end.err,
            shut_both: has(FLAG_RCV_SHUTDOWN) && has(FLAG_SEND_SHUTDOWN),
            has_file: !has(FLAG_NO_FILE),
            dead: has(FLAG_DEAD),
            unread: end.unread,
            by_stack,
        },
        looked: has(FLAG_LOOKED),
        port: change.oldstate != SYN_SENT || change.newstate != CLOSE || change.sport() != 0,
        heir: Heir {
            tw: minisock.tw,
            state: if minisock.outcome == OUTCOME_MADE {
                minisock.substate
            } else {
                0
            },
            refused,
        },
    };
    keep(change.by, |books| books.change(&change_of));
}

/// The nearest of so many functions on the stack that says something.
#[inline(always)]
fn nearest<C: Called>(ctx: &C, by: By, depth: u32) -> Option<Frame> {
    Frame::of(nearest_code(ctx, by, depth))
}

/// By its number: the verifier takes all ways here for one, and goes on from there once.
#[inline(never)]
fn nearest_code<C: Called>(ctx: &C, by: By, depth: u32) -> u8 {
    let (Some(stack), Some(frames)) = (STACKS.get_ptr_mut(by as u32), FRAMES.get(0)) else {
        return 0;
    };
    // SAFETY: a per-CPU value that no other program uses.
    unsafe { take_stack(ctx, stack, depth) };
    // SAFETY: the same.
    frames.nearest(unsafe { &*stack }, depth as usize)
}

#[inline(always)]
fn knows_validate() -> bool {
    FRAMES.get(0).is_some_and(|frames| frames.knows_validate())
}

/// A minisock is taken out of the tables.
#[inline(always)]
pub fn ended<C: Called>(ctx: &C, tw: u64) {
    let by = By::MinisockEnd;
    if !is_wanted(by, tw) {
        return;
    }
    // SAFETY: no argument, no effect.
    let at = unsafe { bpf_ktime_get_ns() };
    let state = substate(tw);
    let nearest = nearest(ctx, by, END_DEPTH.load());
    let reason = match frames::verdict(nearest, state) {
        Verdict::Ended(reason) => reason,
        Verdict::Rearmed => {
            set_anew(by, tw, state, at);
            return;
        }
    };
    let end = End {
        tw,
        at,
        state,
        reason,
        stamp: stamp(tw, at),
        timer_set: timer(tw, state, at),
    };
    keep(by, |books| {
        books.minisock_end(&end);
        Counted::Yes
    });
}

/// A timer is taken off; if it is a minisock's, that ends, or is set anew.
#[inline(always)]
pub fn timer_cancelled<C: Called>(ctx: &C, timer: *const u8) {
    if let Some(tw) = minisock_of(timer) {
        ended(ctx, tw);
    }
}

/// `__inet_twsk_schedule(tw, timeo, rearm)` with `rearm`.
#[inline(always)]
pub fn rearmed(tw: u64) {
    let by = By::MinisockRearmed;
    if is_wanted(by, tw) {
        // SAFETY: no argument, no effect.
        let at = unsafe { bpf_ktime_get_ns() };
        set_anew(by, tw, substate(tw), at);
    }
}

#[inline(always)]
fn set_anew(by: By, tw: u64, state: u8, at: u64) {
    keep(by, |books| {
        books.rearmed(tw, state, at);
        Counted::Yes
    });
}

/// When a minisock entered its state, by its stamp.
#[inline(always)]
fn stamp(tw: u64, at: u64) -> Option<u64> {
    let offset = offset!(TIMEWAIT: TimewaitLayout, entry_stamp);
    if offset == 0 {
        return None;
    }
    stamped(at, read(tw, offset))
}

/// When it entered TIME_WAIT, by its timer.
#[inline(always)]
fn timer(tw: u64, state: u8, at: u64) -> Option<u64> {
    let hz = JIFFIES_PER_SECOND.load();
    if hz == 0 || state != TIME_WAIT {
        return None;
    }
    let timer = tw + offset!(TIMEWAIT: TimewaitLayout, timer) as u64;
    let expires: u64 = read(timer, offset!(TIMEWAIT: TimewaitLayout, expires));
    // SAFETY: no argument, no effect.
    let now = unsafe { bpf_jiffies64() };
    timer_set(at, expires.wrapping_sub(now) as i32, hz)
}

/// A socket that was there before.
///
/// Taken in here, not by user space: the iterator holds what keeps the socket from being closed
/// meanwhile (its lock, or that of its place in the tables), so that none is followed that is gone.
#[inline(always)]
pub fn found(context: Context) {
    let sk = context.argument(1) as u64;
    if sk == 0 {
        return;
    }
    let state = Common(sk).state();
    let unwanted = SNAPSHOT_WITHOUT.load() >> (state & 31) & 1 == 1;
    let is_minisock = state == TIME_WAIT;
    let unheard = is_minisock && TIMEWAIT_HOOK.load() == HOOK_NONE;
    if unwanted || unheard || state == NEW_SYN_RECV || state == CLOSE {
        return;
    }
    let wanted = filter::passes(|| {
        let mut subject = Common(sk).subject();
        subject.listens = u16::from(state == LISTEN);
        subject
    });
    if !wanted {
        return;
    }
    // SAFETY: no argument, no effect.
    let at = unsafe { bpf_ktime_get_ns() };
    let (mut state, mut entered) = (state, None);
    if is_minisock {
        state = substate(sk);
        if state == TIME_WAIT {
            entered = stamp(sk, at);
        }
    }
    let found = with_books(By::Found, |books| {
        books.found(sk, state, is_minisock, at, entered)
    });
    // No change, but a loss like others: what it does from here on is not followed.
    if found == Counted::Full {
        emit::count(By::Found, |c| &mut c.seen);
        emit::count(By::Found, |c| &mut c.map_full);
    }
}
