//! What a look at the sockets found, as rare events: the evidence that stuck sockets are judged by.

use super::{
    bytes::{Corrupt, Cursor, put_varint},
    rare::{end, moment, put_end, put_moment, put_state, state},
};
use crate::engine::{
    Descriptors, FourTuple, Holder, Inside, Inspected, Looked, MAX_HOLDERS, Mono, SockId, Unseen,
};

/// [`Inside`]'s bits.
mod bit {
    pub(super) const RECEIVE_SHUT: u64 = 1;
    pub(super) const DEAD: u64 = 2;
    pub(super) const HAS_FILE: u64 = 4;
}

pub(super) fn put_inspected(seen: &Inspected, out: &mut Vec<u8>) {
    put_varint(out, seen.sock.0);
    put_varint(out, seen.cookie);
    put_state(out, seen.state);
    put_varint(out, u64::from(seen.tuple.family));
    put_end(out, &seen.tuple.local);
    put_end(out, &seen.tuple.remote);
    put_varint(out, u64::from(seen.netns));
    put_moment(out, seen.not_later);
    put_varint(out, u64::from(seen.descriptors));
    let holders = &seen.holders[..seen.holders.len().min(MAX_HOLDERS)];
    put_varint(out, holders.len() as u64);
    for holder in holders {
        put_varint(out, u64::from(holder.pid));
        put_varint(out, u64::from(holder.fd));
    }
    put_varint(out, u64::from(seen.inside.is_some()));
    if let Some(inside) = &seen.inside {
        put_inside(inside, out);
    }
}

pub(super) fn inspected(from: &mut Cursor<'_>) -> Result<Inspected, Corrupt> {
    Ok(Inspected {
        sock: SockId(from.varint()?),
        cookie: from.varint()?,
        state: state(from)?,
        tuple: FourTuple {
            family: from.number()?,
            local: end(from)?,
            remote: end(from)?,
        },
        netns: from.number()?,
        not_later: moment(from)?,
        descriptors: from.number()?,
        holders: {
            let count: usize = from.number()?;
            if count > MAX_HOLDERS {
                return Err(Corrupt("a socket has too many holders"));
            }
            let holders: Result<Vec<_>, _> = (0..count).map(|_| holder(from)).collect();
            holders?.into()
        },
        inside: match from.number()? {
            0_u8 => None,
            _ => Some(inside(from)?),
        },
    })
}

fn holder(from: &mut Cursor<'_>) -> Result<Holder, Corrupt> {
    Ok(Holder {
        pid: from.number()?,
        fd: from.number()?,
    })
}

fn put_inside(inside: &Inside, out: &mut Vec<u8>) {
    put_varint(out, u64::from(inside.receive_queue));
    put_varint(out, u64::from(inside.send_queue));
    let bits = [
        (inside.receive_shut, bit::RECEIVE_SHUT),
        (inside.dead, bit::DEAD),
        (inside.has_file, bit::HAS_FILE),
    ];
    let bits = bits.iter().filter(|(is, _)| *is).map(|(_, bit)| bit);
    put_varint(out, bits.sum());
    put_varint(out, u64::from(inside.uid));
    put_count(out, inside.references.map(u64::from));
    put_count(out, inside.retransmits.map(u64::from));
    put_moment(out, inside.data_received);
    put_moment(out, inside.data_sent);
}

fn inside(from: &mut Cursor<'_>) -> Result<Inside, Corrupt> {
    let (receive_queue, send_queue) = (from.number()?, from.number()?);
    let bits = from.varint()?;
    Ok(Inside {
        receive_queue,
        send_queue,
        receive_shut: bits & bit::RECEIVE_SHUT != 0,
        dead: bits & bit::DEAD != 0,
        has_file: bits & bit::HAS_FILE != 0,
        uid: from.number()?,
        references: count(from)?,
        retransmits: count(from)?,
        data_received: moment(from)?,
        data_sent: moment(from)?,
    })
}

pub(super) fn put_descriptors(files: &Descriptors, out: &mut Vec<u8>) {
    put_varint(out, u64::from(files.pid));
    put_varint(out, u64::from(files.open));
    put_count(out, files.limit);
    put_varint(out, u64::from(files.stopped));
}

pub(super) fn descriptors(from: &mut Cursor<'_>) -> Result<Descriptors, Corrupt> {
    Ok(Descriptors {
        pid: from.number()?,
        open: from.number()?,
        limit: count(from)?,
        stopped: from.varint()? != 0,
    })
}

pub(super) fn put_looked(looked: &Looked, out: &mut Vec<u8>) {
    put_varint(out, looked.began.0);
    put_varint(out, u64::from(looked.namespaces));
    put_varint(out, u64::from(looked.unseen.namespaces));
    put_varint(out, u64::from(looked.unseen.hidden));
}

pub(super) fn looked(from: &mut Cursor<'_>) -> Result<Looked, Corrupt> {
    Ok(Looked {
        began: Mono(from.varint()?),
        namespaces: from.number()?,
        unseen: Unseen {
            namespaces: from.number()?,
            hidden: from.number_or_default()?,
        },
    })
}

/// A number that may be unknown: whether it is there, and it.
fn put_count(out: &mut Vec<u8>, count: Option<u64>) {
    put_varint(out, u64::from(count.is_some()));
    if let Some(count) = count {
        put_varint(out, count);
    }
}

fn count<T: TryFrom<u64>>(from: &mut Cursor<'_>) -> Result<Option<T>, Corrupt> {
    match from.number()? {
        0_u8 => Ok(None),
        _ => from.number().map(Some),
    }
}
