//! Kinds of events that come seldom, each by itself: number, length, fields in order.
//!
//! The place to add a kind: a number in [`code`], an arm in [`put`], an arm in [`get`]. A tool that does
//! not know the number skips the event. The place to add a field to a kind: at its end, read with
//! [`Cursor::number_or_default`], so that older recordings still have it, unknown. Neither needs a new
//! format version.

use std::sync::Arc;

use super::{
    bytes::{Corrupt, Cursor, put_bytes, put_varint},
    looks,
};
use crate::engine::{
    CgroupFact, Endpoint, EventBody, Found, FourTuple, LostCount, Mono, Process, ProcessFact,
    ProcessName, SockId, Sysctl, TcpState, TimewaitRearmed,
};

/// The numbers of the kinds. They never change.
mod code {
    pub(super) const REARMED: u64 = 1;
    pub(super) const PROCESS: u64 = 2;
    pub(super) const CGROUP: u64 = 3;
    pub(super) const FOUND: u64 = 4;
    pub(super) const LOST: u64 = 5;
    pub(super) const CLOCK: u64 = 6;
    pub(super) const INSPECTED: u64 = 7;
    pub(super) const DESCRIPTORS: u64 = 8;
    pub(super) const LOOKED: u64 = 9;
    pub(super) const SYSCTL: u64 = 10;
}

/// Appends what the event says to the empty `out`; its number. `None`: it has columns of its own
/// (`events.rs`).
pub(super) fn put(body: &EventBody, out: &mut Vec<u8>) -> Option<u64> {
    Some(match body {
        EventBody::StateChange(_)
        | EventBody::TimewaitEnd(_)
        | EventBody::Held(_)
        | EventBody::Watermark => return None,
        EventBody::TimewaitRearmed(rearmed) => {
            put_varint(out, rearmed.tw.0);
            put_varint(out, rearmed.cookie);
            put_state(out, rearmed.state);
            code::REARMED
        }
        EventBody::Process(fact) => {
            put_varint(out, u64::from(fact.pid));
            put_varint(out, u64::from(fact.process.uid));
            put_varint(out, fact.process.cgroup);
            put_bytes(out, &fact.process.name.0);
            code::PROCESS
        }
        EventBody::Cgroup(fact) => {
            put_varint(out, fact.id);
            put_bytes(out, fact.path.as_bytes());
            code::CGROUP
        }
        EventBody::Found(found) => {
            put_found(found, out);
            code::FOUND
        }
        EventBody::Lost(lost) => {
            put_lost(lost, out);
            code::LOST
        }
        EventBody::Clock { wall_ns } => {
            put_varint(out, wall_ns.cast_unsigned());
            code::CLOCK
        }
        EventBody::Sysctl(sysctl) => {
            put_varint(out, u64::from(sysctl.netns));
            put_bytes(out, sysctl.name.as_bytes());
            put_bytes(out, sysctl.value.as_bytes());
            code::SYSCTL
        }
        EventBody::Inspected(seen) => {
            looks::put_inspected(seen, out);
            code::INSPECTED
        }
        EventBody::Descriptors(files) => {
            looks::put_descriptors(files, out);
            code::DESCRIPTORS
        }
        EventBody::Looked(looked) => {
            looks::put_looked(looked, out);
            code::LOOKED
        }
    })
}

/// What an event of this number says; `None`: it is of a newer tool.
pub(super) fn get(number: u64, mut from: Cursor<'_>) -> Result<Option<EventBody>, Corrupt> {
    Ok(Some(match number {
        code::REARMED => EventBody::TimewaitRearmed(TimewaitRearmed {
            tw: SockId(from.varint()?),
            cookie: from.varint()?,
            state: state(&mut from)?,
        }),
        code::PROCESS => EventBody::Process(ProcessFact {
            pid: from.number()?,
            process: Process {
                uid: from.number()?,
                cgroup: from.varint()?,
                name: name(from.bytes()?)?,
            },
        }),
        code::CGROUP => {
            let id = from.varint()?;
            let path = text(&mut from)?;
            EventBody::Cgroup(CgroupFact { id, path })
        }
        code::FOUND => EventBody::Found(found(from)?),
        code::LOST => EventBody::Lost(lost(from)?),
        code::CLOCK => EventBody::Clock {
            wall_ns: from.varint()?.cast_signed(),
        },
        code::INSPECTED => EventBody::Inspected(Box::new(looks::inspected(&mut from)?)),
        code::DESCRIPTORS => EventBody::Descriptors(looks::descriptors(&mut from)?),
        code::SYSCTL => EventBody::Sysctl(Sysctl {
            netns: from.number()?,
            name: text(&mut from)?,
            value: text(&mut from)?,
        }),
        code::LOOKED => EventBody::Looked(looks::looked(&mut from)?),
        _ => return Ok(None),
    }))
}

fn put_found(found: &Found, out: &mut Vec<u8>) {
    put_varint(out, found.sock.0);
    put_varint(out, found.cookie);
    put_state(out, found.state);
    put_varint(out, u64::from(found.in_minisock));
    put_varint(out, u64::from(found.tuple.family));
    for end in [&found.tuple.local, &found.tuple.remote] {
        put_end(out, end);
    }
    put_varint(out, u64::from(found.netns));
    put_varint(out, u64::from(found.pid));
    put_moment(out, found.entered);
}

fn found(mut from: Cursor<'_>) -> Result<Found, Corrupt> {
    Ok(Found {
        sock: SockId(from.varint()?),
        cookie: from.varint()?,
        state: state(&mut from)?,
        in_minisock: from.varint()? != 0,
        tuple: FourTuple {
            family: from.number()?,
            local: end(&mut from)?,
            remote: end(&mut from)?,
        },
        netns: from.number()?,
        pid: from.number()?,
        entered: moment(&mut from)?,
    })
}

fn put_lost(lost: &LostCount, out: &mut Vec<u8>) {
    let LostCount {
        ring_full,
        recursion,
        map_full,
        decode,
        recording,
    } = *lost;
    for count in [ring_full, recursion, map_full, decode, recording] {
        put_varint(out, count);
    }
}

fn lost(mut from: Cursor<'_>) -> Result<LostCount, Corrupt> {
    Ok(LostCount {
        ring_full: from.number_or_default()?,
        recursion: from.number_or_default()?,
        map_full: from.number_or_default()?,
        decode: from.number_or_default()?,
        recording: from.number_or_default()?,
    })
}

/// One end of a connection.
pub(super) fn put_end(out: &mut Vec<u8>, end: &Endpoint) {
    out.extend_from_slice(&end.address);
    put_varint(out, u64::from(end.port));
}

/// A state by the kernel's number.
pub(super) fn put_state(out: &mut Vec<u8>, state: TcpState) {
    put_varint(out, state.index() as u64);
}

/// What [`put_state`] wrote.
pub(super) fn state(from: &mut Cursor<'_>) -> Result<TcpState, Corrupt> {
    Ok(TcpState::from_number(from.number()?))
}

/// What [`put_end`] wrote.
pub(super) fn end(from: &mut Cursor<'_>) -> Result<Endpoint, Corrupt> {
    Ok(Endpoint {
        address: from.array()?,
        port: from.number()?,
    })
}

/// As long as the kernel's paths and settings may be (`PATH_MAX`, and a page).
const MAX_TEXT: usize = 4096;

fn text(from: &mut Cursor<'_>) -> Result<Arc<str>, Corrupt> {
    let bytes = from.bytes()?;
    if bytes.len() > MAX_TEXT {
        return Err(Corrupt("a text is longer than any"));
    }
    let text = str::from_utf8(bytes);
    text.map(Arc::from)
        .map_err(|_| Corrupt("a text is not UTF-8"))
}

fn name(bytes: &[u8]) -> Result<ProcessName, Corrupt> {
    let name = bytes.try_into().map(ProcessName);
    name.map_err(|_| Corrupt("a process name has not 16 bytes"))
}

/// A moment that may be unknown.
pub(super) fn put_moment(out: &mut Vec<u8>, moment: Option<Mono>) {
    put_varint(out, u64::from(moment.is_some()));
    if let Some(moment) = moment {
        put_varint(out, moment.0);
    }
}

/// What [`put_moment`] wrote; unknown where the writer knew of no such field.
pub(super) fn moment(from: &mut Cursor<'_>) -> Result<Option<Mono>, Corrupt> {
    match from.number_or_default()? {
        0_u8 => Ok(None),
        _ => Ok(Some(Mono(from.varint()?))),
    }
}

/// Losses with their length before them, for where more follows.
pub(super) fn put_losses(lost: &LostCount, out: &mut Vec<u8>) {
    let mut fields = Vec::new();
    put_lost(lost, &mut fields);
    put_bytes(out, &fields);
}

/// What [`put_losses`] wrote.
pub(super) fn losses(from: &mut Cursor<'_>) -> Result<LostCount, Corrupt> {
    lost(Cursor::new(from.bytes()?))
}
