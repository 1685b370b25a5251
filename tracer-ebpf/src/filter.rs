//! Drops what is certainly not wanted, before it costs a place in the ring buffer.

use tracer_common::filter::{Subject, Verdict};

use crate::{globals::HAS_FILTER, maps::FILTER};

/// Whether the event may be dropped. The subject is built only if there is a filter.
#[inline(always)]
pub fn rejects(subject: impl FnOnce() -> Subject) -> bool {
    if HAS_FILTER.load() == 0 {
        return false;
    }
    let Some(filter) = FILTER.get(0) else {
        return false;
    };
    filter.verdict(&subject()) == Verdict::Reject
}
