//! What the kernel answers who asks for sockets: the records of the iterators, and `sock_diag` over netlink.

use std::{mem::size_of, time::Duration};

use tracer::{
    engine::{Engine, Limits, Mono},
    enrich::{AskedAt, Snapshot, take_answer},
};
use tracer_common::snapshot::{FileFound, SocketFound};

use super::Target;

pub const LOOKS: Target = Target {
    name: "looks",
    seeds,
    cases: 20_000,
    run,
};

/// `struct nlmsghdr`, `struct inet_diag_msg`, `struct tcp_info`.
const LENGTHS: [usize; 3] = [16, 72, 232];
/// `NLMSG_DONE`, and a socket.
const KINDS: [u8; 2] = [3, 20];

/// A message of this length and kind, all else 0.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(LENGTHS[0] + body.len()).unwrap_or(0);
    let mut message = vec![0; LENGTHS[0]];
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message[4] = kind;
    message.extend(body);
    message
}

fn seeds() -> Vec<Vec<u8>> {
    let attribute = |kind: u8, length: usize| {
        let all = u16::try_from(4 + length).unwrap_or(0).to_ne_bytes();
        [vec![all[0], all[1], kind, 0], vec![1; length]].concat()
    };
    // AF_INET, established; its shutdown (padded), and what TCP says of it.
    let mut socket = vec![0; LENGTHS[1]];
    socket[..2].copy_from_slice(&[2, 1]);
    socket.extend(attribute(8, 4));
    socket.extend(attribute(2, LENGTHS[2]));
    let answer = [message(KINDS[1], &socket), message(KINDS[0], &[0; 4])].concat();
    let mut seeds = vec![answer];
    for state in 1..13 {
        let mut record = vec![0; size_of::<SocketFound>()];
        record[0] = state;
        seeds.push(record);
    }
    seeds.push(vec![0; size_of::<FileFound>()]);
    seeds
}

fn run(bytes: &[u8]) {
    let asked = AskedAt {
        began: Mono(1_000_000_000),
        took_ms: 3,
        jiffy_ms: 4,
        netns: 1,
    };
    let mut found = Vec::new();
    for without in [0, 1 << 1, u32::MAX] {
        let _ = take_answer(bytes, asked, without, &mut found);
    }
    let records = bytes.chunks_exact(size_of::<SocketFound>());
    found.extend(records.filter_map(SocketFound::decode));
    for record in bytes.chunks_exact(size_of::<FileFound>()) {
        let _ = FileFound::decode(record);
    }
    assert!(found.len() <= bytes.len());
    for jiffy in [Duration::from_millis(4), Duration::MAX] {
        let mut engine = Engine::new(Limits {
            connections: 64,
            processes: 64,
        });
        engine.watch_close_waits();
        let mut updates = Vec::new();
        for event in Snapshot::of_sockets(found.clone(), Some(jiffy)).events {
            engine.handle_event(&event, &mut updates);
        }
        engine.finish(&mut updates);
    }
}
