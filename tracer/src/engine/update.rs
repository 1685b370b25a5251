//! What the engine tells: each is complete in itself, so that a sink needs no table.

use std::time::Duration;

use super::{
    closing::{ClosedFirst, EndReason},
    connection::{ConnId, Role},
    event::CgroupFact,
    loss::LostCount,
    owner::{Owner, Process},
    state::TcpState,
    time::Mono,
    tuple::FourTuple,
};

/// Something to show.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// A connection changed its state.
    Transition(Transition),
    /// A state change that disagrees with what we knew. Its transition follows, without a dwell.
    Irregular(Irregularity),
    /// The connection is followed no longer: the filter does not want it.
    Forgotten(ConnId),
    /// A cgroup's path is known from here on.
    Cgroup(CgroupFact),
    /// Events were lost.
    Lost {
        /// When it was noticed; the loss is between this and the notice before.
        at: Mono,
        /// How many, by cause.
        lost: LostCount,
    },
    /// What the wall clock showed: times of day are told from the latest of these.
    Clock {
        /// When.
        at: Mono,
        /// `CLOCK_REALTIME`, ns since 1970.
        wall_ns: i64,
    },
}

/// A state change of a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    /// When.
    pub at: Mono,
    /// Which; `None` when the table was full and it is not followed.
    pub conn: Option<ConnId>,
    /// The socket's cookie; 0: unknown.
    pub cookie: u64,
    /// State left.
    pub from: TcpState,
    /// State entered.
    pub to: TcpState,
    /// Time spent in `from`; `None` when the entry was not seen.
    pub dwell: Option<Duration>,
    /// Where `dwell` is `None`: at least so long, because the connection was seen in `from` before.
    pub at_least: Option<Duration>,
    /// Both ends.
    pub tuple: FourTuple,
    /// Inode of the network namespace; 0: unknown.
    pub netns: u32,
    /// Which side opened.
    pub role: Role,
    /// Who holds it.
    pub owner: Owner,
    /// What is known of the owner.
    pub process: Option<Process>,
    /// Who closed first; `None` until it is known.
    pub closed_first: Option<ClosedFirst>,
    /// On changes to `CLOSE`: why.
    pub end_reason: Option<EndReason>,
    /// Nothing before it is missing: the opening of the connection, or a dwell that was measured at
    /// both ends.
    pub exact: bool,
}

impl Transition {
    /// One of which only this is known, for tests.
    #[cfg(test)]
    pub fn made(conn: u64, from: TcpState, to: TcpState) -> Self {
        Self {
            at: Mono(conn),
            conn: Some(ConnId(conn)),
            cookie: 0,
            from,
            to,
            dwell: None,
            at_least: None,
            tuple: FourTuple::default(),
            netns: 0,
            role: Role::Unknown,
            owner: Owner::UNKNOWN,
            process: None,
            closed_first: None,
            end_reason: None,
            exact: true,
        }
    }

    /// Whether it is a listener's, not a connection's.
    pub const fn is_listener(&self) -> bool {
        tracer_common::state::is_listener(self.from as u8, self.to as u8)
    }
}

/// A state change that does not follow from the one before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Irregularity {
    /// When.
    pub at: Mono,
    /// The connection as we knew it.
    pub conn: ConnId,
    /// The state we had it in.
    pub believed: TcpState,
    /// The state the kernel says it left; `Unknown` where it says nothing.
    pub from: TcpState,
    /// Whether the end of this connection was not seen: the socket turned out to be another, or can't
    /// be there any more.
    pub replaced: bool,
}
