//! Mixed work for a namespace, large or small, and which rows are its own.

use std::{net::IpAddr, time::Duration};

use crate::{
    ledger::{Ending, Ledger},
    netns::{Netns, leave_waiting_ports},
    row::Row,
    workload::{Kind, Lane, Plan, What, run_pair},
};

/// How much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amount {
    /// Pairs of threads.
    pub(crate) pairs: usize,
    /// Connections of each.
    pub(crate) each: usize,
    /// The longest time from established to the first close.
    pub(crate) longest_hold: Duration,
}

/// A few dozen, of every kind.
pub(crate) const SMALL: Amount = Amount {
    pairs: 2,
    each: 36,
    longest_hold: Duration::from_millis(20),
};

/// A namespace that does so much, once it is let.
pub(crate) fn namespace(lane: Lane, amount: Amount) -> Netns<Ledger> {
    Netns::new(move |netns| work(netns, lane, amount))
}

/// Does it in this thread's namespace.
pub(crate) fn work(netns: u32, lane: Lane, amount: Amount) -> Ledger {
    leave_waiting_ports();
    Ledger::of_threads(amount.pairs, |pair| {
        run_pair(netns, lane, pair, &plans(lane, pair, amount))
    })
}

const KINDS: [Kind; 4] = [Kind::V4, Kind::V6, Kind::MappedClient, Kind::MappedServer];

/// Nine ways, so that each meets each of the four kinds, twice bound and not, in 72.
fn plans(lane: Lane, pair: usize, amount: Amount) -> Vec<Plan> {
    let refused_each = amount.each.div_ceil(9);
    let longest = u64::try_from(amount.longest_hold.as_millis()).unwrap();
    (0..amount.each)
        .map(|i| Plan {
            kind: KINDS[i % 4],
            what: match i % 9 {
                0 | 3 | 6 => What::Ends(Ending::ClientFirst),
                1 | 4 | 7 => What::Ends(Ending::ServerFirst),
                2 => What::Ends(Ending::ClientResets),
                5 => What::Ends(Ending::ServerResets),
                _ => What::Refused(lane.closed_port(pair * refused_each + i / 9)),
            },
            bind: (i / 4 + pair).is_multiple_of(2),
            talk: (i / 2) % 3 == 0,
            hold: Duration::from_millis(
                5 + u64::try_from(i * 37 + pair * 11).unwrap() % (longest - 4),
            ),
        })
        .collect()
}

/// The rows of some namespaces. The number of a namespace is given away again when it is gone, maybe
/// to another test's: the lane decides.
pub(crate) fn of_netns<'a>(rows: &'a [Row], netns: &[u32], lane: Lane) -> Vec<&'a Row> {
    let port = |port: Option<u16>| port.is_some_and(|p| lane.owns(p));
    rows.iter()
        .filter(|row| row.netns.is_some_and(|n| netns.contains(&n)))
        .filter(|row| port(row.lport) || port(row.rport))
        .collect()
}

/// The rows of a lane, where no namespace is told.
pub(crate) fn of_lane(rows: &[Row], lane: Lane) -> Vec<&Row> {
    let port = |port: Option<u16>| port.is_some_and(|p| lane.owns(p));
    let local = |ip: Option<IpAddr>| {
        ip.is_none_or(|ip| match ip {
            IpAddr::V4(v4) => v4.is_unspecified() || v4.is_loopback(),
            IpAddr::V6(v6) => v6.is_unspecified() || v6.is_loopback(),
        })
    };
    rows.iter()
        .filter(|row| port(row.lport) || port(row.rport))
        .filter(|row| local(row.laddr) && local(row.raddr))
        .collect()
}
