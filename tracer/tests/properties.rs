//! What holds for the engine whatever comes: no panic, every state change told once or accounted
//! for, no dwell whose beginning was not seen.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scenario_figures;

use proptest::{collection::vec, prelude::*};
use tracer::engine::{
    DurationHistogram, EndReason, Endpoint, Engine, Event, EventBody, Found, FourTuple, Held,
    Limits, LostCount, Minisock, Mono, OwnerSource, Snapshot, SockId, StateChange, TcpState,
    TimewaitEnd, TimewaitRearmed, Update, Window,
};

fn endpoint() -> impl Strategy<Value = Endpoint> {
    (0..3u8, 0..3u16).prop_map(|(host, port)| Endpoint {
        address: if host == 0 {
            [0; 16]
        } else {
            tracer_common::address::mapped([10, 0, 0, host])
        },
        port,
    })
}

fn waiting() -> impl Strategy<Value = TcpState> {
    prop_oneof![Just(TcpState::FinWait2), Just(TcpState::TimeWait)]
}

fn minisock() -> impl Strategy<Value = Option<Minisock>> {
    prop_oneof![
        2 => Just(None),
        2 => (0..6u64, waiting()).prop_map(|(tw, state)| Some(Minisock::Made {
            tw: SockId(tw),
            state,
        })),
        1 => Just(Some(Minisock::Refused(EndReason::Overflow))),
        1 => Just(Some(Minisock::Unseen)),
    ]
}

fn moment() -> impl Strategy<Value = Option<Mono>> {
    prop::option::of((0..40_000_000_000u64).prop_map(Mono))
}

fn tuple() -> impl Strategy<Value = FourTuple> {
    (endpoint(), endpoint()).prop_map(|(local, remote)| FourTuple {
        local,
        remote,
        family: 2,
    })
}

fn minisock_end() -> impl Strategy<Value = EventBody> {
    let what = (0..6u64, 0..4u64, waiting(), tuple(), any::<bool>());
    (what, moment(), moment()).prop_map(|((tw, cookie, state, tuple, exact), stamp, timer_set)| {
        EventBody::TimewaitEnd(TimewaitEnd {
            tw: SockId(tw),
            cookie,
            state,
            tuple,
            netns: 0,
            reason: EndReason::Expired,
            stamp,
            timer_set,
            exact,
        })
    })
}

fn found() -> impl Strategy<Value = EventBody> {
    let what = (0..6u64, 0..4u64, 1..12u8, tuple(), 0..3u32);
    (what, any::<bool>(), moment()).prop_map(
        |((sock, cookie, state, tuple, pid), mini, entered)| {
            let state = TcpState::from_number(state);
            let waits = matches!(state, TcpState::FinWait2 | TcpState::TimeWait);
            EventBody::Found(Found {
                sock: SockId(sock),
                cookie,
                state,
                in_minisock: mini && waits,
                tuple,
                netns: 0,
                pid,
                entered: entered.filter(|_| state == TcpState::TimeWait),
            })
        },
    )
}

fn body() -> impl Strategy<Value = EventBody> {
    let change = (
        (0..6u64, 0..4u64, 0..16u8, 0..16u8),
        (endpoint(), endpoint()),
        (0..3u32, prop::bool::weighted(0.1)),
    );
    let change = (change, minisock()).prop_map(|(change, minisock)| {
        let ((sock, cookie, from, to), (local, remote), (pid, twin)) = change;
        EventBody::StateChange(StateChange {
            sock: SockId(sock),
            cookie,
            from: TcpState::from_number(from),
            to: TcpState::from_number(to),
            tuple: FourTuple {
                local,
                remote,
                family: 2,
            },
            netns: 0,
            pid,
            twin,
            unwanted: false,
            evidence: None,
            minisock: minisock.filter(|_| to == 7),
        })
    });
    prop_oneof![
        20 => change,
        4 => minisock_end(),
        2 => (0..6u64, 0..4u64, waiting()).prop_map(|(tw, cookie, state)| {
            EventBody::TimewaitRearmed(TimewaitRearmed { tw: SockId(tw), cookie, state })
        }),
        2 => found(),
        1 => (0..6u64, 0..4u64, 1..3u32).prop_map(|(sock, cookie, pid)| EventBody::Held(Held {
            sock: SockId(sock),
            cookie,
            pid,
            source: OwnerSource::Accept,
        })),
        1 => Just(EventBody::Watermark),
        1 => (0..9u64).prop_map(|ring_full| EventBody::Lost(LostCount {
            ring_full,
            ..LostCount::default()
        })),
    ]
}

/// Stamps may run backwards by a little: two CPUs.
fn events() -> impl Strategy<Value = Vec<Event>> {
    vec((0..200_000_000u64, body()), 0..300).prop_map(|steps| {
        let mut now = 1_000_000_000;
        let stamped = steps.into_iter().map(|(step, body)| {
            now += step / 2;
            Event {
                at: Mono(now - step % 1000),
                body,
            }
        });
        stamped.collect()
    })
}

fn play(events: &[Event], limit: usize) -> (Engine, Vec<Update>) {
    let mut engine = Engine::new(Limits {
        connections: limit,
        processes: 2,
    });
    let mut updates = Vec::new();
    for event in events {
        engine.handle_event(event, &mut updates);
    }
    engine.finish(&mut updates);
    (engine, updates)
}

/// What this window counts of it, which has to balance.
fn balanced(
    window: Window,
    events: &[Event],
    limit: usize,
) -> Result<(Engine, Snapshot), TestCaseError> {
    let (engine, updates) = play(events, limit);
    let end = events.iter().map(|e| e.at).max().unwrap_or_default();
    let snapshot = scenario_figures::snapshot(window, &engine, &updates, end);
    scenario_figures::balance(&snapshot).map_err(TestCaseError::fail)?;
    Ok((engine, snapshot))
}

proptest! {
    #[test]
    fn every_state_change_is_told_or_accounted_for(events in events(), limit in 0..8usize) {
        let (engine, updates) = play(&events, limit);
        let told = updates.iter().filter(|u| matches!(u, Update::Transition(_))).count() as u64;
        let ledger = engine.ledger();
        prop_assert_eq!(
            told + ledger.repeats + ledger.unchanged,
            ledger.delivered + ledger.implied
        );
        let irregular = updates.iter().filter(|u| matches!(u, Update::Irregular(_))).count();
        prop_assert_eq!(irregular as u64, ledger.irregular);
        prop_assert!(engine.open() <= limit);
    }

    #[test]
    fn a_window_balances_whatever_it_has_room_for(
        events in events(),
        limit in 0..8usize,
        room in 0..8usize,
    ) {
        balanced(Window::default().with_room(room), &events, limit)?;
    }

    #[test]
    fn a_window_balances_and_agrees_with_the_engine(events in events(), limit in 0..8usize) {
        let (engine, snapshot) = balanced(Window::default(), &events, limit)?;
        for state in TcpState::ALL {
            // A garbled opening is no life: the engine counts what nobody was in.
            if state == TcpState::Close || state == TcpState::Listen {
                continue;
            }
            let (counted, known) = (snapshot.state(state), engine.stats().state(state));
            prop_assert_eq!((state, counted.entered), (state, known.entered));
            prop_assert_eq!((state, counted.left), (state, known.left));
            let dwells = |d: Option<&DurationHistogram>| d.map_or(0, DurationHistogram::count);
            prop_assert_eq!(dwells(counted.dwell.as_deref()), dwells(known.dwell.as_ref()));
        }
    }

    #[test]
    fn a_dwell_is_the_time_since_the_same_connection_entered_the_state(events in events()) {
        let (_, updates) = play(&events, 100);
        for (i, update) in updates.iter().enumerate() {
            let Update::Transition(t) = update else { continue };
            let Some(dwell) = t.dwell else { continue };
            let before = updates[..i].iter().rev().find_map(|u| match u {
                Update::Transition(b) if b.conn == t.conn => Some(b),
                _ => None,
            });
            let Some(before) = before else {
                // Older than the trace, and stamped by the kernel.
                prop_assert_eq!(t.from, TcpState::TimeWait);
                continue;
            };
            prop_assert_eq!(before.to, t.from);
            prop_assert_eq!(t.at.since(before.at), dwell);
        }
    }

    #[test]
    fn the_same_events_give_the_same_updates(events in events()) {
        prop_assert_eq!(play(&events, 5).1, play(&events, 5).1);
    }
}
