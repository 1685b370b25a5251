//! What sockets and minisocks have in common: both begin with a `struct sock_common`. Read by helper,
//! for hooks that have no typed pointer.

use tracer_common::{address::AF_INET6, filter::Subject, layout::SockLayout};

use crate::{
    globals::offset,
    kernel::{InMemory, mapped, numbers, read},
};

/// A `struct sock_common` somewhere in the kernel's memory.
#[derive(Clone, Copy)]
pub struct Common(pub u64);

impl Common {
    #[inline(always)]
    fn field<T: Copy>(self, offset: usize) -> T {
        read(self.0, offset)
    }

    #[inline(always)]
    pub fn family(self) -> u16 {
        self.field(offset!(SOCK: SockLayout, family))
    }

    /// Local port.
    #[inline(always)]
    pub fn num(self) -> u16 {
        self.field(offset!(SOCK: SockLayout, num))
    }

    /// Remote port.
    #[inline(always)]
    pub fn dport(self) -> u16 {
        u16::from_be(self.field(offset!(SOCK: SockLayout, dport)))
    }

    #[inline(always)]
    pub fn cookie(self) -> u64 {
        self.field(offset!(SOCK: SockLayout, cookie))
    }

    /// As the tables of connections have it: `TIME_WAIT` is any minisock.
    #[inline(always)]
    pub fn state(self) -> u8 {
        self.field(offset!(SOCK: SockLayout, state))
    }

    /// Network namespace; 0 when it is gone already.
    #[inline(always)]
    pub fn netns(self) -> u32 {
        let net: u64 = self.field(offset!(SOCK: SockLayout, net));
        read(net, offset!(SOCK: SockLayout, net_inum))
    }

    /// Local and remote address.
    #[inline(always)]
    pub fn addresses(self, family: u16) -> (InMemory, InMemory) {
        if family == AF_INET6 {
            (
                self.v6(offset!(SOCK: SockLayout, v6_rcv_saddr)),
                self.v6(offset!(SOCK: SockLayout, v6_daddr)),
            )
        } else {
            (
                mapped(self.field(offset!(SOCK: SockLayout, rcv_saddr))),
                mapped(self.field(offset!(SOCK: SockLayout, daddr))),
            )
        }
    }

    #[inline(always)]
    fn v6(self, offset: usize) -> InMemory {
        [self.field(offset), self.field(offset + 8)]
    }

    /// As the filter wants it.
    #[inline(always)]
    pub fn subject(self) -> Subject {
        let family = self.family();
        let (laddr, raddr) = self.addresses(family);
        Subject {
            laddr: numbers(laddr),
            raddr: numbers(raddr),
            netns: self.netns(),
            lport: self.num(),
            rport: self.dport(),
            family,
            listens: 0,
            reserved: [0; 2],
        }
    }
}
