//! The table `connections`: a row for each, with its whole story. Listeners are none.

use std::{rc::Rc, sync::Arc};

use super::{
    super::row::{comm, known_address},
    column::{
        Column,
        Value::{Address, Bool, Int, Long, Rising, Text, Time, Word},
        column,
    },
    nanos,
};
use crate::engine::{Began, ClosedFirst, EndReason, Life, Outcome, TcpState};

/// One row.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) life: Life,
    /// When it ended, was found to have ended, or reading did; since 1970.
    pub(super) ts_ns: Option<i64>,
    pub(super) opened_ts_ns: Option<i64>,
    pub(super) boot_id: Option<Rc<str>>,
    pub(super) cgroup_path: Option<Arc<str>>,
}

impl Connection {
    fn began(&self) -> &'static str {
        match self.life.course.began {
            Began::Opened => "opened",
            Began::Found => "preexisting",
            Began::Unknown => "unknown",
            Began::Closed => "closed_before",
        }
    }

    fn is_closed(&self) -> bool {
        let life = &self.life;
        !life.course.failed(life.outcome) && life.course.is_closed(life.outcome)
    }

    fn outcome(&self) -> &'static str {
        let life = &self.life;
        match life.outcome {
            _ if life.course.failed(life.outcome) => "failed",
            _ if self.is_closed() => "closed",
            Outcome::Lost => "unseen",
            _ => "open",
        }
    }

    fn closed_first(&self) -> Option<&'static str> {
        let nobody = self.is_closed().then_some(ClosedFirst::Unknown);
        let first = self.life.course.closed_first.or(nobody);
        first.map(ClosedFirst::name)
    }

    fn is_open(&self) -> bool {
        matches!(self.life.outcome, Outcome::Open { .. })
    }

    /// How long it has been where it is: for those that are still there.
    fn age(&self) -> Option<i64> {
        let stay = self.life.stays.last().filter(|_| self.is_open())?;
        nanos(self.life.until.since(stay.from))
    }

    fn dwell(&self, state: TcpState) -> Option<i64> {
        nanos(self.life.dwell(state)?)
    }

    fn lasted(&self) -> Option<i64> {
        let opened = self.life.opened?;
        let ended = self.life.outcome == Outcome::Ended;
        ended.then(|| nanos(self.life.until.since(opened)))?
    }
}

pub(super) const COLUMNS: &[Column<Connection>] = &[
    column("boot_id", Text(|r| r.boot_id.as_deref().map(str::to_owned))),
    column("ts", Time(|r| r.ts_ns)),
    column("ts_ns", Rising(|r| r.ts_ns)),
    column("mono_ns", Rising(|r| Some(r.life.until.0.cast_signed()))),
    column("conn", Rising(|r| Some(r.life.last.conn?.0.cast_signed()))),
    column(
        "cookie",
        Long(|r| Some(r.life.last.cookie.cast_signed()).filter(|cookie| *cookie != 0)),
    ),
    column("began", Word(|r| Some(r.began()))),
    column("outcome", Word(|r| Some(r.outcome()))),
    // The change to CLOSE was seen: TIME_WAIT is over too.
    column("ended", Bool(|r| Some(r.life.outcome == Outcome::Ended))),
    column("opened_ts", Time(|r| r.opened_ts_ns)),
    column("opened_ts_ns", Long(|r| r.opened_ts_ns)),
    column("dur_ns", Long(Connection::lasted)),
    // Where it is, or was last.
    column("state", Word(|r| r.life.state().map(TcpState::name))),
    column("age_ns", Long(Connection::age)),
    column(
        "age_exact",
        Bool(|r| {
            let stay = r.life.stays.last().filter(|_| r.is_open());
            stay.map(|stay| stay.is_entry_known)
        }),
    ),
    column("closed_first", Word(Connection::closed_first)),
    column(
        "end_reason",
        Word(|r| r.life.course.end_reason.map(EndReason::name)),
    ),
    column("role", Word(|r| Some(r.life.course.role.name()))),
    column(
        "family",
        Int(|r| Some(r.life.last.tuple.version().number().into())),
    ),
    column(
        "laddr",
        Address(|r| known_address(&r.life.last.tuple.local)),
    ),
    column(
        "lport",
        Int(|r| r.life.last.tuple.local.port().map(Into::into)),
    ),
    column(
        "raddr",
        Address(|r| known_address(&r.life.last.tuple.remote)),
    ),
    column(
        "rport",
        Int(|r| r.life.last.tuple.remote.port().map(Into::into)),
    ),
    column(
        "netns",
        Long(|r| Some(r.life.last.netns.into()).filter(|inode| *inode != 0)),
    ),
    column(
        "pid",
        Long(|r| Some(r.life.last.owner.pid.into()).filter(|pid| *pid != 0)),
    ),
    column(
        "comm",
        Text(|r| comm(r.life.last.process.as_ref()).map(Into::into)),
    ),
    column(
        "owner_source",
        Word(|r| Some(r.life.last.owner.source.name())),
    ),
    column("uid", Long(|r| Some(r.life.last.process?.uid.into()))),
    column(
        "cgroup",
        Long(|r| Some(r.life.last.process?.cgroup.cast_signed()).filter(|id| *id != 0)),
    ),
    column(
        "cgroup_path",
        Text(|r| r.cgroup_path.as_deref().map(str::to_owned)),
    ),
    column("transitions", Long(|r| Some(r.life.transitions.into()))),
    column("exact", Bool(|r| Some(r.life.is_exact))),
    column("syn_sent_ns", Long(|r| r.dwell(TcpState::SynSent))),
    column("syn_recv_ns", Long(|r| r.dwell(TcpState::SynRecv))),
    column("established_ns", Long(|r| r.dwell(TcpState::Established))),
    column("fin_wait1_ns", Long(|r| r.dwell(TcpState::FinWait1))),
    column("fin_wait2_ns", Long(|r| r.dwell(TcpState::FinWait2))),
    column("closing_ns", Long(|r| r.dwell(TcpState::Closing))),
    column("time_wait_ns", Long(|r| r.dwell(TcpState::TimeWait))),
    column("close_wait_ns", Long(|r| r.dwell(TcpState::CloseWait))),
    column("last_ack_ns", Long(|r| r.dwell(TcpState::LastAck))),
];
