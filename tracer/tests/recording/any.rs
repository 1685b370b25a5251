//! Any event whatever.

use proptest::{collection::vec, prelude::*};
use tracer::engine::{
    CgroupFact, Descriptors, EndReason, Endpoint, Event, EventBody, Evidence, Found, FourTuple,
    Held, Holder, Inside, Inspected, Looked, LostCount, MAX_HOLDERS, Minisock, Mono, OwnerSource,
    Process, ProcessFact, ProcessName, SockId, StateChange, Sysctl, TcpState, TimewaitEnd,
    TimewaitRearmed, Unseen,
};

/// Small numbers, so that flows come again, and any.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..5u64, 1 => any::<u64>()]
}

fn sock() -> impl Strategy<Value = SockId> {
    number().prop_map(SockId)
}

fn state() -> impl Strategy<Value = TcpState> {
    (0..14u8).prop_map(TcpState::from_number)
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let address = prop_oneof![
        Just([0; 16]),
        (0..3u8).prop_map(|host| tracer_common::address::mapped([10, 0, 0, host])),
        any::<[u8; 16]>(),
    ];
    (address, any::<u16>()).prop_map(|(address, port)| Endpoint { address, port })
}

fn tuple() -> impl Strategy<Value = FourTuple> {
    (endpoint(), endpoint(), any::<u16>()).prop_map(|(local, remote, family)| FourTuple {
        local,
        remote,
        family,
    })
}

fn reason() -> impl Strategy<Value = EndReason> {
    prop_oneof![
        Just(EndReason::Expired),
        Just(EndReason::ListenerClosed),
        Just(EndReason::Unknown),
    ]
}

fn moment() -> impl Strategy<Value = Option<Mono>> {
    prop::option::of(any::<u64>().prop_map(Mono))
}

fn evidence() -> impl Strategy<Value = Evidence> {
    let what = any::<(u16, bool, bool, bool, u32)>();
    (what, prop::option::of(reason())).prop_map(|(what, by_stack)| Evidence {
        err: what.0,
        shut_both: what.1,
        has_file: what.2,
        dead: what.3,
        unread: what.4,
        by_stack,
    })
}

fn minisock() -> impl Strategy<Value = Minisock> {
    prop_oneof![
        (sock(), state()).prop_map(|(tw, state)| Minisock::Made { tw, state }),
        reason().prop_map(Minisock::Refused),
        Just(Minisock::Unseen),
    ]
}

fn change() -> impl Strategy<Value = EventBody> {
    let who = (sock(), number(), tuple(), 0..3u32);
    let what = (state(), state(), 0..4u32, any::<bool>(), any::<bool>());
    let more = (prop::option::of(evidence()), prop::option::of(minisock()));
    (who, what, more).prop_map(|(who, what, (evidence, minisock))| {
        EventBody::StateChange(StateChange {
            sock: who.0,
            cookie: who.1,
            tuple: who.2,
            netns: who.3,
            from: what.0,
            to: what.1,
            pid: what.2,
            twin: what.3,
            unwanted: what.4,
            evidence,
            minisock,
        })
    })
}

fn end() -> impl Strategy<Value = EventBody> {
    let who = (sock(), number(), tuple(), any::<u32>());
    let what = (state(), reason(), moment(), moment(), any::<bool>());
    (who, what).prop_map(|(who, what)| {
        EventBody::TimewaitEnd(TimewaitEnd {
            tw: who.0,
            cookie: who.1,
            tuple: who.2,
            netns: who.3,
            state: what.0,
            reason: what.1,
            stamp: what.2,
            timer_set: what.3,
            exact: what.4,
        })
    })
}

fn found() -> impl Strategy<Value = EventBody> {
    let who = (sock(), number(), tuple(), any::<u32>());
    let what = (state(), any::<bool>(), any::<u32>(), moment());
    (who, what).prop_map(|(who, what)| {
        EventBody::Found(Found {
            sock: who.0,
            cookie: who.1,
            tuple: who.2,
            netns: who.3,
            state: what.0,
            in_minisock: what.1,
            pid: what.2,
            entered: what.3,
        })
    })
}

fn inside() -> impl Strategy<Value = Inside> {
    let what = any::<(u32, u32, bool, bool, bool, u32, Option<u32>, Option<u8>)>();
    (what, moment(), moment()).prop_map(|(what, data_received, data_sent)| Inside {
        receive_queue: what.0,
        send_queue: what.1,
        receive_shut: what.2,
        dead: what.3,
        has_file: what.4,
        uid: what.5,
        references: what.6,
        retransmits: what.7,
        data_received,
        data_sent,
    })
}

fn looks() -> impl Strategy<Value = EventBody> {
    let who = (sock(), number(), tuple(), any::<u32>(), state());
    let holder = any::<(u32, u32)>().prop_map(|(pid, fd)| Holder { pid, fd });
    let what = (moment(), vec(holder, 0..=MAX_HOLDERS), any::<u32>());
    let inspected = (who, what, prop::option::of(inside())).prop_map(|(who, what, inside)| {
        EventBody::Inspected(Box::new(Inspected {
            sock: who.0,
            cookie: who.1,
            tuple: who.2,
            netns: who.3,
            state: who.4,
            not_later: what.0,
            holders: what.1.into(),
            descriptors: what.2,
            inside,
        }))
    });
    let files = any::<(u32, u32, Option<u64>, bool)>();
    let descriptors = files.prop_map(|(pid, open, limit, stopped)| {
        EventBody::Descriptors(Descriptors {
            pid,
            open,
            limit,
            stopped,
        })
    });
    let looked =
        any::<(u64, u32, u32, u32)>().prop_map(|(began, namespaces, unentered, hidden)| {
            EventBody::Looked(Looked {
                began: Mono(began),
                namespaces,
                unseen: Unseen {
                    namespaces: unentered,
                    hidden,
                },
            })
        });
    prop_oneof![inspected, descriptors, looked]
}

fn lost() -> impl Strategy<Value = EventBody> {
    any::<[u64; 5]>().prop_map(|[ring_full, recursion, map_full, decode, recording]| {
        EventBody::Lost(LostCount {
            ring_full,
            recursion,
            map_full,
            decode,
            recording,
        })
    })
}

fn process() -> impl Strategy<Value = EventBody> {
    any::<(u32, [u8; 16], u32, u64)>().prop_map(|(pid, name, uid, cgroup)| {
        let process = Process {
            name: ProcessName(name),
            uid,
            cgroup,
        };
        EventBody::Process(ProcessFact { pid, process })
    })
}

fn held() -> impl Strategy<Value = EventBody> {
    let source = prop_oneof![Just(OwnerSource::Accept), Just(OwnerSource::Read)];
    (sock(), number(), 0..4u32, source).prop_map(|(sock, cookie, pid, source)| {
        EventBody::Held(Held {
            sock,
            cookie,
            pid,
            source,
        })
    })
}

fn body() -> impl Strategy<Value = EventBody> {
    prop_oneof![
        8 => change(),
        3 => end(),
        3 => held(),
        1 => found(),
        1 => looks(),
        1 => (any::<u32>(), "[a-z.]{0,20}", ".{0,20}").prop_map(|(netns, name, value)| {
            let (name, value) = (name.into(), value.into());
            EventBody::Sysctl(Sysctl { netns, name, value })
        }),
        1 => process(),
        1 => lost(),
        1 => (number(), ".{0,40}").prop_map(|(id, path)| {
            EventBody::Cgroup(CgroupFact { id, path: path.into() })
        }),
        1 => (sock(), number(), state()).prop_map(|(tw, cookie, state)| {
            EventBody::TimewaitRearmed(TimewaitRearmed { tw, cookie, state })
        }),
        1 => any::<i64>().prop_map(|wall_ns| EventBody::Clock { wall_ns }),
        1 => Just(EventBody::Watermark),
    ]
}

/// Times that go forward mostly, and anywhere.
pub(crate) fn events() -> impl Strategy<Value = Vec<Event>> {
    let at = prop_oneof![4 => 0..1_000_000u64, 1 => any::<u64>()];
    vec((at, body()), 0..60).prop_map(|events| {
        let events = events.into_iter();
        events
            .map(|(at, body)| Event { at: Mono(at), body })
            .collect()
    })
}
