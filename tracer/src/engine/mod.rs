//! The pure heart: events in, updates out.
//!
//! No clock, no I/O, no lock, no async: time comes in with each event. The same events give the
//! same updates, whether they come from a kernel or from a file.

mod added_up;
mod adopt;
mod closing;
mod connection;
mod course;
mod ends;
mod event;
mod found;
mod histogram;
mod inspected;
mod limbo;
mod lives;
mod loss;
mod machine;
mod minisock;
mod open;
mod opening;
mod overdue;
mod owner;
mod sampled;
mod standing;
mod state;
mod stats;
mod step;
pub mod stuck;
mod sysctl;
mod table;
mod time;
mod tuple;
mod update;
mod window;

pub use added_up::AddedUp;
pub use closing::{ClosedFirst, EndReason, Evidence, closed_first, end_reason};
pub use connection::{ConnId, Role, SockId};
pub use course::{Began, Course, Outcome};
pub use event::{
    CgroupFact, Event, EventBody, Found, Held, Minisock, ProcessFact, StateChange, TimewaitEnd,
    TimewaitRearmed,
};
pub use histogram::DurationHistogram;
pub use inspected::{Descriptors, Holder, Inside, Inspected, Looked, MAX_HOLDERS, Unseen};
pub use lives::{Life, Lives, Stay};
pub use loss::{Account, LossLedger, LostCount};
pub use machine::{Engine, Limits};
pub use open::OpenSocket;
pub use owner::{Owner, OwnerSource, Process, ProcessName};
pub use state::{StateSet, TcpState, UnknownState};
pub use stats::{StateStats, Stats, TimeWaitStats};
pub use sysctl::{Sysctl, Sysctls};
pub use time::{Mono, OPENING_HOLD};
pub use tuple::{Endpoint, FourTuple, IpVersion};
pub use update::{Irregularity, Transition, Update};
pub use window::{
    Addend, Connections, Failed, GROUP_STATES, GroupKey, GroupRow, GroupSet, Groups, Holdings,
    LINGERS, MAX_GROUP_ROWS, MAX_LISTED, MAX_WAITS, OpenCloseWait, PortUse, Queue, Snapshot, Span,
    StateFigures, Timeline, Totals, Waiters, Waiting, Waits, Window,
};
