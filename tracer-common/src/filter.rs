//! Which connections are wanted, as far as it can be told from family, ports, addresses and
//! network namespace. One implementation for kernel, user space and recordings.
//!
//! A connection's first record may carry half its tuple: `CLOSE -> SYN_SENT` is reported before the
//! local port is chosen, `LISTEN -> SYN_RECV` before the child got its peer (`inet_csk_clone_lock`).
//! So there are three answers, and the kernel drops only on [`Verdict::Reject`].

use core::mem::size_of;

use crate::{
    address::{self, AF_INET, Address, Words},
    state,
};

/// How many CIDR blocks an address criterion may have.
pub const MAX_CIDRS: usize = 16;
/// How many network namespaces may be named.
pub const MAX_NETNS: usize = 16;
/// Words of a bitmap with one bit per port.
pub const PORT_WORDS: usize = 65_536 / 64;

/// [`FilterConfig::criteria`]: only IPv4, v4-mapped included.
pub const ONLY_V4: u32 = 1 << 0;
/// Only IPv6 proper.
pub const ONLY_V6: u32 = 1 << 1;
/// Local port in `lports`.
pub const LPORT: u32 = 1 << 2;
/// Remote port in `rports`.
pub const RPORT: u32 = 1 << 3;
/// Local address in `laddrs`.
pub const LADDR: u32 = 1 << 4;
/// Remote address in `raddrs`.
pub const RADDR: u32 = 1 << 5;
/// Network namespace in `netns`.
pub const NETNS: u32 = 1 << 6;

/// An address block.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cidr {
    /// The block's address, as big-endian words.
    pub network: [u64; 2],
    /// Ones for the prefix.
    pub mask: [u64; 2],
}

impl Cidr {
    /// The block of `address` and the first `prefix` bits (of 128: an IPv4 prefix plus 96).
    pub const fn new(address: &Address, prefix: u8) -> Self {
        let mask = [ones(prefix), ones(prefix.saturating_sub(64))];
        let [high, low] = address::words(address);
        Self {
            network: [high & mask[0], low & mask[1]],
            mask,
        }
    }

    /// Whether the block holds the address.
    #[inline]
    pub const fn contains(&self, words: [u64; 2]) -> bool {
        words[0] & self.mask[0] == self.network[0] && words[1] & self.mask[1] == self.network[1]
    }
}

const fn ones(bits: u8) -> u64 {
    match bits {
        0 => 0,
        1..=63 => u64::MAX << (64 - bits),
        _ => u64::MAX,
    }
}

/// The criteria as a map value.
#[repr(C)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterConfig {
    /// Which of the criteria below count.
    pub criteria: u32,
    /// How many of `laddrs` are set.
    pub laddr_count: u32,
    /// How many of `raddrs` are set.
    pub raddr_count: u32,
    /// How many of `netns` are set.
    pub netns_count: u32,
    /// Inode numbers of network namespaces.
    pub netns: [u32; MAX_NETNS],
    /// Local address blocks.
    pub laddrs: [Cidr; MAX_CIDRS],
    /// Remote address blocks.
    pub raddrs: [Cidr; MAX_CIDRS],
    /// Local ports, a bit each.
    pub lports: [u64; PORT_WORDS],
    /// Remote ports, a bit each.
    pub rports: [u64; PORT_WORDS],
}

/// Words of a [`FilterConfig`]: the map's value as the tool writes it.
pub const FILTER_WORDS: usize = size_of::<FilterConfig>() / size_of::<u64>();

/// What the criteria are held against. Zero, or an unspecified address, means: not known.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Local address.
    pub laddr: Words,
    /// Remote address.
    pub raddr: Words,
    /// Inode of the network namespace.
    pub netns: u32,
    /// Local port.
    pub lport: u16,
    /// Remote port.
    pub rport: u16,
    /// `AF_INET` or `AF_INET6`, of the socket.
    pub family: u16,
    /// Not 0: a listener. Its tuple is as complete as it gets, and on `::` it counts as IPv6.
    pub listens: u16,
    /// Zero.
    pub reserved: [u16; 2],
}

impl Subject {
    /// The connection as it looked when it opened, given the state that it now leaves; `None` if
    /// that was not the opening's.
    ///
    /// An active open did not know its local end, a passive one neither end's address nor the
    /// peer's port.
    #[inline]
    pub const fn at_opening(&self, oldstate: u8) -> Option<Self> {
        let mut then = *self;
        then.laddr = [0; 2];
        match oldstate {
            state::SYN_SENT => then.lport = 0,
            state::SYN_RECV => {
                then.raddr = [0; 2];
                then.rport = 0;
            }
            _ => return None,
        }
        Some(then)
    }
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every criterion is met.
    Pass,
    /// One is not met, and never will be.
    Reject,
    /// None is violated, but something that decides is not known yet.
    Undecided,
}

impl Default for FilterConfig {
    fn default() -> Self {
        Self {
            criteria: 0,
            laddr_count: 0,
            raddr_count: 0,
            netns_count: 0,
            netns: [0; MAX_NETNS],
            laddrs: [Cidr::default(); MAX_CIDRS],
            raddrs: [Cidr::default(); MAX_CIDRS],
            lports: [0; PORT_WORDS],
            rports: [0; PORT_WORDS],
        }
    }
}

impl FilterConfig {
    /// Holds the criteria against a connection.
    #[inline]
    pub fn verdict(&self, s: &Subject) -> Verdict {
        let criteria = self.criteria;
        let mut undecided = false;
        if criteria & NETNS != 0 {
            if s.netns == 0 {
                undecided = true;
            } else if !self.wants_netns(s.netns) {
                return Verdict::Reject;
            }
        }
        if criteria & LPORT != 0 {
            if s.lport == 0 {
                undecided = true;
            } else if !has_port(&self.lports, s.lport) {
                return Verdict::Reject;
            }
        }
        if criteria & RPORT != 0 {
            if s.rport == 0 {
                undecided = true;
            } else if !has_port(&self.rports, s.rport) {
                return Verdict::Reject;
            }
        }
        if criteria & (ONLY_V4 | ONLY_V6) != 0 {
            match is_v4(s) {
                None => undecided = true,
                Some(v4) if v4 != (criteria & ONLY_V4 != 0) => return Verdict::Reject,
                Some(_) => {}
            }
        }
        if criteria & LADDR != 0 {
            if address::are_unspecified(s.laddr) {
                undecided = true;
            } else if !has_address(&self.laddrs, self.laddr_count, s.laddr) {
                return Verdict::Reject;
            }
        }
        if criteria & RADDR != 0 {
            if address::are_unspecified(s.raddr) {
                undecided = true;
            } else if !has_address(&self.raddrs, self.raddr_count, s.raddr) {
                return Verdict::Reject;
            }
        }
        if undecided {
            Verdict::Undecided
        } else {
            Verdict::Pass
        }
    }

    #[inline]
    fn wants_netns(&self, inum: u32) -> bool {
        let mut i = 0;
        while i < MAX_NETNS {
            if i >= self.netns_count as usize {
                return false;
            }
            if self.netns[i] == inum {
                return true;
            }
            i += 1;
        }
        false
    }

    /// The map's value: the struct's bytes as words, without a transmute.
    #[allow(
        clippy::large_stack_arrays,
        reason = "17 KiB, once, and the crate has no heap"
    )]
    pub fn words(&self) -> [u64; FILTER_WORDS] {
        let mut out = [0; FILTER_WORDS];
        let pair = |a: u32, b: u32| {
            let (a, b) = (a.to_ne_bytes(), b.to_ne_bytes());
            u64::from_ne_bytes([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]])
        };
        let head = [
            pair(self.criteria, self.laddr_count),
            pair(self.raddr_count, self.netns_count),
        ];
        let netns = self.netns.chunks_exact(2).map(|c| pair(c[0], c[1]));
        let cidrs = self
            .laddrs
            .iter()
            .chain(&self.raddrs)
            .flat_map(|c| [c.network[0], c.network[1], c.mask[0], c.mask[1]]);
        let ports = self.lports.iter().chain(&self.rports).copied();
        for (slot, word) in out
            .iter_mut()
            .zip(head.into_iter().chain(netns).chain(cidrs).chain(ports))
        {
            *slot = word;
        }
        out
    }
}

/// Marks a port in a bitmap.
pub const fn add_port(ports: &mut [u64; PORT_WORDS], port: u16) {
    ports[(port >> 6) as usize] |= 1 << (port & 63);
}

#[inline]
fn has_port(ports: &[u64; PORT_WORDS], port: u16) -> bool {
    ports[(port >> 6) as usize] >> (port & 63) & 1 == 1
}

#[inline]
fn has_address(cidrs: &[Cidr; MAX_CIDRS], count: u32, words: Words) -> bool {
    let mut i = 0;
    while i < MAX_CIDRS {
        if i >= count as usize {
            return false;
        }
        if cidrs[i].contains(words) {
            return true;
        }
        i += 1;
    }
    false
}

/// Whether the connection is IPv4; `None` on a dual-stack socket whose addresses are not set yet.
#[inline]
fn is_v4(s: &Subject) -> Option<bool> {
    if s.family == AF_INET || address::are_mapped(s.laddr) || address::are_mapped(s.raddr) {
        Some(true)
    } else if address::are_unspecified(s.laddr)
        && address::are_unspecified(s.raddr)
        && s.listens == 0
    {
        None
    } else {
        Some(false)
    }
}
