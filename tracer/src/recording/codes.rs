//! The numbers by which a recording knows names. They never change: a new name takes the next one.

use crate::engine::{EndReason, OwnerSource};

/// By number. Append only.
const REASONS: [EndReason; 21] = [
    EndReason::Unknown,
    EndReason::Expired,
    EndReason::Reused,
    EndReason::SynRecycled,
    EndReason::Reset,
    EndReason::Purged,
    EndReason::Destroyed,
    EndReason::FinTimeout,
    EndReason::DataAfterClose,
    EndReason::Overflow,
    EndReason::NoMemory,
    EndReason::Closed,
    EndReason::Refused,
    EndReason::Unreachable,
    EndReason::Timeout,
    EndReason::NoPort,
    EndReason::Abandoned,
    EndReason::UnreadData,
    EndReason::Linger0,
    EndReason::Disconnected,
    EndReason::ListenerClosed,
];

/// By number. Append only.
const SOURCES: [OwnerSource; 7] = [
    OwnerSource::Unknown,
    OwnerSource::Listener,
    OwnerSource::Close,
    OwnerSource::FdScan,
    OwnerSource::Read,
    OwnerSource::Accept,
    OwnerSource::Connect,
];

/// The number of a reason. A match, so that a new one can't be forgotten.
pub(super) const fn reason_code(reason: EndReason) -> u8 {
    match reason {
        EndReason::Unknown => 0,
        EndReason::Expired => 1,
        EndReason::Reused => 2,
        EndReason::SynRecycled => 3,
        EndReason::Reset => 4,
        EndReason::Purged => 5,
        EndReason::Destroyed => 6,
        EndReason::FinTimeout => 7,
        EndReason::DataAfterClose => 8,
        EndReason::Overflow => 9,
        EndReason::NoMemory => 10,
        EndReason::Closed => 11,
        EndReason::Refused => 12,
        EndReason::Unreachable => 13,
        EndReason::Timeout => 14,
        EndReason::NoPort => 15,
        EndReason::Abandoned => 16,
        EndReason::UnreadData => 17,
        EndReason::Linger0 => 18,
        EndReason::Disconnected => 19,
        EndReason::ListenerClosed => 20,
    }
}

/// The reason of a number; one of a newer tool is unknown.
pub(super) fn reason(code: u8) -> EndReason {
    let known = REASONS.get(usize::from(code));
    known.copied().unwrap_or(EndReason::Unknown)
}

/// The number of a source.
pub(super) const fn source_code(source: OwnerSource) -> u8 {
    match source {
        OwnerSource::Unknown => 0,
        OwnerSource::Listener => 1,
        OwnerSource::Close => 2,
        OwnerSource::FdScan => 3,
        OwnerSource::Read => 4,
        OwnerSource::Accept => 5,
        OwnerSource::Connect => 6,
    }
}

/// The source of a number; one of a newer tool is unknown.
pub(super) fn source(code: u8) -> OwnerSource {
    let known = SOURCES.get(usize::from(code));
    known.copied().unwrap_or(OwnerSource::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_comes_back() {
        for (i, known) in REASONS.into_iter().enumerate() {
            assert_eq!(usize::from(reason_code(known)), i);
            assert_eq!(reason(reason_code(known)), known);
        }
        for (i, known) in SOURCES.into_iter().enumerate() {
            assert_eq!(usize::from(source_code(known)), i);
            assert_eq!(source(source_code(known)), known);
        }
        assert_eq!(reason(200), EndReason::Unknown);
    }
}
