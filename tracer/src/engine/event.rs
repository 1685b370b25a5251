//! All that the engine ever learns. A recording is a list of these.

use super::{
    connection::SockId, loss::LostCount, owner::Process, state::TcpState, time::Mono,
    tuple::FourTuple,
};

/// Something that happened, or was found out, at a point in kernel time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Mono,
    /// What.
    pub body: EventBody,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventBody {
    /// A socket changed its state.
    StateChange(StateChange),
    /// A process was described.
    Process(ProcessFact),
    /// Events happened that were not delivered.
    Lost(LostCount),
    /// The wall clock (ns since 1970, UTC) at this moment; taken again and again, so that a step of
    /// the clock shows.
    Clock {
        /// `CLOCK_REALTIME`, ns.
        wall_ns: i64,
    },
    /// Every event before this moment has been delivered (or lost).
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
}

/// A process as the kernel describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessFact {
    /// Its id.
    pub pid: u32,
    /// The description.
    pub process: Process,
}
