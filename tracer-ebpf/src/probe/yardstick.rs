//! What `cargo xtask bench` measures beside ours, on the same hook. Nobody decodes what they send.

use aya_ebpf::{
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_socket_cookie, bpf_ktime_get_ns, bpf_probe_read_kernel,
    },
    programs::BtfTracePointContext,
};
use tracer_common::{
    layout::SockLayout,
    record::StateChangeV4,
    state::{CLOSE, CLOSE_WAIT, LISTEN},
};

use super::set_state::{Change, SOCK_DEAD};
use crate::{
    emit::{self, By},
    globals::offset,
    maps::EVENTS,
};

/// The clock, and a line in the ring buffer.
#[inline(always)]
pub fn least() {
    emit::submit(By::First, |record: *mut StateChangeV4| {
        // SAFETY: a reservation of this size.
        unsafe { (*record).ts_ns = bpf_ktime_get_ns() };
    });
}

/// What [`lean`] sends.
#[repr(C)]
struct Lean {
    ts_ns: u64,
    sk: u64,
    cookie: u64,
    pid_tgid: u64,
    net: u64,
    saddr: u32,
    daddr: u32,
    sport: u16,
    dport: u16,
    err: u16,
    oldstate: u8,
    newstate: u8,
    shutdown: u8,
    dead: u8,
    family: u16,
    unread: u32,
}

const _: () = assert!(size_of::<Lean>() == 64);

/// A state change in 64 bytes, as one would first write it: six fields loaded, the rest by helpers, the
/// task on the CPU for its owner, nobody to stand in for it. A program like this took 120 to 140 ns on the
/// machine where the targets were set, and they are set above it: what it takes elsewhere says how that
/// machine would have measured.
///
/// It takes its room as it comes, not by whole cache lines, and so not through [`emit`].
#[inline(always)]
pub fn lean(ctx: &BtfTracePointContext) {
    let change = Change::of(ctx, By::First);
    if !change.is_tcp() {
        return;
    }
    // SAFETY: the tracepoint's argument.
    let cookie = unsafe { bpf_get_socket_cookie(change.sk.cast_mut().cast()) };
    let Some(mut entry) = EVENTS.reserve::<Lean>(0) else {
        emit::count(By::First, |c| &mut c.ring_full);
        return;
    };
    let at_end = change.newstate == CLOSE && change.oldstate != LISTEN;
    let unread = if at_end || change.newstate == CLOSE_WAIT {
        copy::<u32>(change.sk, offset!(SOCK: SockLayout, rcv_nxt))
            .wrapping_sub(copy(change.sk, offset!(SOCK: SockLayout, copied_seq)))
    } else {
        0
    };
    let dport: u16 = change.field(offset!(SOCK: SockLayout, dport));
    let flags: u64 = change.field(offset!(SOCK: SockLayout, sock_flags));
    entry.write(Lean {
        // SAFETY: no argument, no effect.
        ts_ns: unsafe { bpf_ktime_get_ns() },
        sk: change.sk as u64,
        cookie,
        pid_tgid: bpf_get_current_pid_tgid(),
        net: copy(change.sk, offset!(SOCK: SockLayout, net)),
        saddr: change.field(offset!(SOCK: SockLayout, rcv_saddr)),
        daddr: change.field(offset!(SOCK: SockLayout, daddr)),
        sport: u16::from_be(copy(change.sk, offset!(SOCK: SockLayout, inet_sport))),
        dport: u16::from_be(dport),
        err: change.field::<i32>(offset!(SOCK: SockLayout, err)) as u16,
        oldstate: change.oldstate,
        newstate: change.newstate,
        shutdown: change.field(offset!(SOCK: SockLayout, shutdown)),
        dead: (flags & SOCK_DEAD) as u8,
        family: change.field(offset!(SOCK: SockLayout, family)),
        unread,
    });
    entry.submit(0);
}

/// By helper, whatever else the kernel has.
#[inline(always)]
fn copy<T: Default>(base: *const u8, offset: usize) -> T {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(base.add(offset).cast()) }.unwrap_or_default()
}
