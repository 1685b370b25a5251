//! What a look at the sockets finds out beyond their being there: the facts that tell why one
//! lingers.

use std::{fmt, sync::Arc};

use super::{connection::SockId, state::TcpState, time::Mono, tuple::FourTuple};

/// A socket that lingers (or a listener), as it was when somebody looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// The socket, or the minisock.
    pub sock: SockId,
    /// Its cookie; 0: unknown.
    pub cookie: u64,
    /// Its state.
    pub state: TcpState,
    /// Both ends.
    pub tuple: FourTuple,
    /// Inode of the network namespace; 0: unknown.
    pub netns: u32,
    /// It was in its state at this time already.
    pub not_later: Option<Mono>,
    /// What the socket itself said; `None`: a minisock stands for it.
    pub inside: Option<Inside>,
    /// The descriptors of it that were seen: the first [`MAX_HOLDERS`].
    pub holders: Arc<[Holder]>,
    /// How many were seen in all.
    pub descriptors: u32,
}

/// Descriptors of one socket that are remembered.
pub const MAX_HOLDERS: usize = 32;

/// A full socket's own words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inside {
    /// Bytes that nobody read, the peer's FIN counted as one; of a listener: how many wait to be
    /// accepted.
    pub receive_queue: u32,
    /// Bytes that the peer has not acknowledged, our FIN counted as one; of a listener: how many may
    /// wait.
    pub send_queue: u32,
    /// Nothing more will come: the peer's FIN is there.
    pub receive_shut: bool,
    /// Its process has closed it.
    pub dead: bool,
    /// A file stands behind it: it was accepted, or made by `socket`.
    pub has_file: bool,
    /// Its user.
    pub uid: u32,
    /// References to its file: descriptors, and calls in progress; `None`: not known.
    pub references: Option<u32>,
    /// How often in a row what is unacknowledged was sent again; `None`: not known.
    pub retransmits: Option<u8>,
    /// When data came last (or the connection was opened).
    pub data_received: Option<Mono>,
    /// When data was sent last.
    pub data_sent: Option<Mono>,
}

/// One descriptor of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// The descriptor.
    pub fd: u32,
}

/// How many files a process has open, and whether it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// The process.
    pub pid: u32,
    /// Open now.
    pub open: u32,
    /// `RLIMIT_NOFILE`, soft; `None`: not known, or unlimited.
    pub limit: Option<u64>,
    /// Stopped, by a signal or by a debugger: it does nothing at all.
    pub stopped: bool,
}

/// A look has ended: what it did not show was not there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked {
    /// When it began.
    pub began: Mono,
    /// Network namespaces that were looked into.
    pub namespaces: u32,
    /// What was out of reach.
    pub unseen: Unseen,
}

/// Where a look could not look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unseen {
    /// Network namespaces that may not be entered.
    pub namespaces: u32,
    /// Those of processes that don't show theirs; some may be among the former.
    pub hidden: u32,
}

impl Unseen {
    /// Everything was in reach.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// The most of both.
    #[must_use]
    pub fn max(&self, other: &Self) -> Self {
        Self {
            namespaces: self.namespaces.max(other.namespaces),
            hidden: self.hidden.max(other.hidden),
        }
    }
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spaces = |count| match count {
            1 => "1 network namespace".to_owned(),
            _ => format!("{count} network namespaces"),
        };
        if self.namespaces > 0 {
            write!(
                f,
                "{} may not be entered (CAP_SYS_ADMIN)",
                spaces(self.namespaces)
            )?;
        }
        if self.hidden > 0 {
            let and = if self.namespaces > 0 { ", " } else { "" };
            write!(
                f,
                "{and}{} of processes that don't show theirs (CAP_SYS_PTRACE)",
                spaces(self.hidden)
            )?;
        }
        Ok(())
    }
}
