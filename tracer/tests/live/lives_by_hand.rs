//! Lives of connections whose peer is made by hand ([`crate::peer`]).

use std::{io::Read, thread, time::Duration};

use rustix::{io::Errno, net::sockopt};

use crate::{
    clock::timed,
    lives::{ACTIVE, Life, life},
    peer::Peer,
    spawn,
};

/// Both FINs are under way at once (RFC 9293, figure 13).
pub(crate) fn simultaneous(network: u8) -> Vec<Life> {
    let (mut peer, stream) = Peer::established(network);
    let ((), closed) = timed(|| spawn::close(stream));
    let (_, fin) = peer.hear(|s| s.fin);
    let ((), crossed) = timed(|| peer.fin(fin.number));
    thread::sleep(Duration::from_millis(50));
    let ((), acknowledged) = timed(|| peer.acknowledge(fin.number.wrapping_add(1), &[]));
    let states = ["FIN_WAIT1", "CLOSING", "TIME_WAIT", "CLOSE"];
    let verdict = ("simultaneous", "purged");
    let mut life = life("simultaneous close", peer.ends(), ACTIVE, &states, verdict);
    life.left.extend([
        ("ESTABLISHED", closed),
        ("FIN_WAIT1", crossed),
        ("CLOSING", acknowledged),
    ]);
    vec![life]
}

/// The peer answers no keep-alive.
pub(crate) fn keepalive(network: u8) -> Vec<Life> {
    let (peer, mut stream) = Peer::established(network);
    let second = Duration::from_secs(1);
    sockopt::set_tcp_keepidle(&stream, second).unwrap();
    sockopt::set_tcp_keepintvl(&stream, second).unwrap();
    sockopt::set_tcp_keepcnt(&stream, 1).unwrap();
    sockopt::set_socket_keepalive(&stream, true).unwrap();
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(Errno::from_io_error(&error), Some(Errno::TIMEDOUT));
    spawn::close(stream);
    let verdict = ("timeout", "timeout");
    vec![life("keep-alive", peer.ends(), ACTIVE, &["CLOSE"], verdict)]
}

/// ICMP answers the SYN.
pub(crate) fn unreachable(network: u8) -> Vec<Life> {
    let mut peer = Peer::new(network);
    let (stream, ()) = peer.connect(|peer, packet, _| peer.unreachable(packet));
    assert_eq!(stream.unwrap_err(), Errno::HOSTUNREACH);
    vec![Life {
        states: vec!["CLOSE", "SYN_SENT", "CLOSE"],
        closed_first: None,
        ..life("unreachable", peer.ends(), ACTIVE, &[], ("", "unreachable"))
    }]
}

/// The FIN is answered by a RST.
pub(crate) fn reset_in_fin_wait1(network: u8) -> Vec<Life> {
    let (mut peer, stream) = Peer::established(network);
    spawn::close(stream);
    peer.hear(|s| s.fin);
    let ((), rst) = timed(|| peer.reset());
    let states = ["FIN_WAIT1", "CLOSE"];
    let verdict = ("local", "reset");
    let mut life = life("RST in FIN_WAIT1", peer.ends(), ACTIVE, &states, verdict);
    life.left.push(("FIN_WAIT1", rst));
    vec![life]
}

/// The peer goes on sending before it has acknowledged the FIN: this host answers with a RST.
pub(crate) fn data_in_fin_wait1(network: u8) -> Vec<Life> {
    let (mut peer, stream) = Peer::established(network);
    spawn::close(stream);
    let (_, fin) = peer.hear(|s| s.fin);
    let ((), data) = timed(|| peer.acknowledge(fin.number, b"late"));
    peer.hear(|s| s.rst);
    let states = ["FIN_WAIT1", "CLOSE"];
    let verdict = ("local", "data_after_close");
    let mut life = life("data in FIN_WAIT1", peer.ends(), ACTIVE, &states, verdict);
    life.left.push(("FIN_WAIT1", data));
    vec![life]
}

/// The data comes with the acknowledgement of the FIN. To the tracepoints alone that looks as if
/// there had been no memory for a minisock.
pub(crate) fn data_with_acknowledgement(network: u8) -> Vec<Life> {
    let (mut peer, stream) = Peer::established(network);
    spawn::close(stream);
    let (_, fin) = peer.hear(|s| s.fin);
    peer.acknowledge(fin.number.wrapping_add(1), b"late");
    peer.hear(|s| s.rst);
    let states = ["FIN_WAIT1", "FIN_WAIT2", "CLOSE"];
    let verdict = ("local", "data_after_close");
    let name = "data with the ACK of the FIN";
    vec![Life {
        by_timer: Some("unknown"),
        ..life(name, peer.ends(), ACTIVE, &states, verdict)
    }]
}
