//! More accepted connections at once than the kernel programs remember the readers of: each has its
//! owner all the same, and who reads again is no news.

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
};

use crate::{
    child, hidden,
    netns::Netns,
    skip::{Noise, scaled, turn},
    tool::{self, Tool, trace},
};

/// The kernel programs' table (`READERS` in tracer-ebpf/src/maps.rs) has room for 65,536.
const CONNECTIONS: usize = 70_000;

/// Of one process: most may open 20,000 files.
const EACH: usize = 7000;

/// What each process does: so many connections to itself, all open at once; the accepting end reads, and
/// reads again when `peer` says so; then all are closed by the connecting end.
pub(crate) fn talk(count: usize, mut peer: impl Read + Write) {
    fn pass_a_byte((client, server): &mut (TcpStream, TcpStream)) {
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let to = listener.local_addr().unwrap();
    let mut pairs: Vec<_> = (0..count)
        .map(|_| {
            let client = TcpStream::connect(to).unwrap();
            let mut pair = (client, listener.accept().unwrap().0);
            pass_a_byte(&mut pair);
            pair
        })
        .collect();
    peer.write_all(b"-").unwrap();
    peer.read_exact(&mut [0]).unwrap();
    pairs.iter_mut().for_each(pass_a_byte);
    for (client, server) in pairs {
        drop(client);
        drop(server);
    }
}

#[test]
fn each_of_many_accepted_has_its_owner() {
    let Some(_turn) = turn("each_of_many_accepted_has_its_owner", Noise::Storm) else {
        return;
    };
    let each = scaled(EACH);
    let space = Netns::new(move |_| {
        let mut talkers = Vec::new();
        for _ in 0..CONNECTIONS / EACH {
            let (child, mut peer) = child::talks(each);
            peer.read_exact(&mut [0]).unwrap();
            talkers.push((child, peer));
        }
        // Those of the first were forgotten for those of the last, and are told again.
        let mut pids = Vec::new();
        for (mut child, mut peer) in talkers {
            peer.write_all(b"-").unwrap();
            assert!(tool::wait(&mut child).success());
            pids.push(child.id());
        }
        pids
    });
    let netns = space.inode.to_string();
    let tool = Tool::attached(&mut trace([
        "--format",
        "ndjson",
        "--state",
        "CLOSE_WAIT",
        "--netns",
        &netns,
    ]));
    let pids = space.run();
    tool.settle();
    let finished = tool.interrupt();
    finished.assert_success();
    let completeness = finished.completeness();
    assert_eq!(completeness.lost, 0, "{completeness:?}");
    let mut told: HashMap<u32, usize> = HashMap::new();
    for row in finished.rows() {
        if row.to == "CLOSE_WAIT" {
            let pid = row.pid.unwrap_or_else(|| panic!("nobody's: {row:#?}"));
            assert_eq!(row.role, "passive_open", "{row:#?}");
            *told.entry(pid).or_default() += 1;
        }
    }
    let missing: usize = pids
        .iter()
        .map(|pid| each - told.remove(pid).unwrap_or_default())
        .sum();
    assert!(told.is_empty(), "not of ours: {told:?}");
    hidden::only(missing, &completeness);
}
