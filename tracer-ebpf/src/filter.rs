//! Drops what is certainly not wanted, before it costs a place in the ring buffer.

use tracer_common::{
    filter::{Subject, Verdict},
    record::FLAG_UNWANTED,
};

use crate::{globals::HAS_FILTER, maps::FILTER};

/// What becomes of an event.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Fate {
    /// It is submitted.
    Submit = 0,
    /// It is submitted, flagged as not wanted.
    SubmitUnwanted = 1,
    /// It is counted as filtered.
    Drop = 2,
}

impl Fate {
    /// The record's flags.
    #[inline(always)]
    pub fn flags(self) -> u8 {
        match self {
            Self::SubmitUnwanted => FLAG_UNWANTED,
            Self::Submit | Self::Drop => 0,
        }
    }
}

/// Decides; `fate` is asked only if there is a filter.
#[inline(always)]
pub fn decide(fate: impl FnOnce() -> Fate) -> Fate {
    if HAS_FILTER.load() == 0 {
        Fate::Submit
    } else {
        fate()
    }
}

/// Holds the filter against what is known of the socket that now leaves `oldstate`.
///
/// An opening that could not be decided was submitted. The next event of the socket decides: if the
/// socket is not wanted, that event still goes out, flagged, so that the opening is not kept for
/// ever.
#[inline(always)]
pub fn fate(oldstate: u8, subject: &Subject) -> Fate {
    let Some(filter) = FILTER.get(0) else {
        return Fate::Submit;
    };
    if filter.verdict(subject) != Verdict::Reject {
        return Fate::Submit;
    }
    match subject.at_opening(oldstate) {
        Some(opening) if filter.verdict(&opening) == Verdict::Undecided => Fate::SubmitUnwanted,
        _ => Fate::Drop,
    }
}

/// Whether it is wanted for sure: where nobody decides later, who stays undecided is not.
#[inline(always)]
pub fn passes(subject: impl FnOnce() -> Subject) -> bool {
    if HAS_FILTER.load() == 0 {
        return true;
    }
    let Some(filter) = FILTER.get(0) else {
        return true;
    };
    filter.verdict(&subject()) == Verdict::Pass
}

/// Whether a minisock, or a socket that is established, is wanted: everything is known of it.
#[inline(always)]
pub fn wants(subject: impl FnOnce() -> Subject) -> bool {
    if HAS_FILTER.load() == 0 {
        return true;
    }
    let Some(filter) = FILTER.get(0) else {
        return true;
    };
    filter.verdict(&subject()) != Verdict::Reject
}
