//! Segments as they pass: what a host's kernel does not show.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use etherparse::{SlicedPacket, TcpHeader, TransportSlice};
use rustix::{
    fd::OwnedFd,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, sockopt},
};

/// A raw IPv4 socket: sees the segments that arrive in this namespace, and can send one.
pub(crate) struct Wire(OwnedFd, IpAddr);

impl Wire {
    pub(crate) fn open(ip: IpAddr) -> Self {
        let socket = raw();
        let patience = Some(Duration::from_secs(10));
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, patience).unwrap();
        Self(socket, ip)
    }

    /// The sequence number that follows the FIN that `port` sent.
    pub(crate) fn number_after_fin(&self, port: u16) -> u32 {
        let mut packet = vec![0; 65_536];
        loop {
            let (_, length) =
                rustix::net::recv(&self.0, &mut packet[..], RecvFlags::empty()).unwrap();
            let sliced = SlicedPacket::from_ip(&packet[..length]).unwrap();
            if let Some(TransportSlice::Tcp(tcp)) = sliced.transport
                && tcp.source_port() == port
                && tcp.fin()
            {
                let data = u32::try_from(tcp.payload().len()).unwrap();
                return tcp.sequence_number().wrapping_add(data).wrapping_add(1);
            }
        }
    }

    /// Sends a RST.
    pub(crate) fn reset(&self, from: SocketAddr, to: SocketAddr, number: u32) {
        let (IpAddr::V4(source), IpAddr::V4(target)) = (from.ip(), to.ip()) else {
            panic!("IPv4 only");
        };
        assert_eq!(self.1, from.ip());
        let mut header = TcpHeader::new(from.port(), to.port(), number, 0);
        header.rst = true;
        let sum = header.calc_checksum_ipv4_raw(source.octets(), target.octets(), &[]);
        header.checksum = sum.unwrap();
        let raw = raw();
        rustix::net::bind(&raw, &SocketAddr::new(from.ip(), 0)).unwrap();
        let target = SocketAddr::new(to.ip(), 0);
        rustix::net::sendto(&raw, &header.to_bytes(), SendFlags::empty(), &target).unwrap();
    }
}

fn raw() -> OwnedFd {
    let (family, kind) = (AddressFamily::INET, SocketType::RAW);
    rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(ipproto::TCP)).unwrap()
}
