//! Timewait minisocks: taken over from a socket, set anew, gone.
//!
//! `inet_sock_set_state` never shows one. It shows the full socket's change to `CLOSE`, right after
//! the minisock was made (`tcp_time_wait`, net/ipv4/tcp_minisocks.c). There it is looked for in
//! [`chain`], and goes out with that change: one record, one moment, no join.
//!
//! Three kinds of hooks tell of its end: functions (fentry, fexit), the same functions (kprobes),
//! or the minisock's timer (tracepoint `timer_cancel`, `timer->function` being `tw_timer_handler`).
//! Why it ended is on the kernel's stack, which user space reads.

use aya_ebpf::helpers::{
    bpf_ktime_get_ns,
    generated::{bpf_get_stack, bpf_jiffies64},
};
use tracer_common::{
    layout::{SockLayout, TimewaitLayout},
    record::{KIND_TIMEWAIT_END, KIND_TIMEWAIT_REARMED},
    timewait::{
        OUTCOME_MADE, OUTCOME_NO_MEMORY, OUTCOME_OVERFLOW, OUTCOME_REFUSED, OUTCOME_UNTOLD,
        TimewaitEnd, TimewaitRearmed,
    },
};

use super::{
    chain::{self, Known},
    common::Common,
};
use crate::{
    emit::{self, By},
    filter,
    globals::{END_DEPTH, HOOK_ALLOC, HOOK_TIMER, TIMEWAIT_HANDLER, TIMEWAIT_HOOK, offset},
    kernel::{InMemory, load, read},
    maps::ALLOCATIONS,
    registers::Called,
};

/// The last call of `inet_twsk_alloc` on this CPU that is of interest.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Allocation {
    /// 0: there is none.
    sk: u64,
    death_row: u64,
    /// Why there is no minisock, `OUTCOME_*`; 0: the call has not returned.
    refusal: u64,
    /// When that was found out.
    at: u64,
}

/// A refusal is the reason of a change that follows so soon: the socket closes at once (`tcp_time_wait`), but
/// maybe on another CPU, and then the note stays for whoever gets its memory.
const FRESH_NS: u64 = 100_000_000;

impl Allocation {
    const NONE: Self = Self {
        sk: 0,
        death_row: 0,
        refusal: 0,
        at: 0,
    };
}

/// What took over from a socket.
#[derive(Clone, Copy)]
pub struct Minisock {
    pub tw: u64,
    pub outcome: u8,
    pub substate: u8,
}

impl Minisock {
    /// There is none, and was none to be.
    pub const NONE: Self = Self::without(0);

    const fn without(outcome: u8) -> Self {
        Self {
            tw: 0,
            outcome,
            substate: 0,
        }
    }
}

/// What took over from a socket that closes now; `None`: nothing, and nobody says that something should
/// have.
#[inline(always)]
pub fn heir(sk: u64, net: u64, known: Known) -> Option<Minisock> {
    let mut death_row = net + offset!(TIMEWAIT: TimewaitLayout, death_row) as u64;
    if offset!(TIMEWAIT: TimewaitLayout, death_row_is_pointer) != 0 {
        death_row = read(death_row, 0);
    }
    let outcome = match chain::minisock(death_row, known) {
        chain::UNTOLD => OUTCOME_UNTOLD,
        0 if TIMEWAIT_HOOK.load() == HOOK_TIMER => overflow(sk, death_row),
        0 => refusal_of(sk),
        tw => {
            return Some(Minisock {
                tw,
                outcome: OUTCOME_MADE,
                substate: substate(tw),
            });
        }
    };
    (outcome != 0).then_some(Minisock::without(outcome))
}

/// Why `inet_twsk_alloc` gave this socket nothing, `OUTCOME_*`; 0: it was not asked, or others came
/// in between.
#[inline(always)]
fn refusal_of(sk: u64) -> u8 {
    let Some(last) = ALLOCATIONS.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: a per-CPU value.
    let last = unsafe { &mut *last };
    if last.sk != sk {
        return 0;
    }
    let (refusal, at) = (last.refusal as u8, last.at);
    *last = Allocation::NONE;
    // SAFETY: no argument, no effect.
    let now = unsafe { bpf_ktime_get_ns() };
    if now.wrapping_sub(at) > FRESH_NS {
        return 0;
    }
    refusal
}

/// A socket closed of which nothing is told: its refusal must not be taken for that of the next in its place.
#[inline(always)]
pub fn forget_refusal(sk: u64) {
    if TIMEWAIT_HOOK.load() == HOOK_ALLOC {
        // Who asks takes it away.
        refusal_of(sk);
    }
}

/// Whether a minisock for this socket would have been one too many (`inet_twsk_alloc`). A socket
/// with `TCP_LINGER2 < 0` wants none, nor does one with an error.
#[inline(always)]
fn overflow(sk: u64, death_row: u64) -> u8 {
    let err: i32 = read(sk, offset!(SOCK: SockLayout, err));
    let linger2: i32 = read(sk, offset!(TIMEWAIT: TimewaitLayout, linger2));
    if err == 0 && linger2 >= 0 && Buckets::of(death_row).are_full() {
        OUTCOME_OVERFLOW
    } else {
        0
    }
}

/// The account of minisocks of a namespace.
struct Buckets {
    used: i64,
    limit: i64,
}

impl Buckets {
    #[inline(always)]
    fn of(death_row: u64) -> Self {
        let used: i32 = read(death_row, offset!(TIMEWAIT: TimewaitLayout, buckets));
        let limit: i32 = read(death_row, offset!(TIMEWAIT: TimewaitLayout, max_buckets));
        Self {
            used: i64::from(used) - offset!(TIMEWAIT: TimewaitLayout, buckets_bias) as i64,
            limit: i64::from(limit),
        }
    }

    #[inline(always)]
    fn are_full(&self) -> bool {
        self.used >= self.limit
    }

    /// Why there is none: others may have come and gone since the kernel looked.
    #[inline(always)]
    fn refusal(&self) -> u8 {
        if self.are_full() {
            OUTCOME_OVERFLOW
        } else if self.used < self.limit / 2 {
            OUTCOME_NO_MEMORY
        } else {
            OUTCOME_REFUSED
        }
    }
}

/// `inet_twsk_alloc(sk, dr, state)` was called.
#[inline(always)]
pub fn allocating(sk: u64, death_row: u64) {
    note(Allocation {
        sk,
        death_row,
        refusal: 0,
        at: 0,
    });
}

/// The call noted last on this CPU returned `tw`.
#[inline(always)]
pub fn allocated_returning(tw: u64) {
    let Some(last) = ALLOCATIONS.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: a per-CPU value.
    let last = unsafe { *last };
    if tw != 0 {
        note(Allocation::NONE);
    } else if last.sk != 0 {
        refused(last.sk, last.death_row);
    }
}

/// `inet_twsk_alloc(sk, dr, state)` returned null.
#[inline(always)]
pub fn refused(sk: u64, death_row: u64) {
    note(Allocation {
        sk,
        death_row,
        refusal: u64::from(Buckets::of(death_row).refusal()),
        // SAFETY: no argument, no effect.
        at: unsafe { bpf_ktime_get_ns() },
    });
}

#[inline(always)]
fn note(allocation: Allocation) {
    if let Some(last) = ALLOCATIONS.get_ptr_mut(0) {
        // SAFETY: a per-CPU value.
        unsafe { *last = allocation };
    }
}

/// A timer is taken off; if it is a minisock's, that ends, or is set anew.
#[inline(always)]
pub fn timer_cancelled<C: Called>(ctx: &C, timer: *const u8) {
    if let Some(tw) = minisock_of(timer) {
        ended(ctx, tw);
    }
}

/// The minisock that a timer belongs to.
#[inline(always)]
pub fn minisock_of(timer: *const u8) -> Option<u64> {
    let offset = offset!(TIMEWAIT: TimewaitLayout, function);
    // SAFETY: `timer` is the tracepoint's argument, a BTF pointer.
    let function: u64 = unsafe { load(timer, offset) };
    let timer = timer as u64;
    (function == TIMEWAIT_HANDLER.load())
        .then(|| timer - offset!(TIMEWAIT: TimewaitLayout, timer) as u64)
}

#[inline(always)]
pub fn substate(tw: u64) -> u8 {
    read(tw, offset!(TIMEWAIT: TimewaitLayout, substate))
}

/// Whether to go on with a minisock's change. Counts it.
#[inline(always)]
pub fn is_wanted(by: By, tw: u64) -> bool {
    emit::count(by, |c| &mut c.seen);
    let wanted = filter::wants(|| Common(tw).subject());
    if !wanted {
        emit::count(by, |c| &mut c.filtered);
    }
    wanted
}

/// A minisock is taken out of the tables.
#[inline(always)]
pub fn ended<C: Called>(ctx: &C, tw: u64) {
    if !is_wanted(By::MinisockEnd, tw) {
        return;
    }
    emit::submit(By::MinisockEnd, |record: *mut TimewaitEnd| {
        let common = Common(tw);
        let family = common.family();
        let (saddr, daddr) = common.addresses(family);
        let expires: u64 = read(
            tw + offset!(TIMEWAIT: TimewaitLayout, timer) as u64,
            offset!(TIMEWAIT: TimewaitLayout, expires),
        );
        let stamp_offset = offset!(TIMEWAIT: TimewaitLayout, entry_stamp);
        // SAFETY: a reservation of this size; every field is written.
        unsafe {
            (*record).kind = KIND_TIMEWAIT_END;
            (*record).substate = substate(tw);
            (*record).family = family;
            (*record).sport = common.num();
            (*record).dport = common.dport();
            (*record).ts_ns = bpf_ktime_get_ns();
            (*record).tw = tw;
            (*record).cookie = common.cookie();
            (*record).netns = common.netns();
            (*record).remaining = expires.wrapping_sub(bpf_jiffies64()) as i32;
            (*record).entry_stamp = if stamp_offset == 0 {
                0
            } else {
                read(tw, stamp_offset)
            };
            (*record).reserved = 0;
            (&raw mut (*record).saddr).cast::<InMemory>().write(saddr);
            (&raw mut (*record).daddr).cast::<InMemory>().write(daddr);
            take_stack(ctx, &raw mut (*record).stack, END_DEPTH.load());
        }
    });
}

/// Who called, and who called them, so many; zeros after the last.
///
/// # Safety
/// `stack` must be valid for writes. The verifier refuses a depth beyond it.
#[inline(always)]
pub unsafe fn take_stack<C: Called, const N: usize>(ctx: &C, stack: *mut [u64; N], depth: u32) {
    let size = depth * size_of::<u64>() as u32;
    // SAFETY: the caller's promise; the helper writes at most `size` bytes.
    unsafe {
        (*stack) = [0; N];
        bpf_get_stack(ctx.as_ptr(), stack.cast(), size, 0);
        // A kprobe's begins with the function that it stands in, which decides nothing.
        match ctx.caller() {
            0 => {}
            caller => (*stack)[0] = caller,
        }
    }
}

/// `__inet_twsk_schedule(tw, timeo, rearm)` with `rearm`.
#[inline(always)]
pub fn rearmed(tw: u64) {
    if !is_wanted(By::MinisockRearmed, tw) {
        return;
    }
    emit::submit(By::MinisockRearmed, |record: *mut TimewaitRearmed| {
        // SAFETY: a reservation of this size; every field is written.
        unsafe {
            (*record).kind = KIND_TIMEWAIT_REARMED;
            (*record).substate = substate(tw);
            (*record).reserved = [0; 6];
            (*record).ts_ns = bpf_ktime_get_ns();
            (*record).tw = tw;
            (*record).cookie = Common(tw).cookie();
        }
    });
}
