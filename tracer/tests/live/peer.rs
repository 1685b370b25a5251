//! A peer made by hand, behind a TUN device: it sends what no kernel sends on request.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use etherparse::{
    Icmpv4Type, PacketBuilder, SlicedPacket, TransportSlice, icmpv4::DestUnreachableHeader,
};
use tappers::{AddAddressV4, Tun};

use crate::{clock::mono_ns, lives::connect};

/// How long the host may take to send what is waited for.
const PATIENCE_NS: u64 = 10_000_000_000;
const WINDOW: u16 = u16::MAX;

/// A segment of the host's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) number: u32,
    pub(crate) syn: bool,
    pub(crate) fin: bool,
    pub(crate) rst: bool,
    port: u16,
}

/// A host of one connection.
pub(crate) struct Peer {
    wire: Tun,
    host: Ipv4Addr,
    address: Ipv4Addr,
    host_port: u16,
    /// The number of its next segment.
    number: u32,
}

/// The port that it is asked for.
const PORT: u16 = 7;

impl Peer {
    /// In a network of its own, of this thread's namespace.
    pub(crate) fn new(network: u8) -> Self {
        let host = Ipv4Addr::new(10, 99, network, 1);
        let mut wire = Tun::new().unwrap();
        let mut address = AddAddressV4::new(host);
        address.set_netmask(24);
        wire.add_addr(address).unwrap();
        wire.set_up().unwrap();
        wire.set_nonblocking(true).unwrap();
        Self {
            wire,
            host,
            address: Ipv4Addr::new(10, 99, network, 2),
            host_port: 0,
            number: 1000,
        }
    }

    /// Asks for a connection to this port of the host, and says nothing to its answer. The host's end,
    /// and the peer's.
    pub(crate) fn knock(&mut self, port: u16) -> (SocketAddr, SocketAddr) {
        self.host_port = port;
        let syn = PacketBuilder::ipv4(self.address.octets(), self.host.octets(), 64)
            .tcp(PORT, port, self.number, WINDOW)
            .syn();
        let mut packet = Vec::new();
        syn.write(&mut packet, &[]).unwrap();
        self.put(&packet);
        self.hear(|s| s.syn);
        self.ends()
    }

    /// The host's end and the peer's, when the host has spoken.
    pub(crate) fn ends(&self) -> (SocketAddr, SocketAddr) {
        let host = SocketAddr::new(self.host.into(), self.host_port);
        (host, SocketAddr::new(self.address.into(), PORT))
    }

    /// Lets the host connect, and answers as `answer` does.
    pub(crate) fn connect<T>(
        &mut self,
        answer: impl FnOnce(&mut Self, &[u8], Segment) -> T,
    ) -> (Result<TcpStream, rustix::io::Errno>, T) {
        let to = SocketAddr::new(self.address.into(), PORT);
        let from = IpAddr::from(self.host);
        let connecting = thread::spawn(move || connect(from, 0, to));
        let (packet, syn) = self.hear(|s| s.syn);
        self.host_port = syn.port;
        let answered = answer(self, &packet, syn);
        (connecting.join().unwrap(), answered)
    }

    /// An established connection.
    pub(crate) fn established(network: u8) -> (Self, TcpStream) {
        let mut peer = Self::new(network);
        let (stream, ()) = peer.connect(|peer, _, syn| {
            let answer = PacketBuilder::ipv4(peer.address.octets(), peer.host.octets(), 64)
                .tcp(PORT, peer.host_port, peer.number, WINDOW)
                .syn()
                .ack(syn.number.wrapping_add(1));
            let mut packet = Vec::new();
            answer.write(&mut packet, &[]).unwrap();
            peer.put(&packet);
            peer.number = peer.number.wrapping_add(1);
            peer.hear(|s| !s.syn);
        });
        (peer, stream.unwrap())
    }

    /// Sends a FIN that acknowledges up to `acknowledged`.
    pub(crate) fn fin(&mut self, acknowledged: u32) {
        let mut packet = Vec::new();
        let fin = self.segment().fin().ack(acknowledged);
        fin.write(&mut packet, &[]).unwrap();
        self.put(&packet);
        self.number = self.number.wrapping_add(1);
    }

    /// Acknowledges up to `acknowledged`, with data or without.
    pub(crate) fn acknowledge(&mut self, acknowledged: u32, data: &[u8]) {
        let mut packet = Vec::new();
        let segment = self.segment().ack(acknowledged);
        segment.write(&mut packet, data).unwrap();
        self.put(&packet);
    }

    /// Sends a RST.
    pub(crate) fn reset(&mut self) {
        let mut packet = Vec::new();
        self.segment().rst().write(&mut packet, &[]).unwrap();
        self.put(&packet);
    }

    /// A router's word that there is no way to the peer.
    pub(crate) fn unreachable(&mut self, refused: &[u8]) {
        let word = Icmpv4Type::DestinationUnreachable(DestUnreachableHeader::Host);
        let mut packet = Vec::new();
        PacketBuilder::ipv4(self.address.octets(), self.host.octets(), 64)
            .icmpv4(word)
            .write(&mut packet, refused)
            .unwrap();
        self.put(&packet);
    }

    /// The next segment of the host's that is as wanted.
    pub(crate) fn hear(&mut self, wanted: impl Fn(&Segment) -> bool) -> (Vec<u8>, Segment) {
        let until = mono_ns() + PATIENCE_NS;
        let mut packet = vec![0; 65_536];
        loop {
            assert!(mono_ns() < until, "the host did not send it");
            let Ok(length) = self.wire.recv(&mut packet) else {
                thread::sleep(Duration::from_micros(100));
                continue;
            };
            if let Some(segment) = parse(&packet[..length]).filter(|s| wanted(s)) {
                packet.truncate(length);
                return (packet, segment);
            }
        }
    }

    fn segment(&self) -> etherparse::PacketBuilderStep<etherparse::TcpHeader> {
        PacketBuilder::ipv4(self.address.octets(), self.host.octets(), 64).tcp(
            PORT,
            self.host_port,
            self.number,
            WINDOW,
        )
    }

    fn put(&self, packet: &[u8]) {
        assert_eq!(self.wire.send(packet).unwrap(), packet.len());
    }
}

/// `None`: it is something else (the kernel greets a new device with router solicitations).
fn parse(packet: &[u8]) -> Option<Segment> {
    let sliced = SlicedPacket::from_ip(packet).ok()?;
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else {
        return None;
    };
    Some(Segment {
        number: tcp.sequence_number(),
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        port: tcp.source_port(),
    })
}
