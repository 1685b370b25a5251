//! Records from before the kernel programs had the filter: held against it here, by the same rules.

use tracer_common::{filter::Verdict, record::Record, state::is_listener, timewait::IntoTimewait};

use crate::{decode::tuple, filter::Filter};

/// Whether a record is to be delivered. What is no change of a connection always is.
pub(super) fn is_wanted(bytes: &[u8], filter: &Filter) -> bool {
    let subject = match Record::decode(bytes) {
        Ok(Record::StateChange(c) | Record::IntoTimewait(IntoTimewait { change: c, .. })) => {
            tuple((c.saddr, c.sport), (c.daddr, c.dport), c.family)
                .subject(c.netns, is_listener(c.oldstate, c.newstate))
        }
        Ok(Record::TimewaitEnd(end)) => {
            tuple((end.saddr, end.sport), (end.daddr, end.dport), end.family)
                .subject(end.netns, false)
        }
        _ => return true,
    };
    filter.kernel.verdict(&subject) != Verdict::Reject
}
