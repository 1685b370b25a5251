//! What the workload did: for each end of each connection, the transitions that the kernel must have
//! made, each with the time window it must lie in.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    thread,
};

use crate::{clock::Span, skip::is_scaled_down};

/// No upper bound: a softirq of the peer's answer, whenever that runs.
const OPEN: u64 = u64::MAX;

/// Which side an end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Side {
    /// Called `connect`.
    Active,
    /// Came out of a listener.
    Passive,
    /// A listener.
    Listener,
}

/// What identifies an end among the rows. `lport` 0: the workload could not know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) laddr: IpAddr,
    pub(crate) lport: u16,
    pub(crate) raddr: Option<IpAddr>,
    pub(crate) rport: u16,
}

/// One transition that must have happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    pub(crate) earliest: u64,
    pub(crate) latest: u64,
    /// It may come after the test: TIME_WAIT, and what only its end tells.
    pub(crate) late: bool,
}

/// One end of a connection, or a listener.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) side: Side,
    pub(crate) netns: u32,
    pub(crate) key: Key,
    pub(crate) steps: Vec<Step>,
    /// The process that holds the socket.
    pub(crate) pid: u32,
    /// How it ended.
    pub(crate) fate: Fate,
}

/// Who closed first, as this end sees it, and why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fate {
    /// `None`: it never was a connection.
    pub(crate) closed_first: Option<&'static str>,
    /// On the change to `CLOSE`; `None`: a listener.
    pub(crate) end_reason: Option<&'static str>,
}

/// The namespace goes, and with it what waits.
const FIRST: Fate = fate("local", "purged");
const SECOND: Fate = fate("remote", "closed");
const RESETS: Fate = fate("local_reset", "linger_0");
const WAS_RESET: Fate = fate("remote_reset", "reset");

const fn fate(closed_first: &'static str, end_reason: &'static str) -> Fate {
    Fate {
        closed_first: Some(closed_first),
        end_reason: Some(end_reason),
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The connecting side closed first, the other on end of file.
    ClientFirst,
    /// The accepting side closed first, the other on end of file.
    ServerFirst,
    /// The connecting side closed with a linger time of 0.
    ClientResets,
    /// The accepting side closed with a linger time of 0.
    ServerResets,
}

/// What was noted while a connection lived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// Around `connect`.
    pub(crate) connect: Span,
    /// `accept` had returned.
    pub(crate) accepted: u64,
    /// Around the first `close`.
    pub(crate) first_close: Span,
    /// The other side had seen the end of the file, or the reset.
    pub(crate) noticed: u64,
    /// Around the other side's `close`.
    pub(crate) second_close: Span,
}

/// All that was done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) ends: Vec<End>,
}

impl Ledger {
    /// How many transitions there must be.
    pub(crate) fn transitions(&self) -> usize {
        self.ends.iter().map(|end| end.steps.len()).sum()
    }

    /// Of these, those that may come after the test.
    pub(crate) fn late(&self) -> usize {
        let steps = self.ends.iter().flat_map(|end| &end.steps);
        steps.filter(|step| step.late).count()
    }

    /// How many ends were closed first by whom.
    pub(crate) fn closed_first(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for first in self.ends.iter().filter_map(|end| end.fate.closed_first) {
            *counts.entry(first.to_owned()).or_default() += 1;
        }
        counts
    }

    /// How often TIME_WAIT is entered.
    pub(crate) fn time_waits(&self) -> usize {
        let steps = self.ends.iter().flat_map(|end| &end.steps);
        steps.filter(|step| step.to == "TIME_WAIT").count()
    }

    /// As it shows where nobody tells of TIME_WAIT: the socket closes.
    pub(crate) fn without_time_wait(mut self) -> Self {
        for end in &mut self.ends {
            if let Some(step) = end.steps.iter_mut().find(|s| s.to == "TIME_WAIT") {
                step.to = "CLOSE";
                step.late = false;
                end.steps.retain(|s| s.from != "TIME_WAIT");
                end.fate.end_reason = Some("unknown");
            }
        }
        self
    }

    /// What so many threads did side by side, each by its number.
    pub(crate) fn of_threads(count: usize, act: impl Fn(usize) -> Self + Sync) -> Self {
        let (mut ledger, act) = (Self::default(), &act);
        thread::scope(|scope| {
            let threads: Vec<_> = (0..count).map(|i| scope.spawn(move || act(i))).collect();
            for thread in threads {
                ledger.absorb(thread.join().unwrap());
            }
        });
        ledger
    }

    /// Takes another's entries over.
    pub(crate) fn absorb(&mut self, other: Self) {
        self.ends.extend(other.ends);
    }

    /// Notes a connection, both ends.
    pub(crate) fn connection(
        &mut self,
        netns: u32,
        client: SocketAddr,
        server: SocketAddr,
        ending: Ending,
        facts: &Facts,
    ) {
        let Facts {
            connect,
            accepted,
            first_close,
            noticed,
            second_close,
        } = *facts;
        let mut active = vec![
            step("CLOSE", "SYN_SENT", connect.before, connect.after),
            step("SYN_SENT", "ESTABLISHED", connect.before, connect.after),
        ];
        let mut passive = vec![
            step("LISTEN", "SYN_RECV", connect.before, accepted),
            step("SYN_RECV", "ESTABLISHED", connect.before, accepted),
        ];
        let (first, second) = match ending {
            Ending::ClientFirst | Ending::ClientResets => (&mut active, &mut passive),
            Ending::ServerFirst | Ending::ServerResets => (&mut passive, &mut active),
        };
        match ending {
            Ending::ClientFirst | Ending::ServerFirst => {
                let (sent, answered) = (
                    done(first_close, noticed),
                    done(second_close, held(second_close)),
                );
                first.extend([
                    step("ESTABLISHED", "FIN_WAIT1", first_close.before, sent),
                    step("FIN_WAIT1", "FIN_WAIT2", first_close.before, OPEN),
                    // From a stamp of the kernel in ms, or from its timer in jiffies.
                    late("FIN_WAIT2", "TIME_WAIT", first_close.before - 10_000_000),
                    late("TIME_WAIT", "CLOSE", second_close.before),
                ]);
                second.extend([
                    step("ESTABLISHED", "CLOSE_WAIT", first_close.before, noticed),
                    step("CLOSE_WAIT", "LAST_ACK", second_close.before, answered),
                    step("LAST_ACK", "CLOSE", second_close.before, OPEN),
                ]);
            }
            Ending::ClientResets | Ending::ServerResets => {
                let sent = done(first_close, noticed);
                first.push(step("ESTABLISHED", "CLOSE", first_close.before, sent));
                second.push(step("ESTABLISHED", "CLOSE", first_close.before, noticed));
            }
        }
        let (fate_active, fate_passive) = match ending {
            Ending::ClientFirst => (FIRST, SECOND),
            Ending::ServerFirst => (SECOND, FIRST),
            Ending::ClientResets => (RESETS, WAS_RESET),
            Ending::ServerResets => (WAS_RESET, RESETS),
        };
        let (ours, theirs) = (key(client, Some(server)), key(server, Some(client)));
        self.note(Side::Active, netns, ours, active, fate_active);
        self.note(Side::Passive, netns, theirs, passive, fate_passive);
    }

    /// Notes a `connect` to a port where nobody listens.
    pub(crate) fn refused(
        &mut self,
        netns: u32,
        client: SocketAddr,
        server: SocketAddr,
        connect: Span,
    ) {
        let steps = vec![
            step("CLOSE", "SYN_SENT", connect.before, connect.after),
            step("SYN_SENT", "CLOSE", connect.before, connect.after),
        ];
        let fate = Fate {
            closed_first: None,
            end_reason: Some("refused"),
        };
        self.note(Side::Active, netns, key(client, Some(server)), steps, fate);
    }

    /// Notes a listener.
    pub(crate) fn listener(&mut self, netns: u32, address: SocketAddr, listen: Span, close: Span) {
        let steps = vec![
            step("CLOSE", "LISTEN", listen.before, listen.after),
            step("LISTEN", "CLOSE", close.before, done(close, held(close))),
        ];
        let fate = Fate {
            closed_first: None,
            end_reason: None,
        };
        self.note(Side::Listener, netns, key(address, None), steps, fate);
    }

    fn note(&mut self, side: Side, netns: u32, key: Key, steps: Vec<Step>, fate: Fate) {
        let pid = std::process::id();
        self.ends.push(End {
            side,
            netns,
            key,
            steps,
            pid,
            fate,
        });
    }
}

/// When a socket was closed at the latest, of which somebody has `seen` that it was. Whoever looks at open
/// files (another test's tool) has a file for a moment, and closes it if its owner has meanwhile. On an
/// emulated CPU that moment is long.
fn done(close: Span, seen: u64) -> u64 {
    if is_scaled_down() { seen } else { close.after }
}

/// When it was, if nobody can tell: no look at open files takes so long.
const fn held(close: Span) -> u64 {
    close.after + 1_000_000_000
}

fn step(from: &'static str, to: &'static str, earliest: u64, latest: u64) -> Step {
    Step {
        from,
        to,
        earliest,
        latest,
        late: false,
    }
}

fn late(from: &'static str, to: &'static str, earliest: u64) -> Step {
    Step {
        late: true,
        ..step(from, to, earliest, OPEN)
    }
}

fn key(local: SocketAddr, remote: Option<SocketAddr>) -> Key {
    Key {
        // v4-mapped counts as IPv4.
        laddr: local.ip().to_canonical(),
        lport: local.port(),
        raddr: remote.map(|r| r.ip().to_canonical()),
        rport: remote.map_or(0, |r| r.port()),
    }
}
