//! The table `transitions`: a row for each.

use std::{rc::Rc, sync::Arc};

use super::{
    super::row::{comm, known_address, local_address},
    column::{
        Column,
        Value::{Address, Bool, Int, Long, Rising, Text, Time, Word},
        column,
    },
    nanos,
};
use crate::engine::{ClosedFirst, EndReason, TcpState, Transition};

/// One row.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) t: Transition,
    /// Since 1970.
    pub(super) ts_ns: Option<i64>,
    pub(super) boot_id: Option<Rc<str>>,
    /// The state that the connection was known to be in.
    pub(super) known: Option<TcpState>,
    pub(super) cgroup_path: Option<Arc<str>>,
    /// Events that were lost since the row before.
    pub(super) lost_before: u64,
}

pub(super) const COLUMNS: &[Column<Change>] = &[
    column("boot_id", Text(|r| r.boot_id.as_deref().map(str::to_owned))),
    column("ts", Time(|r| r.ts_ns)),
    column("ts_ns", Rising(|r| r.ts_ns)),
    column("mono_ns", Rising(|r| Some(r.t.at.0.cast_signed()))),
    column("conn", Rising(|r| Some(r.t.conn?.0.cast_signed()))),
    column(
        "cookie",
        Long(|r| Some(r.t.cookie.cast_signed()).filter(|cookie| *cookie != 0)),
    ),
    // The state that `dur_ns` is of.
    column(
        "prev_state",
        Word(|r| {
            let measured = r.t.dwell.map(|_| r.t.from);
            measured.or(r.known).map(TcpState::name)
        }),
    ),
    column("old_state", Word(|r| Some(r.t.from.name()))),
    column("new_state", Word(|r| Some(r.t.to.name()))),
    column("dur_ns", Long(|r| nanos(r.t.dwell?))),
    // As reports count: whole microseconds.
    column(
        "dur_us",
        Long(|r| i64::try_from(r.t.dwell?.as_micros()).ok()),
    ),
    column("dur_at_least_ns", Long(|r| nanos(r.t.at_least?))),
    column("family", Int(|r| Some(r.t.tuple.version().number().into()))),
    column("laddr", Address(|r| local_address(&r.t))),
    column("lport", Int(|r| r.t.tuple.local.port().map(Into::into))),
    column("raddr", Address(|r| known_address(&r.t.tuple.remote))),
    column("rport", Int(|r| r.t.tuple.remote.port().map(Into::into))),
    column(
        "netns",
        Long(|r| Some(r.t.netns.into()).filter(|inode| *inode != 0)),
    ),
    column("role", Word(|r| Some(r.t.role.name()))),
    column(
        "pid",
        Long(|r| Some(r.t.owner.pid.into()).filter(|pid| *pid != 0)),
    ),
    column("comm", Text(|r| comm(r.t.process.as_ref()).map(Into::into))),
    column("owner_source", Word(|r| Some(r.t.owner.source.name()))),
    column("uid", Long(|r| Some(r.t.process?.uid.into()))),
    column(
        "cgroup",
        Long(|r| Some(r.t.process?.cgroup.cast_signed()).filter(|id| *id != 0)),
    ),
    column(
        "cgroup_path",
        Text(|r| r.cgroup_path.as_deref().map(str::to_owned)),
    ),
    column(
        "closed_first",
        Word(|r| r.t.closed_first.map(ClosedFirst::name)),
    ),
    column("end_reason", Word(|r| r.t.end_reason.map(EndReason::name))),
    column("exact", Bool(|r| Some(r.t.exact))),
    column("lost_before", Long(|r| i64::try_from(r.lost_before).ok())),
];
