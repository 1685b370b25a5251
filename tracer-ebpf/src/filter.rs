//! Drops what is certainly not wanted, before it costs a place in the ring buffer.

use tracer_common::{
    filter::{Subject, Verdict},
    record::FLAG_UNWANTED,
};

use crate::{globals::HAS_FILTER, maps::FILTER};

/// What becomes of an event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is submitted, with these flags.
    Submit(u8),
    /// It is counted as filtered.
    Drop,
}

/// Decides. The subject is built only if there is a filter.
///
/// An opening that could not be decided was submitted. The next event of the socket decides: if the
/// socket is not wanted, that event still goes out, flagged, so that the opening is not kept for
/// ever.
#[inline(always)]
pub fn decide(oldstate: u8, subject: impl FnOnce() -> Subject) -> Fate {
    if HAS_FILTER.load() == 0 {
        return Fate::Submit(0);
    }
    let Some(filter) = FILTER.get(0) else {
        return Fate::Submit(0);
    };
    let subject = subject();
    if filter.verdict(&subject) != Verdict::Reject {
        return Fate::Submit(0);
    }
    match subject.at_opening(oldstate) {
        Some(opening) if filter.verdict(&opening) == Verdict::Undecided => {
            Fate::Submit(FLAG_UNWANTED)
        }
        _ => Fate::Drop,
    }
}
