//! Records from before the kernel programs had the filter: held against it here, by the same rules.

use tracer_common::{
    address::words,
    filter::{Subject, Verdict},
    record::{Record, StateChange},
    state::is_listener,
    timewait::{IntoTimewait, TimewaitEnd},
};

use crate::filter::Filter;

/// Whether a record is to be delivered. What is no change of a connection always is.
pub(super) fn is_wanted(bytes: &[u8], filter: &Filter) -> bool {
    let subject = match Record::decode(bytes) {
        Ok(Record::StateChange(change) | Record::IntoTimewait(IntoTimewait { change, .. })) => {
            of_change(&change)
        }
        Ok(Record::TimewaitEnd(end)) => of_end(&end),
        _ => return true,
    };
    filter.kernel.verdict(&subject) != Verdict::Reject
}

fn of_change(change: &StateChange) -> Subject {
    Subject {
        laddr: words(&change.saddr),
        raddr: words(&change.daddr),
        netns: change.netns,
        lport: change.sport,
        rport: change.dport,
        family: change.family,
        listens: u16::from(is_listener(change.oldstate, change.newstate)),
        reserved: [0; 2],
    }
}

fn of_end(end: &TimewaitEnd) -> Subject {
    Subject {
        laddr: words(&end.saddr),
        raddr: words(&end.daddr),
        netns: end.netns,
        lport: end.sport,
        rport: end.dport,
        family: end.family,
        listens: 0,
        reserved: [0; 2],
    }
}
