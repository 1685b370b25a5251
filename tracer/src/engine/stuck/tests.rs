//! Each cause, each kind of age and each verdict, as data.

use std::{sync::Arc, time::Duration};

use super::*;
use crate::engine::{
    Descriptors, Endpoint, Event, EventBody, Found, Held, Inside, Limits, Looked, SockId,
    StateChange, Unseen,
};

const SECOND: u64 = 1_000_000_000;
const SERVER: u16 = 8080;

fn end(last: u8, port: u16) -> Endpoint {
    Endpoint {
        address: tracer_common::address::mapped([10, 0, 0, last]),
        port,
    }
}

fn tuple(sock: u64) -> FourTuple {
    FourTuple {
        local: end(1, SERVER),
        remote: end(2, 40_000 + u16::try_from(sock % 20_000).unwrap()),
        family: 2,
    }
}

fn holders(of: &[(u32, u32)]) -> Arc<[Holder]> {
    of.iter().map(|&(pid, fd)| Holder { pid, fd }).collect()
}

/// Accepted, and read to its end.
fn consumed() -> Inside {
    Inside {
        receive_shut: true,
        has_file: true,
        references: Some(1),
        ..Inside::default()
    }
}

fn close_wait(sock: u64, inside: Inside, held: &[(u32, u32)]) -> Inspected {
    Inspected {
        sock: SockId(sock),
        cookie: sock,
        state: TcpState::CloseWait,
        tuple: tuple(sock),
        netns: 1,
        not_later: None,
        inside: Some(inside),
        holders: holders(held),
        descriptors: u32::try_from(held.len()).unwrap(),
    }
}

fn listener(pid: u32, waiting: u32, limit: u32) -> Inspected {
    Inspected {
        sock: SockId(1_000_000),
        state: TcpState::Listen,
        tuple: FourTuple {
            local: Endpoint {
                port: SERVER,
                ..Endpoint::default()
            },
            ..FourTuple::default()
        },
        ..close_wait(
            0,
            Inside {
                receive_queue: waiting,
                send_queue: limit,
                ..Inside::default()
            },
            &[(pid, 3)],
        )
    }
}

/// An engine, and what happens to it.
struct Played {
    engine: Engine,
    updates: Vec<crate::engine::Update>,
}

impl Played {
    fn new() -> Self {
        Self {
            engine: Engine::new(Limits::default()),
            updates: Vec::new(),
        }
    }

    fn event(&mut self, at: u64, body: EventBody) {
        let event = Event { at: Mono(at), body };
        self.engine.handle_event(&event, &mut self.updates);
    }

    fn look(&mut self, at: u64, seen: impl IntoIterator<Item = Inspected>) {
        for facts in seen {
            self.event(at, EventBody::Inspected(Box::new(facts)));
        }
        self.event(
            at,
            EventBody::Looked(Looked {
                began: Mono(at),
                namespaces: 1,
                unseen: Unseen::default(),
            }),
        );
    }

    fn change(&mut self, at: u64, sock: u64, from: TcpState, to: TcpState) {
        let change = StateChange {
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
        };
        self.event(at, EventBody::StateChange(change));
    }

    /// A connection comes out of the listener, is accepted by 70, and its peer closes.
    fn served(&mut self, at: u64, sock: u64) {
        self.change(at, sock, TcpState::Listen, TcpState::SynRecv);
        self.change(at, sock, TcpState::SynRecv, TcpState::Established);
        let held = Held {
            sock: SockId(sock),
            cookie: sock,
            pid: 70,
            source: OwnerSource::Accept,
        };
        self.event(at, EventBody::Held(held));
        self.change(at, sock, TcpState::Established, TcpState::CloseWait);
    }

    fn closed(&mut self, at: u64, sock: u64) {
        self.change(at, sock, TcpState::CloseWait, TcpState::LastAck);
        self.change(at, sock, TcpState::LastAck, TcpState::Close);
    }

    fn stuck(&self, now: u64, older_than: u64) -> (Vec<StuckSocket>, usize) {
        let wanted = |state| state == TcpState::CloseWait;
        (self.engine).stuck(Mono(now), wanted, Duration::from_nanos(older_than))
    }

    fn verdict(&self, now: u64) -> Leak {
        let (sockets, _) = self.stuck(now, 0);
        let leaks = self.engine.leaks(Mono(now), &sockets);
        *leaks.iter().find(|l| l.key.pid == 70).unwrap_or(&Leak {
            key: LeakKey {
                pid: 70,
                port: Port::Local(SERVER),
            },
            open: 0,
            survivors: 0,
            watched: Duration::ZERO,
            opened_per_s: None,
            closed_per_s: None,
            growth_per_s: None,
            verdict: Verdict::Steady,
        })
    }
}

/// The cause of one socket, and the evidence.
fn told(seen: impl IntoIterator<Item = Inspected>) -> (Cause, String) {
    let mut played = Played::new();
    played.look(SECOND, seen);
    let (mut sockets, _) = played.stuck(SECOND, 0);
    let socket = sockets.pop().expect("one socket");
    assert!(sockets.is_empty());
    (socket.cause, socket.evidence)
}

#[test]
fn causes() {
    let with = |change: fn(&mut Inside)| {
        let mut inside = consumed();
        change(&mut inside);
        inside
    };
    let one = &[(70, 5)][..];
    let two = &[(70, 5), (71, 5)][..];
    let cases = [
        (consumed(), one, Cause::NotClosed, "one holder"),
        (
            with(|i| i.references = Some(3)),
            one,
            Cause::NotClosed,
            "2 more references",
        ),
        (
            with(|i| i.receive_queue = 1),
            one,
            Cause::UnreadData,
            "the end of file waits",
        ),
        (
            with(|i| i.receive_queue = 2),
            one,
            Cause::UnreadData,
            "1 byte waits",
        ),
        (
            with(|i| i.receive_queue = 1235),
            two,
            Cause::UnreadData,
            "1234 bytes wait to be read; 2 processes hold it: pid 70, 71",
        ),
        (
            consumed(),
            two,
            Cause::Shared,
            "2 processes hold it: pid 70, 71",
        ),
        (
            with(|i| (i.send_queue, i.retransmits) = (9, Some(4))),
            two,
            Cause::Draining,
            "9 bytes are not acknowledged, sent again 4 times",
        ),
        (consumed(), &[], Cause::Unknown, "no process is seen"),
        (
            with(|i| (i.has_file, i.receive_queue) = (false, 4)),
            &[],
            Cause::NeverAccepted,
            "its listener is not seen",
        ),
    ];
    for (inside, held, cause, evidence) in cases {
        let (said, why) = told([close_wait(1, inside, held)]);
        assert_eq!(said, cause, "{inside:?}: {why}");
        assert!(why.contains(evidence), "{why}");
    }
}

#[test]
fn a_listener_that_nobody_serves_is_named_with_its_queue() {
    let mut played = Played::new();
    let inside = Inside {
        has_file: false,
        receive_queue: 3,
        ..consumed()
    };
    let stopped = Descriptors {
        pid: 77,
        open: 9,
        limit: Some(1024),
        stopped: true,
    };
    played.event(SECOND, EventBody::Descriptors(stopped));
    played.look(SECOND, [close_wait(1, inside, &[]), listener(77, 129, 128)]);
    let (sockets, _) = played.stuck(SECOND, 0);
    let socket = &sockets[0];
    assert_eq!(socket.cause, Cause::NeverAccepted);
    assert_eq!(
        socket.evidence,
        "no process has accepted it; 129 of at most 129 wait at listener :::8080 of pid 77; \
         pid 77 is stopped"
    );
    assert_eq!((socket.owner.pid, socket.unread), (77, Some(2)));
    assert_eq!(socket.owner.source, OwnerSource::Listener);
    assert!(socket.served);
    assert_eq!(groups(&sockets)[0].pids, [77]);
}

#[test]
fn who_accepted_it_and_holds_it_no_more_is_named() {
    let mut played = Played::new();
    played.served(SECOND, 1);
    played.look(2 * SECOND, [close_wait(1, consumed(), &[(71, 5)])]);
    let (sockets, _) = played.stuck(2 * SECOND, 0);
    assert_eq!(sockets[0].cause, Cause::NotClosed);
    assert!(
        sockets[0]
            .evidence
            .ends_with("pid 70, which had it, has closed its own"),
        "{}",
        sockets[0].evidence
    );
    let holder = sockets[0].owner;
    assert_eq!((holder.pid, holder.source), (71, OwnerSource::FdScan));
    // What it hands out is counted together.
    assert_eq!(sockets[0].first_pid, 70);
    assert_eq!(
        played.engine.leaks(Mono(2 * SECOND), &sockets)[0].key.pid,
        70
    );
    // By several others, or by nobody that is seen.
    let mut holder = |at, held: &[(u32, u32)]| {
        played.look(at, [close_wait(1, consumed(), held)]);
        played.stuck(at, 0).0[0].owner.pid
    };
    assert_eq!(holder(3 * SECOND, &[(71, 5), (72, 5)]), 0);
    assert_eq!(holder(4 * SECOND, &[]), 70);
}

#[test]
fn ages_are_exact_when_the_entry_was_seen_and_lower_bounds_else() {
    let mut played = Played::new();
    let older = Found {
        sock: SockId(2),
        cookie: 2,
        state: TcpState::CloseWait,
        in_minisock: false,
        tuple: tuple(2),
        netns: 1,
        pid: 70,
        entered: None,
    };
    played.event(20 * SECOND, EventBody::Found(older));
    let heard = Inspected {
        not_later: Some(Mono(8 * SECOND)),
        ..close_wait(2, consumed(), &[(70, 6)])
    };
    played.event(20 * SECOND, EventBody::Inspected(Box::new(heard.clone())));
    played.served(22 * SECOND, 1);
    let again = Inspected {
        // The peer was heard again: what was known before still holds.
        not_later: Some(Mono(29 * SECOND)),
        ..heard
    };
    played.look(30 * SECOND, [again, close_wait(1, consumed(), &[(70, 5)])]);
    let (sockets, younger) = played.stuck(30 * SECOND, 0);
    let ages: Vec<_> = sockets.iter().map(|s| (s.cookie, s.age)).collect();
    let age = |seconds, exact| Age {
        at_least: Duration::from_secs(seconds),
        exact,
    };
    assert_eq!(ages, [(2, age(22, false)), (1, age(8, true))]);
    assert_eq!(younger, 0);
    let (sockets, younger) = played.stuck(30 * SECOND, 10 * SECOND);
    assert_eq!((sockets.len(), younger), (1, 1));
}

#[test]
fn what_has_left_since_the_look_is_not_told() {
    let mut played = Played::new();
    played.served(SECOND, 1);
    played.look(2 * SECOND, [close_wait(1, consumed(), &[(70, 5)])]);
    played.change(3 * SECOND, 1, TcpState::CloseWait, TcpState::LastAck);
    assert!(played.stuck(4 * SECOND, 0).0.is_empty());
    // Nor what a look does not show, whatever was missed.
    played.served(5 * SECOND, 2);
    played.look(6 * SECOND, []);
    assert!(played.stuck(7 * SECOND, 0).0.is_empty());
}

#[test]
fn listeners_are_bounded() {
    let mut played = Played::new();
    let on_one_port = |sock| Inspected {
        sock: SockId(sock),
        ..listener(70, 0, 1)
    };
    played.look(SECOND, (0..1024).map(on_one_port));
    played.look(2 * SECOND, (0..1024).map(on_one_port));
    assert_eq!(played.engine.looks().dropped(), 0, "the same again");
    played.look(3 * SECOND, (0..1030).map(on_one_port));
    assert_eq!(played.engine.looks().dropped(), 6);
    played.look(4 * SECOND, []);
    played.look(5 * SECOND, (0..1024).map(on_one_port));
    assert_eq!(played.engine.looks().dropped(), 6, "room again");
}

#[test]
fn a_moment_after_the_look_has_what_came_since_and_not_what_went() {
    let mut played = Played::new();
    let as_of = |played: &Played, seconds: u64| {
        let wanted = |state| matches!(state, TcpState::CloseWait | TcpState::SynRecv);
        let now = Mono(seconds * SECOND);
        let (sockets, _) = played.engine.stuck_as_of(now, wanted, Duration::ZERO);
        let told = sockets.iter();
        told.map(|s| (s.cookie, s.cause, s.looked, s.age.at_least.as_secs()))
            .collect::<Vec<_>>()
    };
    played.served(SECOND, 1);
    let (_, evidence) = (as_of(&played, 2), {
        let wanted = |state| state == TcpState::CloseWait;
        let (sockets, _) = (played.engine).stuck_as_of(Mono(2 * SECOND), wanted, Duration::ZERO);
        sockets[0].evidence.clone()
    });
    assert_eq!(evidence, "no look at the sockets is recorded");
    assert_eq!(as_of(&played, 2), [(1, Cause::Unknown, None, 1)]);
    played.served(2 * SECOND, 2);
    played.served(2 * SECOND, 3);
    let request = Inspected {
        state: TcpState::SynRecv,
        ..close_wait(9, Inside::default(), &[])
    };
    // The end of 3 was missed.
    let seen = [1, 2].map(|sock| close_wait(sock, consumed(), &[(70, 5)]));
    played.look(10 * SECOND, seen.into_iter().chain([request]));
    played.closed(11 * SECOND, 2);
    played.served(12 * SECOND, 4);
    let look = Some(Mono(10 * SECOND));
    assert_eq!(
        as_of(&played, 20),
        [
            (1, Cause::NotClosed, look, 19),
            (4, Cause::Unknown, None, 8),
            (9, Cause::NoAnswer, look, 0),
        ]
    );
}

/// `healthy` connections a second, each in CLOSE_WAIT for `dwell_ms`, and `leaked` a second for good;
/// the verdict after each look, every 5 s.
fn traffic(seconds: u64, healthy: u64, dwell_ms: u64, leaked: impl Fn(u64) -> u64) -> Vec<Leak> {
    let mut played = Played::new();
    played.engine.watch_close_waits();
    played.look(SECOND, [listener(70, 0, 128)]);
    let mut events = Vec::new();
    let mut sock = 0;
    let mut leaks = Vec::new();
    for second in 1..=seconds {
        for i in 0..healthy {
            sock += 1;
            let at = second * SECOND + i * SECOND / healthy;
            events.push((at, sock, true));
            events.push((at + dwell_ms * 1_000_000, sock, false));
        }
        for i in 0..leaked(second) {
            sock += 1;
            leaks.push(sock);
            events.push((second * SECOND + i, sock, true));
        }
    }
    events.sort_unstable();
    let mut open = std::collections::BTreeSet::new();
    let mut verdicts = Vec::new();
    let mut next = 6 * SECOND;
    for (at, sock, comes) in events {
        while at >= next {
            let seen: Vec<_> = open
                .iter()
                .map(|sock| close_wait(*sock, consumed(), &[(70, 5)]))
                .chain([listener(70, 0, 128)])
                .collect();
            played.look(next, seen);
            verdicts.push(played.verdict(next));
            next += 5 * SECOND;
        }
        if comes {
            played.served(at, sock);
            open.insert(sock);
        } else {
            played.closed(at, sock);
            open.remove(&sock);
        }
    }
    verdicts
}

#[test]
fn two_leaked_a_second_among_five_thousand_a_minute_are_found_in_a_minute() {
    let verdicts = traffic(65, 83, 20, |_| 2);
    let at = verdicts.iter().position(|l| l.verdict == Verdict::Leaking);
    // Looks are 5 s apart.
    assert!(at.is_some_and(|at| at < 12), "{at:?}");
    let last = verdicts.last().unwrap();
    let growth = last.growth_per_s.unwrap();
    assert!((1.8..2.2).contains(&growth), "{last:?}");
    let (opened, closed) = (last.opened_per_s.unwrap(), last.closed_per_s.unwrap());
    assert!((80.0..90.0).contains(&opened), "{last:?}");
    assert!((78.0..88.0).contains(&closed), "{last:?}");
}

#[test]
fn a_slow_leak_shows_over_the_whole_time() {
    let verdicts = traffic(1200, 2, 20, |second| u64::from(second % 30 == 0));
    assert_eq!(verdicts.last().unwrap().verdict, Verdict::Leaking);
}

#[test]
fn at_first_there_is_not_enough_data() {
    let verdicts = traffic(60, 2, 20, |_| 2);
    assert_eq!(verdicts[4].verdict, Verdict::NotEnoughData);
    assert_ne!(verdicts[6].verdict, Verdict::NotEnoughData);
    // Nothing goes at all: that may be slowness, for two minutes.
    let verdicts = traffic(180, 0, 20, |_| 2);
    assert!(verdicts[..22].iter().all(|l| l.verdict < Verdict::Leaking));
    assert_eq!(verdicts[8].verdict, Verdict::Growing);
    assert_eq!(verdicts.last().unwrap().verdict, Verdict::Leaking);
}

#[test]
fn a_leak_that_begins_late_is_found_in_a_minute() {
    let verdicts = traffic(900, 20, 20, |second| u64::from(second > 800) * 2);
    let at = verdicts.iter().position(|l| l.verdict == Verdict::Leaking);
    assert!(at.is_some_and(|at| (160..172).contains(&at)), "{at:?}");
}

#[test]
fn nothing_healthy_is_accused() {
    // Fast, slow, and slower than the grace; begun with the trace.
    for (seconds, rate, dwell_ms) in [(1800, 83, 3), (900, 10, 4_000), (900, 2, 45_000)] {
        for (i, leak) in traffic(seconds, rate, dwell_ms, |_| 0).iter().enumerate() {
            assert!(
                leak.verdict < Verdict::Leaking,
                "dwell {dwell_ms} ms, look {i}: {leak:?}"
            );
        }
    }
}

#[test]
fn one_hiccup_is_no_leak() {
    let verdicts = traffic(300, 20, 20, |second| u64::from(second == 40) * 50);
    assert!(verdicts.iter().all(|l| l.verdict < Verdict::Leaking));
    assert!(verdicts.iter().any(|l| l.verdict == Verdict::Growing));
}
