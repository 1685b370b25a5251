//! Ring buffer records as a busy host makes them: short connections, both ends on this host, some
//! open at once, and the address of an ended socket taken by the next one. Shared with
//! `tests/allocations.rs`.

use tracer_common::{
    record::{KIND_PROCESS_SEEN, KIND_STATE_CHANGE, ProcessSeen, StateChange, room},
    state::{
        CLOSE, CLOSE_WAIT, ESTABLISHED, FIN_WAIT1, FIN_WAIT2, LAST_ACK, LISTEN, SYN_RECV, SYN_SENT,
    },
};

/// Bytes of a state change in the ring buffer.
pub const RECORD: usize = room::<StateChange>();

/// Transitions of a connection, both ends.
pub const PER_CONNECTION: usize = 10;

const CLIENT: u32 = 4242;
const SERVER: u32 = 4243;
const SECOND: u64 = 1_000_000_000;

/// The order in which a connection's ten transitions are seen: client or server, from, to, process.
const LIFE: [(bool, u8, u8, u32); PER_CONNECTION] = [
    (true, CLOSE, SYN_SENT, CLIENT),
    (false, LISTEN, SYN_RECV, 0),
    (true, SYN_SENT, ESTABLISHED, 0),
    (false, SYN_RECV, ESTABLISHED, 0),
    (true, ESTABLISHED, FIN_WAIT1, CLIENT),
    (false, ESTABLISHED, CLOSE_WAIT, 0),
    (true, FIN_WAIT1, FIN_WAIT2, 0),
    (true, FIN_WAIT2, CLOSE, 0),
    (false, CLOSE_WAIT, LAST_ACK, SERVER),
    (false, LAST_ACK, CLOSE, 0),
];

/// A connection in the middle of its life.
#[derive(Clone, Copy)]
struct Open {
    number: u64,
    socks: (u64, u64),
    step: usize,
}

/// Makes records, one after the other, for ever.
pub struct Synthetic {
    open: Vec<Open>,
    free: Vec<u64>,
    turn: usize,
    number: u64,
    now: u64,
}

impl Synthetic {
    /// With so many connections open at once.
    pub fn new(at_once: usize) -> Self {
        // The slab hands the latest freed address out first; 2304 bytes apart as tcp_sock is.
        let free = (0..2 * at_once as u64)
            .map(|i| 0xffff_8880_0000_0000 + i * 2304)
            .collect();
        let mut made = Self {
            open: Vec::with_capacity(at_once),
            free,
            turn: 0,
            number: 0,
            now: 1000 * SECOND,
        };
        for _ in 0..at_once {
            let open = made.next_connection();
            made.open.push(open);
        }
        made
    }

    fn next_connection(&mut self) -> Open {
        self.number += 1;
        let socks = (
            self.free.pop().expect("two addresses per connection"),
            self.free.pop().expect("two addresses per connection"),
        );
        Open {
            number: self.number,
            socks,
            step: 0,
        }
    }

    /// Appends the next record.
    pub fn record(&mut self, out: &mut Vec<u8>) {
        // Steps of a connection lie some records apart; not all connections are equally fast.
        self.turn = (self.turn + 1 + (self.number as usize & 1)) % self.open.len();
        self.now += 500;
        let open = self.open[self.turn];
        encode(&open, self.now, out);
        if open.step + 1 < PER_CONNECTION {
            self.open[self.turn].step += 1;
            return;
        }
        self.free.extend([open.socks.0, open.socks.1]);
        self.open[self.turn] = self.next_connection();
    }

    /// The next `count` records, back to back, [`RECORD`] bytes each.
    pub fn records(&mut self, count: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(count * RECORD);
        for _ in 0..count {
            self.record(&mut out);
        }
        out
    }
}

/// The descriptions of the two processes, which come before everything else.
pub fn processes() -> [Vec<u8>; 2] {
    [(CLIENT, b"curl"), (SERVER, b"http")].map(|(pid, name)| {
        let mut out = vec![KIND_PROCESS_SEEN, 0, 0, 0];
        out.extend(pid.to_ne_bytes());
        out.extend(SECOND.to_ne_bytes());
        out.extend(77_u64.to_ne_bytes());
        out.extend(name);
        out.extend([0; 12]);
        out.extend(1000_u32.to_ne_bytes());
        out.resize(room::<ProcessSeen>(), 0);
        out
    })
}

/// `count` connections that open, 100,000 a second, and stay: two records each.
pub fn established(count: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..count as u64).flat_map(|number| {
        let sock = 0xffff_8880_0000_0000 + number * 2304;
        [0, 2].map(|step| {
            let mut out = Vec::with_capacity(RECORD);
            let socks = (sock, 0);
            encode(
                &Open {
                    number,
                    socks,
                    step,
                },
                SECOND + number,
                &mut out,
            );
            out
        })
    })
}

fn encode(open: &Open, now: u64, out: &mut Vec<u8>) {
    let end = out.len() + RECORD;
    let (client, from, to, pid) = LIFE[open.step];
    let unborn = from == LISTEN;
    let address = |low: u64| {
        let bytes = [10, 0, (low >> 8) as u8, low as u8];
        tracer_common::address::mapped(bytes)
    };
    let port = 10_000 + (open.number % 50_000) as u16;
    let remote = address(open.number / 50_000);
    let (near, far) = (address(1 << 12), remote);
    let (sport, dport) = match (client, open.step) {
        (true, 0) => (0, 443),
        (true, _) => (port, 443),
        (false, _) if unborn => (443, 0),
        (false, _) => (443, port),
    };
    let (saddr, daddr) = match (client, unborn) {
        (true, _) => (far, near),
        // Its peer is not set yet.
        (false, true) => (near, tracer_common::address::mapped([0; 4])),
        (false, false) => (near, far),
    };
    out.extend([KIND_STATE_CHANGE, 0, from, to]);
    out.extend(2_u16.to_ne_bytes());
    out.extend(u16::to_ne_bytes(sport));
    out.extend(u16::to_ne_bytes(dport));
    out.extend([0; 2]);
    out.extend(pid.to_ne_bytes());
    out.extend(now.to_ne_bytes());
    let sock = if client { open.socks.0 } else { open.socks.1 };
    out.extend(sock.to_ne_bytes());
    let cookie = if unborn {
        0
    } else {
        2 * open.number + u64::from(client)
    };
    out.extend(cookie.to_ne_bytes());
    out.extend(4_026_531_840_u32.to_ne_bytes());
    out.extend([0; 4]);
    out.extend(saddr);
    out.extend(daddr);
    out.resize(end, 0);
}
