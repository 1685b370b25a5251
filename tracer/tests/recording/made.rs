//! Recordings in memory.

use proptest::{
    strategy::{Strategy as _, ValueTree as _},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use tracer::{
    engine::{Account, Endpoint, Event, EventBody, FourTuple, Mono, SockId, StateChange, TcpState},
    recording::{ClockPair, Hooks, META_SCHEMA, Meta, Progress, Segment},
};

use crate::any;

/// Of this recording.
pub(crate) fn meta(id: u32) -> Meta {
    Meta {
        schema: META_SCHEMA.to_owned(),
        recording: format!("{id:08x}-0000-4000-8000-000000000000"),
        host: format!("host-{id}"),
        kernel: "6.18.0".to_owned(),
        hooks: Hooks {
            state: "tp_btf".to_owned(),
            time_wait: "timer".to_owned(),
            snapshot: "iter".to_owned(),
            owner: "accept".to_owned(),
        },
        clock: ClockPair {
            mono_ns: 1_000_000_000,
            wall_ns: 1_790_000_000_000_000_000,
        },
        ..Meta::default()
    }
}

/// The same each time.
pub(crate) fn events(count: usize) -> Vec<Event> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut events = Vec::new();
    while events.len() < count {
        events.extend(any::events().new_tree(&mut runner).unwrap().current());
    }
    events.truncate(count);
    for (i, event) in events.iter_mut().enumerate() {
        event.at = Mono(1_000_000_000 + 1000 * i as u64);
    }
    events
}

/// Both ends of a socket of port 8080.
pub(crate) fn tuple(sock: u64) -> FourTuple {
    let end = |last: u8, port| Endpoint {
        address: std::net::Ipv4Addr::new(10, 0, 0, last)
            .to_ipv6_mapped()
            .octets(),
        port,
    };
    FourTuple {
        local: end(1, 8080),
        remote: end(2, 40_000 + u16::try_from(sock % 20_000).unwrap()),
        ..FourTuple::default()
    }
}

/// A socket's state changes.
pub(crate) fn change(at: Mono, sock: u64, from: TcpState, to: TcpState) -> Event {
    let body = EventBody::StateChange(StateChange {
        sock: SockId(sock),
        cookie: sock,
        from,
        to,
        tuple: tuple(sock),
        netns: 1,
        pid: 0,
        twin: false,
        unwanted: false,
        evidence: None,
        minisock: None,
    });
    Event { at, body }
}

/// A whole recording, its events in blocks of so many.
pub(crate) fn recording(id: u32, events: &[Event], per_block: usize) -> Vec<u8> {
    let mut segment = Segment::begin(Vec::new(), 1, &meta(id), Progress::default()).unwrap();
    for (i, block) in events.chunks(per_block).enumerate() {
        for event in block {
            segment.push(event).unwrap();
        }
        segment.set_account(Account {
            skipped: i as u64,
            ..Account::default()
        });
        segment.close_block().unwrap();
    }
    segment.end().unwrap().0
}

/// Numbers that look like chance, the same each time (xorshift64).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }
}
