//! Ring buffer bytes to events. Total: what can't be understood is counted, never a panic.

use tracer_common::record::{FLAG_TWIN, FLAG_UNWANTED, NotARecord, ProcessSeen, Record};

use crate::engine::{
    Endpoint, Event, EventBody, FourTuple, Mono, Process, ProcessFact, ProcessName, SockId,
    StateChange, TcpState,
};

/// One ring buffer entry as an event.
#[inline]
pub fn event(bytes: &[u8]) -> Result<Event, NotARecord> {
    Ok(match Record::decode(bytes)? {
        Record::StateChange(record) => Event {
            at: Mono(record.ts_ns),
            body: EventBody::StateChange(StateChange {
                sock: SockId(record.sk),
                cookie: record.cookie,
                from: TcpState::from_number(record.oldstate),
                to: TcpState::from_number(record.newstate),
                tuple: FourTuple {
                    local: Endpoint {
                        address: record.saddr,
                        port: record.sport,
                    },
                    remote: Endpoint {
                        address: record.daddr,
                        port: record.dport,
                    },
                    family: record.family,
                },
                netns: record.netns,
                pid: record.tgid,
                twin: record.flags & FLAG_TWIN != 0,
                unwanted: record.flags & FLAG_UNWANTED != 0,
            }),
        },
        Record::ProcessSeen(record) => process(&record),
    })
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
