//! A window's figures, all of them, at its end: what reports and findings are made of.

use super::{
    super::{open::OpenSocket, state::TcpState, sysctl::Sysctls},
    GroupSet, Span,
    figures::{StateFigures, Totals},
    held::Holdings,
};

/// Sockets in CLOSE_WAIT that are listed, the oldest.
pub const MAX_LISTED: usize = 100;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The window.
    pub span: Span,
    /// All connections.
    pub totals: Totals,
    /// The same by process, port and remote.
    pub groups: GroupSet,
    /// Those in CLOSE_WAIT at its end.
    pub close_wait: OpenCloseWait,
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
    pub oldest: Vec<OpenSocket>,
}

/// Keeps the oldest of many.
#[derive(Debug, Default)]
pub(super) struct OldestFirst(OpenCloseWait);

impl OldestFirst {
    pub(super) fn take(&mut self, open: OpenSocket) {
        self.0.open += 1;
        self.0.oldest.push(open);
        if self.0.oldest.len() >= 2 * MAX_LISTED {
            self.sort();
        }
    }

    pub(super) fn finish(mut self) -> OpenCloseWait {
        self.sort();
        self.0
    }

    fn sort(&mut self) {
        let order = |open: &OpenSocket| (std::cmp::Reverse(open.age), open.last.conn);
        self.0.oldest.sort_by_key(order);
        self.0.oldest.truncate(MAX_LISTED);
    }
}
