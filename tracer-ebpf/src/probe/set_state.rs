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
    address::{AF_INET6, Address},
    filter::Subject,
    layout::SockLayout,
    record::{FLAG_TWIN, KIND_STATE_CHANGE},
    state::{CLOSE, LISTEN, SYN_RECV, is_listener},
};

use crate::{
    diagnostics::{self, Outcome},
    emit,
    filter::{self, Fate},
    globals::{HAS_COOKIE, offset},
    kernel::{load, read},
    owner, twin,
};

/// `sk_protocol` also names MPTCP, SCTP and DCCP sockets here.
const IPPROTO_TCP: u16 = 6;

/// An address as two words in memory order: bytes one by one would cost sixteen stores.
type Words = [u64; 2];

#[inline(always)]
fn bytes(words: Words) -> Address {
    let (h, l) = (words[0].to_ne_bytes(), words[1].to_ne_bytes());
    [
        h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], l[0], l[1], l[2], l[3], l[4], l[5], l[6],
        l[7],
    ]
}

/// The program attached first.
#[inline(always)]
pub fn first(ctx: &BtfTracePointContext) {
    let change = Change::of(ctx);
    if !change.is_tcp() {
        return;
    }
    twin::note(change.sk, change.oldstate, change.newstate);
    diagnostics::tell(ctx, change.submit(0));
}

/// The program attached second.
#[inline(always)]
pub fn twin(ctx: &BtfTracePointContext) {
    twin::running(true);
    catch(ctx);
    twin::running(false);
}

#[inline(always)]
fn catch(ctx: &BtfTracePointContext) {
    let change = Change::of(ctx);
    if twin::noted(change.sk, change.oldstate, change.newstate) || !change.is_tcp() {
        return;
    }
    emit::count(|c| c.twin_caught += 1);
    diagnostics::tell(ctx, change.submit(FLAG_TWIN));
}

/// The arguments of the tracepoint.
struct Change {
    sk: *const u8,
    oldstate: u8,
    newstate: u8,
}

impl Change {
    #[inline(always)]
    fn of(ctx: &BtfTracePointContext) -> Self {
        Self {
            sk: ctx.arg(0),
            oldstate: ctx.arg::<i32>(1) as u8,
            newstate: ctx.arg::<i32>(2) as u8,
        }
    }

    #[inline(always)]
    fn field<T: Copy>(&self, offset: usize) -> T {
        // SAFETY: `sk` is the tracepoint's argument, a BTF pointer.
        unsafe { load(self.sk, offset) }
    }

    #[inline(always)]
    fn is_tcp(&self) -> bool {
        self.field::<u16>(offset!(SOCK: SockLayout, protocol)) == IPPROTO_TCP
    }

    #[inline(always)]
    fn submit(&self, flags: u8) -> Outcome {
        emit::count(|c| c.seen += 1);
        let fate = filter::decide(|| self.fate());
        if fate == Fate::Drop {
            emit::count(|c| c.filtered += 1);
            return Outcome::Done;
        }
        self.emit(flags | fate.flags())
    }

    /// A function with a stack frame of its own, as the next: together they would not fit.
    #[inline(never)]
    fn fate(&self) -> Fate {
        filter::fate(self.oldstate, &self.subject())
    }

    #[inline(never)]
    fn emit(&self, flags: u8) -> Outcome {
        // SAFETY: no argument, no effect.
        let ts_ns = unsafe { bpf_ktime_get_ns() };
        let owner = owner::of(self.newstate, ts_ns, || {
            self.field(offset!(SOCK: SockLayout, lock_owned))
        });
        let outcome = emit::state_change(|record| {
            let family = self.family();
            // SAFETY: a reservation of this size; every field is written, the addresses (aligned to
            // eight) as words.
            unsafe {
                (*record).kind = KIND_STATE_CHANGE;
                (*record).flags = flags;
                (*record).oldstate = self.oldstate;
                (*record).newstate = self.newstate;
                (*record).family = family;
                (*record).sport = self.sport();
                (*record).dport = self.dport();
                (*record).reserved = 0;
                (*record).tgid = owner.tgid;
                (*record).ts_ns = ts_ns;
                (*record).sk = self.sk as u64;
                (*record).cookie = self.cookie();
                (*record).netns = self.netns();
                (*record).reserved2 = 0;
                let (saddr, daddr) = self.addresses(family);
                (&raw mut (*record).saddr).cast::<Words>().write(saddr);
                (&raw mut (*record).daddr).cast::<Words>().write(daddr);
            }
        });
        if outcome == Outcome::Done && owner.described {
            Outcome::ProcessDescribed
        } else {
            outcome
        }
    }

    #[inline(always)]
    fn subject(&self) -> Subject {
        let family = self.family();
        let (laddr, raddr) = self.addresses(family);
        Subject {
            laddr: bytes(laddr),
            raddr: bytes(raddr),
            netns: self.netns(),
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
    fn sport(&self) -> u16 {
        if self.newstate == CLOSE {
            // inet_put_port() may have cleared skc_num already; inet_sport lies beyond what the
            // verifier knows of a `struct sock`.
            u16::from_be(read(self.sk as u64, offset!(SOCK: SockLayout, inet_sport)))
        } else {
            self.field(offset!(SOCK: SockLayout, num))
        }
    }

    #[inline(always)]
    fn netns(&self) -> u32 {
        let net: *const u8 = self.field(offset!(SOCK: SockLayout, net));
        let inum = offset!(SOCK: SockLayout, net_inum);
        // SAFETY: loaded through the socket's BTF pointer.
        unsafe { load(net, inum) }
    }

    /// Local and remote address. An unborn child still shows its listener's (unset) peer.
    #[inline(always)]
    fn addresses(&self, family: u16) -> (Words, Words) {
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
    fn v6(&self, offset: usize) -> Words {
        [self.field(offset), self.field(offset + 8)]
    }

    #[inline(always)]
    fn v4(&self, offset: usize) -> Words {
        let a = self.field::<u32>(offset).to_ne_bytes();
        [
            0,
            u64::from_ne_bytes([0, 0, 0xff, 0xff, a[0], a[1], a[2], a[3]]),
        ]
    }

    #[inline(always)]
    fn cookie(&self) -> u64 {
        if HAS_COOKIE.load() == 0 || self.is_unborn() {
            return 0;
        }
        // SAFETY: `sk` is the tracepoint's argument.
        unsafe { bpf_get_socket_cookie(self.sk.cast_mut().cast()) }
    }
}
