//! `sock:inet_sock_set_state` as classic tracepoint, for kernels without BTF.
//!
//! Poorer: no cookie, no network namespace, and all classic programs of a CPU share one recursion
//! guard, whose misses the kernel does not count. A witness on the raw tracepoint (its own guard)
//! counts the events, so that the loss is at least known.

use aya_ebpf::{EbpfContext, helpers::bpf_ktime_get_ns, programs::TracePointContext};
use tracer_common::{
    filter::Subject,
    layout::{TaskLayout, TracepointLayout},
    record::{KIND_STATE_CHANGE, StateChange},
    state::{LISTEN, SYN_RECV},
};

use crate::{
    emit,
    filter::{self, Fate},
    globals::offset,
    kernel::read,
    owner,
};

const IPPROTO_TCP: u16 = 6;

/// Counts an event of any protocol.
#[inline(always)]
pub fn witness() {
    emit::count(|c| c.witness_runs += 1);
}

/// The program.
#[inline(always)]
pub fn classic(ctx: &TracePointContext) {
    emit::count(|c| c.tracepoint_runs += 1);
    let event = Event(ctx.as_ptr() as u64);
    if event.field::<u16>(offset!(TRACEPOINT: TracepointLayout, protocol)) != IPPROTO_TCP {
        return;
    }
    event.submit(ctx);
}

/// The tracepoint's record.
struct Event(u64);

impl Event {
    #[inline(always)]
    fn field<T: Copy + Default>(&self, offset: usize) -> T {
        read(self.0, offset)
    }

    #[inline(always)]
    fn submit(&self, ctx: &TracePointContext) {
        emit::count(|c| c.seen += 1);
        let oldstate = self.field::<i32>(offset!(TRACEPOINT: TracepointLayout, oldstate)) as u8;
        let newstate = self.field::<i32>(offset!(TRACEPOINT: TracepointLayout, newstate)) as u8;
        // inet_csk_clone_lock() reports the child before it has a peer.
        let unborn = oldstate == LISTEN && newstate == SYN_RECV;
        let flags = match filter::decide(oldstate, || self.subject(unborn)) {
            Fate::Submit(flags) => flags,
            Fate::Drop => {
                emit::count(|c| c.filtered += 1);
                return;
            }
        };
        // SAFETY: no argument, no effect.
        let ts_ns = unsafe { bpf_ktime_get_ns() };
        let sk: u64 = self.field(offset!(TRACEPOINT: TracepointLayout, skaddr));
        let tgid = owner::of(ctx, newstate, ts_ns, || {
            read(sk, offset!(TASK: TaskLayout, sock_lock_owned))
        });
        emit::state_change(ctx, || StateChange {
            kind: KIND_STATE_CHANGE,
            flags,
            oldstate,
            newstate,
            family: self.field(offset!(TRACEPOINT: TracepointLayout, family)),
            sport: self.field(offset!(TRACEPOINT: TracepointLayout, sport)),
            dport: self.dport(unborn),
            reserved: 0,
            tgid,
            ts_ns,
            sk,
            cookie: 0,
            netns: 0,
            reserved2: 0,
            saddr: self.field(offset!(TRACEPOINT: TracepointLayout, saddr_v6)),
            daddr: self.field(offset!(TRACEPOINT: TracepointLayout, daddr_v6)),
        });
    }

    #[inline(always)]
    fn dport(&self, unborn: bool) -> u16 {
        if unborn {
            return 0;
        }
        self.field(offset!(TRACEPOINT: TracepointLayout, dport))
    }

    #[inline(always)]
    fn subject(&self, unborn: bool) -> Subject {
        Subject {
            laddr: self.field(offset!(TRACEPOINT: TracepointLayout, saddr_v6)),
            raddr: self.field(offset!(TRACEPOINT: TracepointLayout, daddr_v6)),
            netns: 0,
            lport: self.field(offset!(TRACEPOINT: TracepointLayout, sport)),
            rport: self.dport(unborn),
            family: self.field(offset!(TRACEPOINT: TracepointLayout, family)),
            reserved: [0; 3],
        }
    }
}
