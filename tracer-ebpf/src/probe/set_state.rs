//! `sock:inet_sock_set_state` as BTF tracepoint.
//!
//! Why this hook: it is called on every state change of a full socket
//! (`inet_sk_set_state`/`inet_sk_state_store`, net/ipv4/af_inet.c), it is stable since 4.16, it has
//! a recursion guard per program, and its argument is the socket itself.

use aya_ebpf::{
    helpers::{bpf_get_socket_cookie, bpf_ktime_get_ns},
    programs::BtfTracePointContext,
};
use tracer_common::{
    address::{AF_INET, AF_INET6},
    filter::Subject,
    layout::{SockLayout, TimewaitLayout},
    record::{
        Aborted, FLAG_DEAD, FLAG_LOOKED, FLAG_NO_FILE, FLAG_RCV_SHUTDOWN, FLAG_SEND_SHUTDOWN,
        FLAG_TWIN, KIND_ABORTED, KIND_INTO_TIMEWAIT, KIND_STATE_CHANGE, KIND_STATE_CHANGE_V4,
        STACK_FRAMES, StateChange, StateChangeV4,
    },
    state::{
        CLOSE, CLOSE_WAIT, CLOSING, ESTABLISHED, FIN_WAIT1, FIN_WAIT2, LAST_ACK, LISTEN, SYN_RECV,
        is_listener,
    },
    timewait::IntoTimewait,
};

use super::{
    chain::Known,
    timewait::{self, Minisock},
};
use crate::{
    diagnostics::{self, Outcome},
    emit::{self, By},
    filter::{self, Fate},
    globals::{HAS_COOKIE, HOOK_ALLOC, HOOK_NONE, TIMEWAIT_HOOK, offset},
    kernel::{InMemory, load, mapped, numbers, read},
    owner, twin,
};

/// `sk_protocol` also names MPTCP, SCTP and DCCP sockets here.
const IPPROTO_TCP: u16 = 6;

/// Bits of `sk_shutdown`, include/net/sock.h.
const RCV_SHUTDOWN: u8 = 1;
const SEND_SHUTDOWN: u8 = 2;
/// `1 << SOCK_DEAD` of `skc_flags`.
pub const SOCK_DEAD: u64 = 1;

/// What a socket says of its end, as it goes into the record.
#[derive(Clone, Copy, Default)]
pub struct End {
    /// `FLAG_*` of a record.
    pub flags: u8,
    pub err: u16,
    pub unread: u32,
}

/// What a socket points to.
///
/// Read once, before anything branches: whenever the verifier comes by a pointer that is loaded through a
/// trusted one, it searches all types of the kernel for up to four names
/// (`btf_nested_type_is_trusted`, kernel/bpf/btf.c since 6.2), which takes it a few milliseconds.
#[derive(Clone, Copy)]
pub struct Beyond {
    /// `struct net`.
    net: u64,
    /// `struct socket`.
    file: u64,
}

/// What a family of programs does with a change.
pub trait Act {
    /// `twin`: another program tells it than the one that the kernel skipped.
    fn act(ctx: &BtfTracePointContext, change: &Change, twin: bool);
}

/// The program attached first.
#[inline(always)]
pub fn first<A: Act>(ctx: &BtfTracePointContext) {
    let change = Change::of(ctx, By::First);
    if !change.is_tcp() {
        return;
    }
    twin::note(change.sk, change.oldstate, change.newstate);
    A::act(ctx, &change, false);
}

/// The program attached second.
#[inline(always)]
pub fn second<A: Act>(ctx: &BtfTracePointContext) {
    catch::<A>(ctx, By::Second);
}

/// The program attached last.
#[inline(always)]
pub fn last<A: Act>(ctx: &BtfTracePointContext) {
    twin::running(true);
    catch::<A>(ctx, By::Last);
    twin::running(false);
}

#[inline(always)]
fn catch<A: Act>(ctx: &BtfTracePointContext, by: By) {
    let last = matches!(by, By::Last);
    let change = Change::of(ctx, by);
    if twin::noted(change.sk, change.oldstate, change.newstate, last) || !change.is_tcp() {
        return;
    }
    if !last {
        twin::note(change.sk, change.oldstate, change.newstate);
    }
    emit::count(by, |c| &mut c.twin_caught);
    A::act(ctx, &change, true);
}

/// User space is told.
pub struct Tell;

impl Act for Tell {
    #[inline(always)]
    fn act(ctx: &BtfTracePointContext, change: &Change, twin: bool) {
        let flags = if twin { FLAG_TWIN } else { 0 };
        diagnostics::tell(ctx, change.submit(ctx, flags));
    }
}

/// The arguments of the tracepoint.
pub struct Change {
    pub sk: *const u8,
    pub oldstate: u8,
    pub newstate: u8,
    pub by: By,
}

impl Change {
    #[inline(always)]
    pub fn of(ctx: &BtfTracePointContext, by: By) -> Self {
        Self {
            by,
            sk: ctx.arg(0),
            oldstate: ctx.arg::<i32>(1) as u8,
            newstate: ctx.arg::<i32>(2) as u8,
        }
    }

    #[inline(always)]
    pub fn field<T: Copy>(&self, offset: usize) -> T {
        // SAFETY: `sk` is the tracepoint's argument, a BTF pointer.
        unsafe { load(self.sk, offset) }
    }

    #[inline(always)]
    pub fn is_tcp(&self) -> bool {
        self.field::<u16>(offset!(SOCK: SockLayout, protocol)) == IPPROTO_TCP
    }

    #[inline(always)]
    fn submit(&self, ctx: &BtfTracePointContext, flags: u8) -> Outcome {
        emit::count(self.by, |c| &mut c.seen);
        let fate = filter::decide(|| self.fate());
        if fate == Fate::Drop {
            emit::count(self.by, |c| &mut c.filtered);
            self.forget();
            return Outcome::Done;
        }
        self.emit(ctx, flags | fate.flags())
    }

    /// Nothing is told of it.
    #[inline(always)]
    pub fn forget(&self) {
        if self.newstate == CLOSE {
            timewait::forget_refusal(self.sk as u64);
        }
    }

    /// A function with a stack frame of its own, as the next: together they would not fit.
    #[inline(never)]
    pub fn fate(&self) -> Fate {
        filter::fate(self.oldstate, &self.subject())
    }

    #[inline(never)]
    pub fn passes(&self) -> bool {
        filter::passes(|| self.subject())
    }

    #[inline(never)]
    fn emit(&self, ctx: &BtfTracePointContext, flags: u8) -> Outcome {
        let beyond = self.beyond();
        // SAFETY: no argument, no effect.
        let ts_ns = unsafe { bpf_ktime_get_ns() };
        let minisock = self.minisock(beyond);
        let owner = owner::of(self.by, self.newstate, ts_ns, || {
            if self.newstate == CLOSE && (self.closed_before() || self.is_destroyed()) {
                0
            } else {
                self.field(offset!(SOCK: SockLayout, lock_owned))
            }
        });
        let outcome = match minisock {
            None if self.is_aborted() => emit::submit(self.by, |record: *mut Aborted| {
                // SAFETY: a reservation of this size; every field is written.
                unsafe {
                    let change = &raw mut (*record).change;
                    self.fill(change, KIND_ABORTED, flags, ts_ns, owner.tgid, beyond);
                    timewait::take_stack(ctx, &raw mut (*record).stack, STACK_FRAMES as u32);
                }
            }),
            None if self.family() == AF_INET => emit::submit(self.by, |record| {
                self.fill_v4(record, flags, ts_ns, owner.tgid, beyond);
            }),
            None => emit::submit(self.by, |record| {
                self.fill(record, KIND_STATE_CHANGE, flags, ts_ns, owner.tgid, beyond);
            }),
            Some(minisock) => emit::submit(self.by, |record: *mut IntoTimewait| {
                // SAFETY: a reservation of this size; every field is written.
                unsafe {
                    let change = &raw mut (*record).change;
                    self.fill(change, KIND_INTO_TIMEWAIT, flags, ts_ns, owner.tgid, beyond);
                    (*record).tw = minisock.tw;
                    (*record).outcome = minisock.outcome;
                    (*record).substate = minisock.substate;
                    (*record).reserved = 0;
                    (*record).padding = 0;
                }
            }),
        };
        if outcome == Outcome::Done && owner.described {
            Outcome::ProcessDescribed
        } else {
            outcome
        }
    }

    /// Closed by its process, and now by a RST: the peer's, or ours to what the peer still sent.
    /// Nothing in the socket tells which (`tcp_reset` for both, `tcp_done` alone if the data came
    /// with the acknowledgement of the FIN). The latter looks as if there were no memory for a
    /// minisock, unless we hear of those.
    #[inline(always)]
    pub fn is_aborted(&self) -> bool {
        const ECONNRESET: i32 = 104;
        if self.newstate != CLOSE || !matches!(self.oldstate, FIN_WAIT1 | FIN_WAIT2) {
            return false;
        }
        let flags: u64 = self.field(offset!(SOCK: SockLayout, sock_flags));
        flags & SOCK_DEAD != 0
            && match self.field::<i32>(offset!(SOCK: SockLayout, err)) {
                ECONNRESET => true,
                0 if TIMEWAIT_HOOK.load() == HOOK_ALLOC => {
                    let linger2 = offset!(TIMEWAIT: TimewaitLayout, linger2);
                    read::<i32>(self.sk as u64, linger2) >= 0
                }
                _ => false,
            }
    }

    /// Whoever closed it was named at that change already.
    #[inline(always)]
    fn closed_before(&self) -> bool {
        matches!(self.oldstate, LAST_ACK | FIN_WAIT1 | FIN_WAIT2 | CLOSING)
    }

    /// `tcp_abort` for `SOCK_DESTROY`: the lock is held by whoever destroys it (`ss -K`).
    #[inline(always)]
    fn is_destroyed(&self) -> bool {
        const ECONNABORTED: i32 = 103;
        self.field::<i32>(offset!(SOCK: SockLayout, err)) == ECONNABORTED
    }

    /// Writes every field, the addresses (aligned to eight) as words.
    #[inline(always)]
    fn fill(
        &self,
        record: *mut StateChange,
        kind: u8,
        flags: u8,
        ts_ns: u64,
        tgid: u32,
        beyond: Beyond,
    ) {
        let family = self.family();
        let end = self.end(beyond);
        let (saddr, daddr) = self.addresses(family);
        // SAFETY: the caller's reservation.
        unsafe {
            (*record).kind = kind;
            (*record).flags = flags | end.flags;
            (*record).oldstate = self.oldstate;
            (*record).newstate = self.newstate;
            (*record).family = family;
            (*record).sport = self.sport();
            (*record).dport = self.dport();
            (*record).err = end.err;
            (*record).tgid = tgid;
            (*record).ts_ns = ts_ns;
            (*record).sk = self.sk as u64;
            (*record).cookie = self.cookie();
            (*record).netns = number_of(beyond.net);
            (*record).unread = end.unread;
            (&raw mut (*record).saddr).cast::<InMemory>().write(saddr);
            (&raw mut (*record).daddr).cast::<InMemory>().write(daddr);
        }
    }

    /// The same for the short form.
    #[inline(always)]
    fn fill_v4(
        &self,
        record: *mut StateChangeV4,
        flags: u8,
        ts_ns: u64,
        tgid: u32,
        beyond: Beyond,
    ) {
        let end = self.end(beyond);
        let laddr: u32 = self.field(offset!(SOCK: SockLayout, rcv_saddr));
        let raddr: u32 = self.field(offset!(SOCK: SockLayout, daddr));
        // SAFETY: the caller's reservation.
        unsafe {
            (*record).kind = KIND_STATE_CHANGE_V4;
            (*record).flags = flags | end.flags;
            (*record).oldstate = self.oldstate;
            (*record).newstate = self.newstate;
            (*record).sport = self.sport();
            (*record).dport = self.dport();
            (*record).err = end.err;
            (*record).reserved = 0;
            (*record).tgid = tgid;
            (*record).ts_ns = ts_ns;
            (*record).sk = self.sk as u64;
            (*record).cookie = self.cookie();
            (*record).netns = number_of(beyond.net);
            (*record).unread = end.unread;
            (&raw mut (*record).saddr).cast::<u32>().write(laddr);
            (&raw mut (*record).daddr).cast::<u32>().write(raddr);
        }
    }

    /// What the socket says of its end.
    #[inline(always)]
    pub fn end(&self, beyond: Beyond) -> End {
        if self.newstate != CLOSE || self.oldstate == LISTEN {
            return End::default();
        }
        let shutdown: u8 = self.field(offset!(SOCK: SockLayout, shutdown));
        let dead: u64 = self.field(offset!(SOCK: SockLayout, sock_flags));
        let mut flags = FLAG_LOOKED;
        if shutdown & RCV_SHUTDOWN != 0 {
            flags |= FLAG_RCV_SHUTDOWN;
        }
        if shutdown & SEND_SHUTDOWN != 0 {
            flags |= FLAG_SEND_SHUTDOWN;
        }
        if dead & SOCK_DEAD != 0 {
            flags |= FLAG_DEAD;
        }
        if beyond.file == 0 {
            flags |= FLAG_NO_FILE;
        }
        let mut unread = 0;
        if matches!(self.oldstate, ESTABLISHED | CLOSE_WAIT | SYN_RECV) {
            // Beyond what the verifier knows of a `struct sock`.
            let sk = self.sk as u64;
            unread = read::<u32>(sk, offset!(SOCK: SockLayout, rcv_nxt))
                .wrapping_sub(read::<u32>(sk, offset!(SOCK: SockLayout, copied_seq)));
        }
        End {
            flags,
            err: self.field::<i32>(offset!(SOCK: SockLayout, err)) as u16,
            unread,
        }
    }

    /// The minisock that takes over at this change, or that should have.
    #[inline(always)]
    pub fn minisock(&self, beyond: Beyond) -> Option<Minisock> {
        if TIMEWAIT_HOOK.load() == HOOK_NONE
            || self.newstate != CLOSE
            || !matches!(self.oldstate, FIN_WAIT2 | CLOSING)
        {
            return None;
        }
        let known = Known {
            hash: self.field(offset!(SOCK: SockLayout, hash)),
            dport: self.field(offset!(SOCK: SockLayout, dport)),
            num: self.sport(),
            addresses: [
                self.field(offset!(SOCK: SockLayout, daddr)),
                self.field(offset!(SOCK: SockLayout, rcv_saddr)),
            ],
        };
        timewait::heir(self.sk as u64, beyond.net, known)
    }

    #[inline(always)]
    fn subject(&self) -> Subject {
        let family = self.family();
        let (laddr, raddr) = self.addresses(family);
        Subject {
            laddr: numbers(laddr),
            raddr: numbers(raddr),
            netns: number_of(self.net()),
            lport: self.sport(),
            rport: self.dport(),
            family,
            listens: u16::from(is_listener(self.oldstate, self.newstate)),
            reserved: [0; 2],
        }
    }

    /// `LISTEN -> SYN_RECV` is reported by inet_csk_clone_lock() before the child gets its peer and
    /// its cookie.
    #[inline(always)]
    fn is_unborn(&self) -> bool {
        self.oldstate == LISTEN && self.newstate == SYN_RECV
    }

    #[inline(always)]
    fn family(&self) -> u16 {
        self.field(offset!(SOCK: SockLayout, family))
    }

    #[inline(always)]
    fn dport(&self) -> u16 {
        if self.is_unborn() {
            return 0;
        }
        u16::from_be(self.field(offset!(SOCK: SockLayout, dport)))
    }

    #[inline(always)]
    pub fn sport(&self) -> u16 {
        if self.newstate == CLOSE {
            // inet_put_port() may have cleared skc_num already; inet_sport lies beyond what the
            // verifier knows of a `struct sock`.
            u16::from_be(read(self.sk as u64, offset!(SOCK: SockLayout, inet_sport)))
        } else {
            self.field(offset!(SOCK: SockLayout, num))
        }
    }

    #[inline(always)]
    fn net(&self) -> u64 {
        self.field(offset!(SOCK: SockLayout, net))
    }

    #[inline(always)]
    pub fn beyond(&self) -> Beyond {
        Beyond {
            net: self.net(),
            file: self.field(offset!(SOCK: SockLayout, file)),
        }
    }

    /// Local and remote address. An unborn child still shows its listener's (unset) peer.
    #[inline(always)]
    fn addresses(&self, family: u16) -> (InMemory, InMemory) {
        if family == AF_INET6 {
            (
                self.v6(offset!(SOCK: SockLayout, v6_rcv_saddr)),
                self.v6(offset!(SOCK: SockLayout, v6_daddr)),
            )
        } else {
            (
                self.v4(offset!(SOCK: SockLayout, rcv_saddr)),
                self.v4(offset!(SOCK: SockLayout, daddr)),
            )
        }
    }

    #[inline(always)]
    fn v6(&self, offset: usize) -> InMemory {
        [self.field(offset), self.field(offset + 8)]
    }

    #[inline(always)]
    fn v4(&self, offset: usize) -> InMemory {
        mapped(self.field(offset))
    }

    #[inline(always)]
    fn cookie(&self) -> u64 {
        if HAS_COOKIE.load() == 0 || self.is_unborn() {
            return 0;
        }
        let given: u64 = self.field(offset!(SOCK: SockLayout, cookie));
        if given != 0 {
            return given;
        }
        // SAFETY: `sk` is the tracepoint's argument.
        unsafe { bpf_get_socket_cookie(self.sk.cast_mut().cast()) }
    }
}

/// The number of a network namespace.
#[inline(always)]
fn number_of(net: u64) -> u32 {
    let offset = offset!(SOCK: SockLayout, net_inum);
    // SAFETY: loaded through a socket's BTF pointer.
    unsafe { load(net as *const u8, offset) }
}
