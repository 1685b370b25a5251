//! Short connections, as fast as it goes, each with its line in the ledger.

use std::{
    io::Read,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
};

use crate::{
    clock::{self, mono_ns, timed},
    ledger::{Ending, Facts, Ledger},
    netns::{Netns, leave_waiting_ports, sysctl},
    spawn, tables,
    tool::PATIENCE,
    workload::{Lane, listen},
};

/// A namespace in which two threads make `count` connections each.
pub(crate) fn namespace(lane: Lane, count: usize) -> Netns<Ledger> {
    Netns::new(move |netns| {
        leave_waiting_ports();
        // As many as there will be: a machine with little memory starts with little room.
        sysctl("tcp_max_tw_buckets", "1000000");
        let ledger = Ledger::of_threads(2, |i| one_thread(netns, lane, i, count));
        drain();
        ledger
    })
}

/// Waits until the kernel has done its part: nothing left but TIME_WAIT, which is no full socket.
fn drain() {
    let left = || {
        let mut entries = tables::tcp();
        entries.retain(|e| e.state != tables::TIME_WAIT);
        entries
    };
    let drained = clock::until(PATIENCE, || left().is_empty().then_some(()));
    assert!(drained.is_some(), "still open: {:#?}", left());
}

/// Both ends in one thread: nothing waits for a scheduler.
fn one_thread(netns: u32, lane: Lane, thread: usize, count: usize) -> Ledger {
    let mut ledger = Ledger::default();
    let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), lane.port(thread));
    let (listener, opened) = listen(any);
    for i in 0..count {
        // Many addresses, so that ports in TIME_WAIT are not looked for in vain.
        let server = SocketAddr::new(lane.address(u8::try_from(i % 200 + 1).unwrap()), any.port());
        let ending = if (i / 7).is_multiple_of(2) {
            Ending::ClientFirst
        } else {
            Ending::ServerFirst
        };
        one(netns, server, &listener, ending, &mut ledger);
    }
    let ((), closed) = timed(|| spawn::close(listener));
    ledger.listener(netns, any, opened, closed);
    ledger
}

fn one(
    netns: u32,
    server: SocketAddr,
    listener: &TcpListener,
    ending: Ending,
    ledger: &mut Ledger,
) {
    let (client, connect) = timed(|| TcpStream::connect(server).unwrap());
    let (accepted, peer) = listener.accept().unwrap();
    let accepted_at = mono_ns();
    assert_eq!(peer.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    let (first, mut second) = match ending {
        Ending::ServerFirst => (accepted, client),
        _ => (client, accepted),
    };
    let ((), first_close) = timed(|| spawn::close(first));
    assert_eq!(second.read(&mut [0]).unwrap(), 0);
    let noticed = mono_ns();
    let ((), second_close) = timed(|| spawn::close(second));
    let facts = Facts {
        connect,
        accepted: accepted_at,
        first_close,
        noticed,
        second_close,
    };
    ledger.connection(netns, peer, server, ending, &facts);
}
