//! Puts what a look showed in order with what the ring told meanwhile.

use crate::engine::{Event, EventBody, Mono};

/// Sorts by time what came from the ring, and with it what was seen.
///
/// A process is described once, before its first event in the ring; an event that another CPU stamped
/// before that may still come after it, and must not get ahead of it here.
pub fn merge(ring: &mut Vec<Event>, first: usize, seen: &mut Vec<Event>) {
    let mut earliest = Mono(u64::MAX);
    for event in ring[first..].iter_mut().rev() {
        if matches!(event.body, EventBody::Process(_)) {
            event.at = event.at.min(earliest);
        }
        earliest = earliest.min(event.at);
    }
    ring.append(seen);
    ring[first..].sort_by_key(|event| event.at);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Process, ProcessFact};

    fn watermark(at: u64) -> Event {
        Event {
            at: Mono(at),
            body: EventBody::Watermark,
        }
    }

    fn process(at: u64) -> Event {
        Event {
            at: Mono(at),
            body: EventBody::Process(ProcessFact {
                pid: 7,
                process: Process::default(),
            }),
        }
    }

    #[test]
    fn a_process_stays_before_its_events() {
        let mut ring = vec![watermark(1), process(30), watermark(20), watermark(30)];
        merge(&mut ring, 0, &mut vec![watermark(25)]);
        let order: Vec<(u64, bool)> = ring
            .iter()
            .map(|e| (e.at.0, matches!(e.body, EventBody::Process(_))))
            .collect();
        let expected = [
            (1, false),
            (20, true),
            (20, false),
            (25, false),
            (30, false),
        ];
        assert_eq!(order, expected);
    }

    #[test]
    fn what_came_before_stays() {
        let mut ring = vec![watermark(9), watermark(5)];
        merge(&mut ring, 1, &mut vec![watermark(4)]);
        assert_eq!(ring, [watermark(9), watermark(4), watermark(5)]);
    }
}
