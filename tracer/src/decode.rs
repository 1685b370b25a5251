//! Ring buffer bytes to events. Total: what can't be understood is counted, never a panic.

use tracer_common::{
    address::Address,
    record::{
        FLAG_DEAD, FLAG_LOOKED, FLAG_NO_FILE, FLAG_RCV_SHUTDOWN, FLAG_SEND_SHUTDOWN, FLAG_TWIN,
        FLAG_UNWANTED, HELD_ACCEPT, NotARecord, ProcessSeen, Record, SocketHeld,
        StateChange as StateRecord,
    },
    state::{CLOSE, CLOSING, FIN_WAIT2},
    timewait::{
        self, IntoTimewait, OUTCOME_MADE, OUTCOME_NO_MEMORY, OUTCOME_OVERFLOW, OUTCOME_UNTOLD,
        TimewaitEnd as EndRecord,
    },
};

use crate::{
    engine::{
        EndReason, Endpoint, Event, EventBody, Evidence, FourTuple, Held, Minisock, Mono,
        OwnerSource, Process, ProcessFact, ProcessName, SockId, StateChange, TcpState, TimewaitEnd,
        TimewaitRearmed,
    },
    stack::{self, Symbols, Verdict},
};

/// What of the kernel one must know to understand its records.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    /// Where the functions are that a stack is read by.
    pub symbols: Symbols,
    /// Jiffies in a second; `None`: not known.
    pub hz: Option<u32>,
    /// Nobody tells of minisocks, but somebody looks now and then.
    pub sampled: bool,
}

impl Decoder {
    /// One ring buffer entry as an event.
    #[inline]
    pub fn event(&self, bytes: &[u8]) -> Result<Event, NotARecord> {
        Ok(match Record::decode(bytes)? {
            Record::StateChange(record) => change(&record, self.unseen(&record), None),
            Record::Aborted(record) => {
                let reason = self.symbols.aborted(&record.stack);
                change(&record.change, None, Some(reason))
            }
            Record::IntoTimewait(record) => into_timewait(&record),
            Record::ProcessSeen(record) => process(&record),
            Record::TimewaitEnd(record) => self.timewait_end(&record),
            Record::TimewaitRearmed(record) => rearmed(
                record.ts_ns,
                SockId(record.tw),
                record.cookie,
                TcpState::from_number(record.substate),
            ),
            Record::SocketHeld(record) => held(&record),
        })
    }

    /// Where minisocks are sampled: one may have taken over from this socket.
    fn unseen(&self, record: &StateRecord) -> Option<Minisock> {
        let may_wait = record.newstate == CLOSE
            && matches!(record.oldstate, FIN_WAIT2 | CLOSING)
            && record.err == 0;
        (self.sampled && may_wait).then_some(Minisock::Unseen)
    }

    /// The stack decides whether it is an end at all.
    fn timewait_end(&self, record: &EndRecord) -> Event {
        let state = TcpState::from_number(record.substate);
        let (tw, cookie) = (SockId(record.tw), record.cookie);
        let nearest = self.symbols.nearest(&record.stack);
        let reason = match stack::verdict(nearest, state) {
            Verdict::Rearmed => return rearmed(record.ts_ns, tw, cookie, state),
            Verdict::Ended(reason) => reason,
        };
        let at = Mono(record.ts_ns);
        Event {
            at,
            body: EventBody::TimewaitEnd(TimewaitEnd {
                tw,
                cookie,
                state,
                tuple: tuple(
                    (record.saddr, record.sport),
                    (record.daddr, record.dport),
                    record.family,
                ),
                netns: record.netns,
                reason,
                stamp: stamp(at, record.entry_stamp),
                timer_set: self
                    .hz
                    .filter(|_| state == TcpState::TimeWait)
                    .and_then(|hz| timer_set(at, record.remaining, hz)),
                exact: true,
            }),
        }
    }
}

/// `tw_entry_stamp` has the low 32 bits of the clock in ms.
pub(crate) fn stamp(at: Mono, entry_stamp: u32) -> Option<Mono> {
    timewait::stamped(at.0, entry_stamp).map(Mono)
}

/// When a timer was set that had `remaining` jiffies of TIME_WAIT's time to go.
fn timer_set(at: Mono, remaining: i32, hz: u32) -> Option<Mono> {
    timewait::timer_set(at.0, remaining, hz).map(Mono)
}

/// Both ends of a record.
pub(crate) fn tuple(local: (Address, u16), remote: (Address, u16), family: u16) -> FourTuple {
    let end = |(address, port)| Endpoint { address, port };
    FourTuple {
        local: end(local),
        remote: end(remote),
        family,
    }
}

#[inline]
fn change(record: &StateRecord, minisock: Option<Minisock>, by_stack: Option<EndReason>) -> Event {
    let has = |flag| record.flags & flag != 0;
    Event {
        at: Mono(record.ts_ns),
        body: EventBody::StateChange(StateChange {
            sock: SockId(record.sk),
            cookie: record.cookie,
            from: TcpState::from_number(record.oldstate),
            to: TcpState::from_number(record.newstate),
            tuple: tuple(
                (record.saddr, record.sport),
                (record.daddr, record.dport),
                record.family,
            ),
            netns: record.netns,
            pid: record.tgid,
            twin: has(FLAG_TWIN),
            unwanted: has(FLAG_UNWANTED),
            evidence: has(FLAG_LOOKED).then(|| Evidence {
                err: record.err,
                shut_both: has(FLAG_RCV_SHUTDOWN) && has(FLAG_SEND_SHUTDOWN),
                has_file: !has(FLAG_NO_FILE),
                dead: has(FLAG_DEAD),
                unread: record.unread,
                by_stack,
            }),
            minisock,
        }),
    }
}

fn into_timewait(record: &IntoTimewait) -> Event {
    let minisock = match record.outcome {
        OUTCOME_MADE => Minisock::Made {
            tw: SockId(record.tw),
            state: TcpState::from_number(record.substate),
        },
        OUTCOME_OVERFLOW => Minisock::Refused(EndReason::Overflow),
        OUTCOME_NO_MEMORY => Minisock::Refused(EndReason::NoMemory),
        OUTCOME_UNTOLD => Minisock::Unseen,
        _ => Minisock::Refused(EndReason::Unknown),
    };
    change(&record.change, Some(minisock), None)
}

fn rearmed(ts_ns: u64, tw: SockId, cookie: u64, state: TcpState) -> Event {
    Event {
        at: Mono(ts_ns),
        body: EventBody::TimewaitRearmed(TimewaitRearmed { tw, cookie, state }),
    }
}

fn held(record: &SocketHeld) -> Event {
    Event {
        at: Mono(record.ts_ns),
        body: EventBody::Held(Held {
            sock: SockId(record.sk),
            cookie: record.cookie,
            pid: record.tgid,
            source: if record.how == HELD_ACCEPT {
                OwnerSource::Accept
            } else {
                OwnerSource::Read
            },
        }),
    }
}

fn process(record: &ProcessSeen) -> Event {
    Event {
        at: Mono(record.ts_ns),
        body: EventBody::Process(ProcessFact {
            pid: record.tgid,
            process: Process {
                name: ProcessName(record.facts.comm),
                uid: record.facts.uid,
                cgroup: record.facts.cgroup,
            },
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_milliseconds_modulo_2_to_the_32() {
        let at = Mono(5_740_599_000_000);
        assert_eq!(stamp(at, 5_740_499), Some(Mono(5_740_499_000_000)));
        let wrapped = Mono((u64::from(u32::MAX) + 61) * 1_000_000);
        let expected = (u64::from(u32::MAX) - 9) * 1_000_000;
        assert_eq!(stamp(wrapped, u32::MAX - 9), Some(Mono(expected)));
        assert_eq!(stamp(at, 0), None);
        assert_eq!(stamp(at, 5_740_700), None);
    }

    #[test]
    fn what_the_kernel_side_cannot_tell_is_no_refusal() {
        let minisock = |outcome| {
            let event = into_timewait(&IntoTimewait {
                outcome,
                ..IntoTimewait::default()
            });
            match event.body {
                EventBody::StateChange(change) => change.minisock,
                _ => None,
            }
        };
        let refused = Some(Minisock::Refused(EndReason::Overflow));
        assert_eq!(minisock(OUTCOME_OVERFLOW), refused);
        assert_eq!(minisock(OUTCOME_UNTOLD), Some(Minisock::Unseen));
    }

    #[test]
    fn the_timer_says_when_it_was_set() {
        let at = Mono(100_000_000_000);
        // 250 jiffies a second, overdue by one second.
        assert_eq!(timer_set(at, -250, 250), Some(Mono(39_000_000_000)));
        assert_eq!(timer_set(at, 15_000, 250), Some(at));
        assert_eq!(timer_set(Mono(5), 0, 250), None);
    }
}
