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
    state::{CLOSE, LISTEN, SYN_RECV, is_listener},
};

use crate::{
    diagnostics::{self, Outcome},
    emit::{self, By},
    filter::{self, Fate},
    globals::offset,
    kernel::{numbers, read},
    owner,
};

const IPPROTO_TCP: u16 = 6;

/// Counts an event of any protocol.
#[inline(always)]
pub fn witness() {
    emit::count(By::Witness, |c| &mut c.witness_runs);
}

/// The program.
#[inline(always)]
pub fn classic(ctx: &TracePointContext) {
    emit::count(By::Classic, |c| &mut c.tracepoint_runs);
    let event = Event(ctx.as_ptr() as u64);
    if event.field::<u16>(offset!(TRACEPOINT: TracepointLayout, protocol)) != IPPROTO_TCP {
        return;
    }
    diagnostics::tell(ctx, event.submit());
}

/// The tracepoint's record.
struct Event(u64);

impl Event {
    #[inline(always)]
    fn field<T: Copy>(&self, offset: usize) -> T {
        read(self.0, offset)
    }

    #[inline(always)]
    fn submit(&self) -> Outcome {
        emit::count(By::Classic, |c| &mut c.seen);
        let fate = filter::decide(|| self.fate());
        if fate == Fate::Drop {
            emit::count(By::Classic, |c| &mut c.filtered);
            return Outcome::Done;
        }
        self.emit(fate.flags())
    }

    #[inline(always)]
    fn state(&self, offset: usize) -> u8 {
        self.field::<i32>(offset) as u8
    }

    #[inline(always)]
    fn oldstate(&self) -> u8 {
        self.state(offset!(TRACEPOINT: TracepointLayout, oldstate))
    }

    #[inline(always)]
    fn newstate(&self) -> u8 {
        self.state(offset!(TRACEPOINT: TracepointLayout, newstate))
    }

    /// inet_csk_clone_lock() reports the child before it has a peer.
    #[inline(always)]
    fn is_unborn(&self) -> bool {
        self.oldstate() == LISTEN && self.newstate() == SYN_RECV
    }

    /// A function with a stack frame of its own, as the next: together they would not fit.
    #[inline(never)]
    fn fate(&self) -> Fate {
        filter::fate(self.oldstate(), &self.subject())
    }

    #[inline(never)]
    fn emit(&self, flags: u8) -> Outcome {
        let newstate = self.newstate();
        // SAFETY: no argument, no effect.
        let ts_ns = unsafe { bpf_ktime_get_ns() };
        let sk: u64 = self.field(offset!(TRACEPOINT: TracepointLayout, skaddr));
        let owner = owner::of(By::Classic, newstate, ts_ns, || {
            // What `CLOSE` comes from is not known here.
            if newstate == CLOSE {
                0
            } else {
                read(sk, offset!(TASK: TaskLayout, sock_lock_owned))
            }
        });
        let outcome = emit::submit(By::Classic, |record: *mut StateChange| {
            let made = StateChange {
                kind: KIND_STATE_CHANGE,
                flags,
                oldstate: self.oldstate(),
                newstate,
                family: self.field(offset!(TRACEPOINT: TracepointLayout, family)),
                sport: self.field(offset!(TRACEPOINT: TracepointLayout, sport)),
                dport: self.dport(),
                err: 0,
                tgid: owner.tgid,
                ts_ns,
                sk,
                cookie: 0,
                netns: 0,
                unread: 0,
                saddr: self.field(offset!(TRACEPOINT: TracepointLayout, saddr_v6)),
                daddr: self.field(offset!(TRACEPOINT: TracepointLayout, daddr_v6)),
            };
            // SAFETY: a reservation of this size.
            unsafe { record.write(made) };
        });
        if outcome == Outcome::Done && owner.described {
            Outcome::ProcessDescribed
        } else {
            outcome
        }
    }

    #[inline(always)]
    fn dport(&self) -> u16 {
        if self.is_unborn() {
            return 0;
        }
        self.field(offset!(TRACEPOINT: TracepointLayout, dport))
    }

    #[inline(always)]
    fn subject(&self) -> Subject {
        Subject {
            laddr: numbers(self.field(offset!(TRACEPOINT: TracepointLayout, saddr_v6))),
            raddr: numbers(self.field(offset!(TRACEPOINT: TracepointLayout, daddr_v6))),
            netns: 0,
            lport: self.field(offset!(TRACEPOINT: TracepointLayout, sport)),
            rport: self.dport(),
            family: self.field(offset!(TRACEPOINT: TracepointLayout, family)),
            listens: u16::from(is_listener(self.oldstate(), self.newstate())),
            reserved: [0; 2],
        }
    }
}
