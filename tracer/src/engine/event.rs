//! All that the engine ever learns. A recording is a list of these.

use std::sync::Arc;

use super::{
    closing::{EndReason, Evidence},
    connection::SockId,
    inspected::{Descriptors, Inspected, Looked},
    loss::LostCount,
    owner::{OwnerSource, Process},
    state::TcpState,
    sysctl::Sysctl,
    time::Mono,
    tuple::FourTuple,
};

/// Something that happened, or was found out, at a point in kernel time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Mono,
    /// What.
    pub body: EventBody,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventBody {
    /// A socket changed its state.
    StateChange(StateChange),
    /// A minisock's timer was set anew.
    TimewaitRearmed(TimewaitRearmed),
    /// A minisock ended.
    TimewaitEnd(TimewaitEnd),
    /// A process was described.
    Process(ProcessFact),
    /// A cgroup was found to have this path.
    Cgroup(CgroupFact),
    /// A process was found to hold a socket.
    Held(Held),
    /// A socket was found that is older than the trace (or has been met already).
    Found(Found),
    /// A socket that lingers was looked into. Boxed: it is rare, and half as large again as the others.
    Inspected(Box<Inspected>),
    /// A process's open files were counted.
    Descriptors(Descriptors),
    /// A look at all sockets has ended.
    Looked(Looked),
    /// Events happened that were not delivered.
    Lost(LostCount),
    /// A setting of the kernel.
    Sysctl(Sysctl),
    /// The wall clock (ns since 1970, UTC) at this moment; taken again and again, so that a step of
    /// the clock shows.
    Clock {
        /// `CLOCK_REALTIME`, ns.
        wall_ns: i64,
    },
    /// Every event before this moment has been delivered (or lost), but for what a program was interrupted with
    /// between its stamp and its record.
    Watermark,
}

/// A change of state as the kernel reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// The socket's address: reused.
    pub sock: SockId,
    /// The socket's cookie, never reused; 0: unknown.
    pub cookie: u64,
    /// State left, as the kernel says.
    pub from: TcpState,
    /// State entered.
    pub to: TcpState,
    /// As far as it is set at this point.
    pub tuple: FourTuple,
    /// Inode of the network namespace; 0: unknown.
    pub netns: u32,
    /// The process that made the change; 0: not a process, or not known.
    pub pid: u32,
    /// It comes from the twin program, and may repeat what was delivered already.
    pub twin: bool,
    /// The filter does not want the connection after all: what is known of it may be forgotten.
    pub unwanted: bool,
    /// What the socket said of its end; on changes to `CLOSE`, where it could be asked.
    pub evidence: Option<Evidence>,
    /// On changes to `CLOSE`: a minisock took over, or should have.
    pub minisock: Option<Minisock>,
}

/// What takes over from a socket that is closed on both sides, or waits for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Minisock {
    /// It was made.
    Made {
        /// Its address.
        tw: SockId,
        /// `FIN_WAIT2` or `TIME_WAIT`.
        state: TcpState,
    },
    /// None was made.
    Refused(EndReason),
    /// There may be one: whoever looks now and then will tell ([`EventBody::Found`]).
    Unseen,
}

/// A minisock's timer was set anew: the FIN came, or something restarted the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimewaitRearmed {
    /// Its address.
    pub tw: SockId,
    /// The connection's cookie; 0: unknown.
    pub cookie: u64,
    /// The state it stands for now.
    pub state: TcpState,
}

/// A minisock's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimewaitEnd {
    /// Its address.
    pub tw: SockId,
    /// The connection's cookie; 0: unknown.
    pub cookie: u64,
    /// The state it stood for: `FIN_WAIT2` or `TIME_WAIT`.
    pub state: TcpState,
    /// Both ends.
    pub tuple: FourTuple,
    /// Inode of the network namespace; 0: unknown.
    pub netns: u32,
    /// Why.
    pub reason: EndReason,
    /// `tw_entry_stamp`, to the millisecond: when the minisock was made, or when its FIN came if
    /// that carried a timestamp option.
    pub stamp: Option<Mono>,
    /// When its timer was set last, to the jiffy, if that was for the time of TIME_WAIT.
    pub timer_set: Option<Mono>,
    /// Whether it is told when it happens, not when somebody looked.
    pub exact: bool,
}

/// A socket that was there when somebody looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The socket, or the minisock.
    pub sock: SockId,
    /// Its cookie; 0: unknown.
    pub cookie: u64,
    /// Its state.
    pub state: TcpState,
    /// Whether a minisock stands for it.
    pub in_minisock: bool,
    /// Both ends.
    pub tuple: FourTuple,
    /// Inode of the network namespace; 0: unknown.
    pub netns: u32,
    /// The only process that holds it; 0: unknown.
    pub pid: u32,
    /// When it entered its state, if the kernel stamped that.
    pub entered: Option<Mono>,
}

/// Who holds a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The socket.
    pub sock: SockId,
    /// Its cookie; 0: unknown.
    pub cookie: u64,
    /// The process.
    pub pid: u32,
    /// How it is known.
    pub source: OwnerSource,
}

/// Where a cgroup is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupFact {
    /// cgroup v2 id: the inode of its directory.
    pub id: u64,
    /// From the root of the hierarchy, `/system.slice/nginx.service`. Any text: whoever makes a
    /// cgroup names it.
    pub path: Arc<str>,
}

/// A process as the kernel describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessFact {
    /// Its id.
    pub pid: u32,
    /// The description.
    pub process: Process,
}
