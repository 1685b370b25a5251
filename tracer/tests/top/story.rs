//! Ninety seconds of a host, made up and always the same: a web server that closes first, a client that
//! leaves TIME_WAITs, a process that never closes, and one that calls itself something evil.

use std::{net::Ipv4Addr, path::Path, sync::Arc};

use tracer::{
    engine::EndReason,
    engine::{
        Endpoint, Event, EventBody, Evidence, FourTuple, Held, Holder, Inside, Inspected, Looked,
        LostCount, Minisock, Mono, OwnerSource, Process, ProcessFact, ProcessName, SockId,
        StateChange, Sysctl, TcpState, TimewaitEnd, Unseen,
    },
    recording::{ClockPair, Hooks, META_SCHEMA, Meta, Progress, Segment},
};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;
/// When it begins.
pub(crate) const BEGIN: u64 = 1000 * SECOND;
const LENGTH: u64 = 90;
/// 2026-11-21 03:00:00 UTC.
const WALL: i64 = 1_795_230_000_000_000_000;
const NETNS: u32 = 4_026_531_840;

const NGINX: u32 = 1201;
const EVIL: u32 = 1301;
const LEAKY: u32 = 1401;

/// The events, in order.
pub(crate) struct Story {
    events: Vec<Event>,
    sockets: u64,
    dice: u64,
}

/// Writes it as a recording.
pub(crate) fn record(path: &Path) {
    let meta = Meta {
        schema: META_SCHEMA.to_owned(),
        recording: "00000007-0000-4000-8000-000000000000".to_owned(),
        host: "web-1".to_owned(),
        kernel: "6.12.0".to_owned(),
        hooks: Hooks {
            state: "tp_btf".to_owned(),
            time_wait: "timer".to_owned(),
            snapshot: "iter".to_owned(),
            owner: "fexit".to_owned(),
        },
        clock: ClockPair {
            mono_ns: BEGIN,
            wall_ns: WALL,
        },
        ..Meta::default()
    };
    let mut segment = Segment::begin(Vec::new(), 1, &meta, Progress::default()).unwrap();
    for block in Story::told().events.chunks(1000) {
        for event in block {
            segment.push(event).unwrap();
        }
        segment.close_block().unwrap();
    }
    std::fs::write(path, segment.end().unwrap().0).unwrap();
}

fn end(address: [u8; 4], port: u16) -> Endpoint {
    let address = Ipv4Addr::from(address).to_ipv6_mapped().octets();
    Endpoint { address, port }
}

fn tuple(local: Endpoint, remote: Endpoint) -> FourTuple {
    FourTuple {
        local,
        remote,
        family: 2,
    }
}

const HERE: [u8; 4] = [10, 0, 0, 1];

impl Story {
    fn told() -> Self {
        let mut story = Self {
            events: Vec::new(),
            sockets: 0,
            dice: 0x9e37_79b9_7f4a_7c15,
        };
        story.setting();
        for second in 0..LENGTH {
            let at = BEGIN + second * SECOND;
            for n in 0..20 {
                story.served(at + n * 49 * MS);
            }
            for n in 0..8 {
                story.fetched(at + n * 120 * MS + 7 * MS);
            }
            if second % 3 == 0 {
                story.leaked(at + 500 * MS);
            }
            if second == 40 {
                let lost = LostCount {
                    ring_full: 12,
                    ..LostCount::default()
                };
                story.push(at + 300 * MS, EventBody::Lost(lost));
            }
        }
        story.events.retain(|e| e.at.0 <= BEGIN + LENGTH * SECOND);
        story.events.sort_by_key(|event| event.at);
        story.look_now_and_then();
        story
    }

    fn setting(&mut self) {
        for (pid, name) in [
            (NGINX, &b"nginx"[..]),
            (EVIL, b"\x1b[2Jevil\xe2\x80\xae"),
            (LEAKY, b"leaky"),
        ] {
            let mut bytes = [0; 16];
            bytes[..name.len()].copy_from_slice(name);
            let process = Process {
                name: ProcessName(bytes),
                uid: 33,
                cgroup: 7,
            };
            self.push(BEGIN, EventBody::Process(ProcessFact { pid, process }));
        }
        for (name, value) in [
            ("ip_local_port_range", "32768\t60999"),
            ("tcp_max_tw_buckets", "131072"),
            ("tcp_fin_timeout", "60"),
            ("tcp_tw_reuse", "2"),
        ] {
            let sysctl = Sysctl {
                netns: NETNS,
                name: Arc::from(format!("net.ipv4.{name}")),
                value: Arc::from(value),
            };
            self.push(BEGIN, EventBody::Sysctl(sysctl));
        }
        for second in 0..=LENGTH {
            let passed = second * SECOND;
            let wall_ns = WALL + i64::try_from(passed).unwrap();
            self.push(BEGIN + passed, EventBody::Clock { wall_ns });
        }
    }

    /// A client comes to nginx, which closes first, most of the time.
    fn served(&mut self, at: u64) {
        let client = [10, 0, 1, u8::try_from(self.roll(5)).unwrap()];
        let port = u16::try_from(1024 + self.roll(60_000)).unwrap();
        let tuple = tuple(end(HERE, 443), end(client, port));
        let sock = self.accepted(at, tuple, NGINX);
        let closes = at + (5 + self.roll(400)) * MS;
        match self.roll(20) {
            0 => self.change(
                closes,
                sock,
                tuple,
                0,
                (TcpState::Established, TcpState::Close),
            ),
            1..=4 => self.peer_closes_first(closes, sock, tuple, NGINX),
            _ => self.closes_first(closes, sock, tuple, NGINX, EndReason::Expired),
        }
    }

    /// A process fetches something from a database, and closes first.
    fn fetched(&mut self, at: u64) {
        let port = u16::try_from(32_768 + self.roll(20_000)).unwrap();
        let tuple = tuple(end(HERE, port), end([10, 0, 2, 9], 5432));
        let sock = self.socket();
        self.change(at, sock, tuple, EVIL, (TcpState::Close, TcpState::SynSent));
        let answered = at + 300_000 + self.roll(500) * 1000;
        self.change(
            answered,
            sock,
            tuple,
            0,
            (TcpState::SynSent, TcpState::Established),
        );
        let closes = answered + (1 + self.roll(30)) * MS;
        self.closes_first(closes, sock, tuple, EVIL, EndReason::Reused);
    }

    /// A peer closes, and the process that accepted it never does.
    fn leaked(&mut self, at: u64) {
        let port = u16::try_from(40_000 + at / SECOND).unwrap();
        let tuple = tuple(end(HERE, 9090), end([10, 0, 3, 4], port));
        let sock = self.accepted(at, tuple, LEAKY);
        let change = (TcpState::Established, TcpState::CloseWait);
        self.change(at + 20 * MS, sock, tuple, 0, change);
    }

    fn accepted(&mut self, at: u64, tuple: FourTuple, pid: u32) -> SockId {
        let sock = self.socket();
        self.change(at, sock, tuple, 0, (TcpState::Listen, TcpState::SynRecv));
        let change = (TcpState::SynRecv, TcpState::Established);
        self.change(at + 11_000, sock, tuple, 0, change);
        let held = Held {
            sock,
            cookie: sock.0,
            pid,
            source: OwnerSource::Accept,
        };
        self.push(at + 900_000, EventBody::Held(held));
        sock
    }

    fn closes_first(
        &mut self,
        at: u64,
        sock: SockId,
        tuple: FourTuple,
        pid: u32,
        reason: EndReason,
    ) {
        self.change(
            at,
            sock,
            tuple,
            pid,
            (TcpState::Established, TcpState::FinWait1),
        );
        self.change(
            at + 200_000,
            sock,
            tuple,
            0,
            (TcpState::FinWait1, TcpState::FinWait2),
        );
        let gone = at + 230_000;
        let tw = SockId(sock.0 + (1 << 40));
        self.push_change(gone, sock, tuple, 0, (TcpState::FinWait2, TcpState::Close));
        if let Some(Event {
            body: EventBody::StateChange(change),
            ..
        }) = self.events.last_mut()
        {
            change.minisock = Some(Minisock::Made {
                tw,
                state: TcpState::TimeWait,
            });
        }
        let stays = match reason {
            EndReason::Reused => 2 + self.roll(20),
            _ => 60,
        };
        let ended = TimewaitEnd {
            tw,
            cookie: sock.0,
            state: TcpState::TimeWait,
            tuple,
            netns: NETNS,
            reason,
            stamp: None,
            timer_set: None,
            exact: true,
        };
        let jitter = self.roll(2000) * MS;
        self.push(
            gone + stays * SECOND + jitter,
            EventBody::TimewaitEnd(ended),
        );
    }

    fn peer_closes_first(&mut self, at: u64, sock: SockId, tuple: FourTuple, pid: u32) {
        self.change(
            at,
            sock,
            tuple,
            0,
            (TcpState::Established, TcpState::CloseWait),
        );
        let closes = at + 40_000 + self.roll(4_000_000);
        self.change(
            closes,
            sock,
            tuple,
            pid,
            (TcpState::CloseWait, TcpState::LastAck),
        );
        self.change(
            closes + 150_000,
            sock,
            tuple,
            0,
            (TcpState::LastAck, TcpState::Close),
        );
    }

    /// Every ten seconds somebody looks why sockets are in CLOSE_WAIT.
    fn look_now_and_then(&mut self) {
        let close_waits: Vec<_> = self
            .events
            .iter()
            .filter_map(|event| match &event.body {
                EventBody::StateChange(c)
                    if c.to == TcpState::CloseWait && c.tuple.local.port == 9090 =>
                {
                    Some((event.at, *c))
                }
                _ => None,
            })
            .collect();
        for second in (10..LENGTH).step_by(10) {
            let began = Mono(BEGIN + second * SECOND + 100 * MS);
            for (at, change) in close_waits.iter().filter(|(at, _)| *at < began) {
                let fd = u32::try_from(at.0 / SECOND % 1000).unwrap();
                let inspected = Inspected {
                    sock: change.sock,
                    cookie: change.cookie,
                    state: TcpState::CloseWait,
                    tuple: change.tuple,
                    netns: NETNS,
                    not_later: None,
                    inside: Some(Inside {
                        receive_shut: true,
                        has_file: true,
                        references: Some(1),
                        ..Inside::default()
                    }),
                    holders: Arc::from([Holder { pid: LEAKY, fd }]),
                    descriptors: 1,
                };
                self.push(began.0 + MS, EventBody::Inspected(Box::new(inspected)));
            }
            let looked = Looked {
                began,
                namespaces: 1,
                unseen: Unseen::default(),
            };
            self.push(began.0 + 2 * MS, EventBody::Looked(looked));
        }
        self.events.sort_by_key(|event| event.at);
    }

    fn change(
        &mut self,
        at: u64,
        sock: SockId,
        tuple: FourTuple,
        pid: u32,
        step: (TcpState, TcpState),
    ) {
        self.push_change(at, sock, tuple, pid, step);
    }

    fn push_change(
        &mut self,
        at: u64,
        sock: SockId,
        tuple: FourTuple,
        pid: u32,
        (from, to): (TcpState, TcpState),
    ) {
        let reset = (from, to) == (TcpState::Established, TcpState::Close);
        let change = StateChange {
            sock,
            cookie: sock.0,
            from,
            to,
            tuple,
            netns: NETNS,
            pid,
            twin: false,
            unwanted: false,
            evidence: reset.then_some(Evidence {
                // ECONNRESET.
                err: 104,
                shut_both: false,
                has_file: true,
                dead: false,
                unread: 0,
                by_stack: None,
            }),
            minisock: None,
        };
        self.push(at, EventBody::StateChange(change));
    }

    fn push(&mut self, at: u64, body: EventBody) {
        self.events.push(Event { at: Mono(at), body });
    }

    fn socket(&mut self) -> SockId {
        self.sockets += 1;
        SockId(self.sockets)
    }

    /// Looks like chance, the same each time (xorshift64).
    fn roll(&mut self, below: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % below
    }
}
