//! Addresses and ports, with what is not known yet.

use std::net::{IpAddr, Ipv6Addr};

use tracer_common::{
    address::{self, AF_INET, Address},
    filter::Subject,
};

/// The IP version on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpVersion {
    /// IPv4, also on a dual-stack socket (v4-mapped).
    V4,
    /// IPv6.
    V6,
}

impl IpVersion {
    /// 4 or 6.
    pub const fn number(self) -> u8 {
        match self {
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// IPv4 as v4-mapped; unspecified: not known, or a listener on every address.
    pub address: Address,
    /// 0: not known.
    pub port: u16,
}

impl Endpoint {
    /// The port, if known.
    #[inline]
    pub const fn port(&self) -> Option<u16> {
        if self.port == 0 {
            None
        } else {
            Some(self.port)
        }
    }

    /// The address as people write it: v4-mapped as IPv4.
    #[inline]
    pub const fn ip(&self) -> IpAddr {
        Ipv6Addr::from_octets(self.address).to_canonical()
    }

    /// Whether something that both know differs.
    fn contradicts(&self, other: &Self) -> bool {
        let known = |a: &Address| !address::is_unspecified(a);
        (self.port != 0 && other.port != 0 && self.port != other.port)
            || (known(&self.address) && known(&other.address) && self.address != other.address)
    }

    const fn is_complete(&self) -> bool {
        self.port != 0 && !address::is_unspecified(&self.address)
    }
}

/// Local and remote end, direction-neutral.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FourTuple {
    /// This host's end.
    pub local: Endpoint,
    /// The peer's end.
    pub remote: Endpoint,
    /// `AF_INET` or `AF_INET6`, of the socket.
    pub family: u16,
}

impl FourTuple {
    /// Whether both ends are known.
    #[inline]
    pub const fn is_complete(&self) -> bool {
        self.local.is_complete() && self.remote.is_complete()
    }

    /// What is known now, over what was known before.
    pub(super) fn over(self, before: Self) -> Self {
        let mut tuple = self;
        if tuple.local.port == 0 {
            tuple.local.port = before.local.port;
        }
        if tuple.remote.port == 0 {
            tuple.remote = before.remote;
        }
        tuple
    }

    /// Whether the two can't be of the same connection: something that both know differs.
    #[inline]
    pub fn contradicts(&self, other: &Self) -> bool {
        // Most are the same to the last bit, and that is told soonest.
        self != other
            && (self.local.contradicts(&other.local) || self.remote.contradicts(&other.remote))
    }

    /// The IP version on the wire. A dual-stack listener counts as IPv6.
    #[inline]
    pub const fn version(&self) -> IpVersion {
        if self.family == AF_INET
            || address::is_mapped(&self.local.address)
            || address::is_mapped(&self.remote.address)
        {
            IpVersion::V4
        } else {
            IpVersion::V6
        }
    }

    /// As the filter wants it.
    #[inline]
    pub const fn subject(&self, netns: u32, is_listener: bool) -> Subject {
        Subject {
            laddr: address::words(&self.local.address),
            raddr: address::words(&self.remote.address),
            netns,
            lport: self.local.port,
            rport: self.remote.port,
            family: self.family,
            listens: is_listener as u16,
            reserved: [0; 2],
        }
    }
}
