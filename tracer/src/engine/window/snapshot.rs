//! A window's figures, all of them, at its end: what reports and findings are made of.

use std::{collections::BTreeMap, time::Duration};

use super::{
    super::{open::OpenSocket, state::TcpState, stuck::Cause, sysctl::Sysctls},
    GroupSet, Span,
    figures::{StateFigures, Totals},
    held::Holdings,
    waits::Waits,
};

/// Sockets in CLOSE_WAIT that are listed, the oldest.
pub const MAX_LISTED: usize = 100;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The window.
    pub span: Span,
    /// So much of it nobody watched: time between the recordings that it is made of.
    pub unwatched: Duration,
    /// All connections.
    pub totals: Totals,
    /// The same by process, port and remote.
    pub groups: GroupSet,
    /// Those in CLOSE_WAIT at its end.
    pub close_wait: OpenCloseWait,
    /// What they wait for, and what waits to be accepted.
    pub waits: Waits,
    /// What the open sockets hold.
    pub holdings: Holdings,
    /// The kernel's settings when the trace began.
    pub sysctls: Sysctls,
}

impl Snapshot {
    /// One state's figures.
    pub fn state(&self, state: TcpState) -> &StateFigures {
        self.totals.state(state)
    }
}

/// Who waits for this host's `close`.
#[derive(Clone, Debug, Default)]
pub struct OpenCloseWait {
    /// How many.
    pub open: u64,
    /// The oldest of them, [`MAX_LISTED`] at most; those of unknown age last.
    pub oldest: Vec<Waiting>,
    /// How many for which cause.
    pub by_cause: BTreeMap<Cause, u64>,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Waiting {
    /// The socket.
    pub open: OpenSocket,
    /// Why, as the latest look at it tells; unknown where it came later.
    pub cause: Cause,
    /// Of several hosts, which: the place in the order in which they were merged.
    pub host: usize,
}

/// Keeps the oldest of many.
#[derive(Debug, Default)]
pub(super) struct OldestFirst(OpenCloseWait);

impl OldestFirst {
    pub(super) fn take(&mut self, open: OpenSocket, cause: Cause) {
        self.0.open += 1;
        *self.0.by_cause.entry(cause).or_default() += 1;
        self.0.oldest.push(Waiting {
            open,
            cause,
            host: 0,
        });
        if self.0.oldest.len() >= 2 * MAX_LISTED {
            self.sort();
        }
    }

    pub(super) fn finish(mut self) -> OpenCloseWait {
        self.sort();
        self.0
    }

    fn sort(&mut self) {
        self.0.sort();
    }
}

impl OpenCloseWait {
    /// The oldest first, and no more than are listed.
    pub(super) fn sort(&mut self) {
        let order = |w: &Waiting| (std::cmp::Reverse(w.open.age), w.open.last.conn);
        self.oldest.sort_by_key(order);
        self.oldest.truncate(MAX_LISTED);
    }
}
