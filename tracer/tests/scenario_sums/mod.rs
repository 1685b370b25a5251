//! The events of a scenario as the kernel programs add them up where they stream nothing: the same
//! rules ([`tracer_common::books`]), over an ordinary map.

use std::{collections::HashMap, fmt::Write as _};

use tracer::engine::{
    DurationHistogram, EndReason, Event, EventBody, Minisock, Snapshot, TcpState,
};
use tracer_common::{
    books::{Books, Change, End, Heir, Life, Lives},
    sums::Sums,
};

#[derive(Default)]
struct Map(HashMap<u64, Life>);

impl Lives for &mut Map {
    fn get(&mut self, address: u64) -> Option<&mut Life> {
        self.0.get_mut(&address)
    }

    fn put(&mut self, address: u64, life: &Life) -> bool {
        self.0.insert(address, *life);
        true
    }

    fn put_new(&mut self, address: u64, life: &Life) -> bool {
        let is_new = !self.0.contains_key(&address);
        self.0.entry(address).or_insert(*life);
        is_new
    }

    fn remove(&mut self, address: u64) {
        self.0.remove(&address);
    }

    fn dwelt(&mut self, _state: u8, _us: u64) {}
}

/// What is counted of these.
pub fn sums(events: &[Event]) -> Sums {
    let (mut map, mut sums) = (Map::default(), Sums::default());
    let mut books = Books {
        lives: &mut map,
        sums: &mut sums,
    };
    for event in events {
        let at = event.at.0;
        match &event.body {
            EventBody::StateChange(c) if c.unwanted => books.forget(c.sock.0),
            EventBody::StateChange(c) => {
                let _ = books.change(&Change {
                    sk: c.sock.0,
                    at,
                    from: c.from as u8,
                    to: c.to as u8,
                    twin: c.twin,
                    evidence: c.evidence.unwrap_or_default(),
                    looked: c.evidence.is_some(),
                    port: c.tuple.local.port != 0,
                    heir: match c.minisock {
                        Some(Minisock::Made { tw, state }) => Heir {
                            tw: tw.0,
                            state: state as u8,
                            refused: None,
                        },
                        Some(Minisock::Refused(reason)) => Heir {
                            refused: Some(reason),
                            ..Heir::default()
                        },
                        Some(Minisock::Unseen) | None => Heir::default(),
                    },
                });
            }
            EventBody::TimewaitRearmed(r) => books.rearmed(r.tw.0, r.state as u8, at),
            EventBody::TimewaitEnd(e) => books.minisock_end(&End {
                tw: e.tw.0,
                at,
                state: e.state as u8,
                reason: e.reason,
                stamp: e.stamp.map(|s| s.0),
                timer_set: e.timer_set.map(|s| s.0),
            }),
            EventBody::Found(f) => {
                let entered = f.entered.map(|e| e.0);
                let _ = books.found(f.sock.0, f.state as u8, f.in_minisock, at, entered);
            }
            _ => {}
        }
    }
    sums
}

/// What a window and these sums both count, as text of the one and of the other.
pub fn both(snapshot: &Snapshot, sums: &Sums) -> [String; 2] {
    let totals = &snapshot.totals;
    let (c, failed) = (&totals.connections, &totals.connections.failed);
    let mut of_window = format!(
        "active={} passive={} preexisting={} unknown_starts={} unseen_ends={} refused={} timeout={} \
         other={} first={:?} never_created={}\n",
        c.active,
        c.passive,
        c.preexisting,
        c.unknown_starts,
        c.unseen_ends,
        failed.refused,
        failed.timeout,
        failed.other,
        totals.closed_first,
        totals.never_created,
    );
    let reason = |reason: EndReason| sums.ended[reason as usize];
    let mut of_sums = format!(
        "active={} passive={} preexisting={} unknown_starts={} unseen_ends={} refused={} timeout={} \
         other={} first={:?} never_created={}\n",
        sums.active,
        sums.passive,
        sums.preexisting,
        sums.unknown_starts,
        sums.unseen_ends,
        sums.refused,
        sums.timed_out,
        sums.failed_otherwise,
        &sums.closed_first[..totals.closed_first.len()],
        reason(EndReason::Overflow) + reason(EndReason::NoMemory),
    );
    for why in EndReason::ALL {
        let of =
            |map: &std::collections::BTreeMap<EndReason, u64>| map.get(&why).copied().unwrap_or(0);
        let name = why.name();
        writeln!(
            of_window,
            "{name} {} {}",
            of(&totals.ended),
            of(&totals.time_wait_ended)
        )
        .unwrap();
        let (ended, waited) = (reason(why), sums.time_wait_ended[why as usize]);
        writeln!(of_sums, "{name} {ended} {waited}").unwrap();
    }
    for state in TcpState::ALL {
        // A window that begins at 0 was there when a TIME_WAIT began that was found, and is stamped:
        // its beginning it did not see, here it is found.
        let figures = totals.state(state);
        let dwell = figures.dwell.as_deref();
        writeln!(
            of_window,
            "{state} before={} entered={} left={} unseen={} dwells={} min={:?} max={:?}",
            figures.found + figures.entered_unseen,
            figures.entered,
            figures.left,
            figures.left_unseen,
            dwell.map_or(0, DurationHistogram::count),
            dwell.and_then(DurationHistogram::min_us),
            dwell.and_then(DurationHistogram::max_us),
        )
        .unwrap();
        let stays = &sums.states[state.index()];
        let measured = stays.dwells > 0;
        writeln!(
            of_sums,
            "{state} before={} entered={} left={} unseen={} dwells={} min={:?} max={:?}",
            stays.found + stays.entered_unseen,
            stays.entered,
            stays.left,
            stays.left_unseen,
            stays.dwells,
            measured.then_some(!stays.not_min_us),
            measured.then_some(stays.max_us),
        )
        .unwrap();
    }
    [of_window, of_sums]
}
