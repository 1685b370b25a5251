//! The sockets that are there when somebody looks. At the start it is taken after attaching: what
//! changes meanwhile is told by its event, and what the engine has met already it does not take for
//! older.

use std::{collections::BTreeSet, sync::mpsc, time::Duration};

use anyhow::Result;
use hashbrown::HashMap;
use tracer_common::{
    filter::Verdict,
    snapshot::{FOUND_DEAD, FOUND_FULL, SocketFound},
    state::{LISTEN, NEW_SYN_RECV},
};

use super::{
    holders::Holders,
    iterators,
    namespaces::{self, Namespaces},
    process, sock_diag,
};
use crate::{
    clock, decode,
    ebpf::Iterate,
    engine::{
        Descriptors, Event, EventBody, Found, FourTuple, Inside, Inspected, Looked, Mono,
        ProcessFact, SockId, TcpState, Unseen, stuck::LINGERING,
    },
    filter::Filter,
};

/// What was found.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Facts about the processes, then the sockets, each at its time.
    pub events: Vec<Event>,
    /// How many network namespaces were looked into.
    pub namespaces: usize,
    /// What is out of reach.
    pub unseen: Unseen,
    /// Processes whose descriptors may not be read: what they hold is not known.
    pub unreadable: usize,
}

/// One pass over all sockets and files, however it was made.
#[derive(Debug, Default)]
pub(super) struct Pass {
    pub(super) began: Mono,
    pub(super) sockets: Vec<SocketFound>,
    pub(super) holders: Holders,
    /// Files that each process has open.
    pub(super) open_files: HashMap<u32, u32>,
    /// The unit of the ages in `sockets`.
    pub(super) jiffy: Option<Duration>,
    pub(super) namespaces: usize,
    pub(super) unseen: Unseen,
    /// Processes whose descriptors may not be read.
    pub(super) unreadable: usize,
}

impl Pass {
    /// The sockets alone, of each of these namespaces. `look` is told what [`namespaces::visit`] tells.
    pub(super) fn of_sockets(
        began: Mono,
        namespaces: Namespaces,
        mut look: impl FnMut(usize, u32) -> Result<Vec<SocketFound>> + Send + 'static,
    ) -> Result<Self> {
        let (tell, told) = mpsc::channel();
        let (entered, unseen) = namespaces::visit(namespaces, move |place, netns| {
            let found = look(place, netns)?;
            // Whoever waits for them waits until we have ended.
            let _ = tell.send(found);
            Ok(())
        })?;
        Ok(Self {
            began,
            sockets: told.into_iter().flatten().collect(),
            jiffy: clock::jiffy(),
            namespaces: entered,
            unseen,
            ..Self::default()
        })
    }
}

/// What a look is taken with.
pub enum Means<'a> {
    /// Iterators that are loaded.
    Iterators(&'a mut dyn Iterate),
    /// Nothing but the kernel's ordinary interfaces.
    SockDiag,
}

/// Looks into every network namespace that can be reached. `without`: a bit for each state that is
/// left out.
pub fn take(means: Means<'_>, without: u32, filter: &Filter) -> Result<Snapshot> {
    let pass = match means {
        Means::Iterators(iterate) => iterators::pass(iterate, without)?,
        Means::SockDiag => sock_diag::pass(without)?,
    };
    Ok(Snapshot::new(&pass, filter))
}

/// Whether `sock_diag` answers.
pub fn try_sock_diag() -> Result<()> {
    sock_diag::dump(0, !(1 << LISTEN), &mut Vec::new())
}

impl Snapshot {
    /// What these sockets say by themselves: nobody is known to hold them. `jiffy` is the unit of their
    /// ages.
    pub fn of_sockets(sockets: Vec<SocketFound>, jiffy: Option<Duration>) -> Self {
        let pass = Pass {
            sockets,
            jiffy,
            ..Pass::default()
        };
        Self::new(&pass, &Filter::default())
    }

    pub(super) fn new(pass: &Pass, filter: &Filter) -> Self {
        let mut snapshot = Self {
            namespaces: pass.namespaces,
            unseen: pass.unseen,
            unreadable: pass.unreadable,
            ..Self::default()
        };
        let mut pids = BTreeSet::new();
        let mut counted = BTreeSet::new();
        for socket in &pass.sockets {
            let found = found(socket, &pass.holders, filter);
            let wanted = found.is_some()
                || socket.state == LISTEN
                || (socket.state == NEW_SYN_RECV && passes(socket, filter));
            if let Some(EventBody::Found(Found { pid, .. })) = found.as_ref().map(|e| &e.body) {
                pids.insert(*pid);
            }
            snapshot.events.extend(found);
            if let Some(facts) = inspected(socket, pass).filter(|_| wanted) {
                pids.extend(facts.holders.iter().map(|h| h.pid));
                counted.extend(facts.holders.iter().map(|h| h.pid));
                let body = EventBody::Inspected(Box::new(facts));
                let at = Mono(socket.ts_ns);
                snapshot.events.push(Event { at, body });
            }
        }
        snapshot.events.sort_by_key(|event| event.at);
        let at = snapshot.events.first().map_or(pass.began, |e| e.at);
        let facts = pids.into_iter().filter(|pid| *pid != 0).filter_map(|pid| {
            let process = process::describe(pid)?;
            let body = EventBody::Process(ProcessFact { pid, process });
            Some(Event { at, body })
        });
        snapshot.events.splice(0..0, facts.collect::<Vec<_>>());
        let at = clock::monotonic();
        let descriptors = counted.into_iter().map(|pid| {
            EventBody::Descriptors(Descriptors {
                pid,
                open: pass.open_files.get(&pid).copied().unwrap_or(0),
                limit: process::file_limit(pid),
                stopped: process::is_stopped(pid),
            })
        });
        let looked = EventBody::Looked(Looked {
            began: pass.began,
            namespaces: u32::try_from(pass.namespaces).unwrap_or(u32::MAX),
            unseen: pass.unseen,
        });
        let last = descriptors.chain([looked]);
        snapshot.events.extend(last.map(|body| Event { at, body }));
        snapshot
    }
}

/// A socket as an event; `None`: it is not wanted, or in no state that anybody traces.
pub(super) fn found(socket: &SocketFound, holders: &Holders, filter: &Filter) -> Option<Event> {
    let (state, in_minisock) = state(socket);
    // A request is no connection yet: its child will be.
    if matches!(state, TcpState::Close | TcpState::Unknown) || socket.state == NEW_SYN_RECV {
        return None;
    }
    if !passes(socket, filter) {
        return None;
    }
    let at = Mono(socket.ts_ns);
    Some(Event {
        at,
        body: EventBody::Found(Found {
            sock: SockId(socket.sk),
            cookie: socket.cookie,
            state,
            in_minisock,
            tuple: tuple(socket),
            netns: socket.netns,
            pid: holders.of(socket.socket),
            entered: decode::stamp(at, socket.entry_stamp).filter(|_| state == TcpState::TimeWait),
        }),
    })
}

/// The kernel's part of the filter.
fn passes(socket: &SocketFound, filter: &Filter) -> bool {
    let subject = tuple(socket).subject(socket.netns, socket.state == LISTEN);
    filter.kernel.verdict(&subject) != Verdict::Reject
}

fn tuple(socket: &SocketFound) -> FourTuple {
    decode::tuple(
        (socket.saddr, socket.sport),
        (socket.daddr, socket.dport),
        socket.family,
    )
}

/// The state, and whether a minisock stands for it.
fn state(socket: &SocketFound) -> (TcpState, bool) {
    match TcpState::from_number(socket.state) {
        TcpState::TimeWait => (TcpState::from_number(socket.substate), true),
        TcpState::NewSynRecv => (TcpState::SynRecv, false),
        state => (state, false),
    }
}

/// What a socket says of why it lingers; `None`: it does not.
fn inspected(socket: &SocketFound, pass: &Pass) -> Option<Inspected> {
    let (state, in_minisock) = state(socket);
    if state != TcpState::Listen && !LINGERING.contains(&state) {
        return None;
    }
    let at = Mono(socket.ts_ns);
    // The clock of the stamps ticks: what is a tick ago may be nearly two, or nearly none.
    let ago = |ticks: u32, jiffy: Duration| {
        let passed = jiffy.checked_mul(ticks.saturating_sub(1))?;
        let ns = u64::try_from(passed.as_nanos()).ok()?;
        at.0.checked_sub(ns).map(Mono)
    };
    let since = |ticks| pass.jiffy.and_then(|jiffy| ago(ticks, jiffy));
    let full = socket.flags & FOUND_FULL != 0 && !in_minisock;
    let not_later = match state {
        // What made it enter the state came with an acknowledgement: nothing was heard before.
        TcpState::CloseWait | TcpState::FinWait2 if full => since(socket.heard_ago),
        TcpState::FinWait2 => decode::stamp(at, socket.entry_stamp),
        _ => None,
    };
    let speaks = full && state != TcpState::Listen;
    let is_request = socket.state == NEW_SYN_RECV;
    let inside = (full || is_request).then(|| Inside {
        receive_queue: socket.receive_queue,
        send_queue: socket.send_queue,
        receive_shut: socket.shutdown & 1 != 0,
        dead: socket.flags & FOUND_DEAD != 0,
        has_file: socket.socket != 0,
        uid: socket.uid,
        references: pass.holders.references(socket.socket),
        retransmits: Some(socket.retransmits),
        data_received: since(socket.data_ago).filter(|_| speaks),
        data_sent: since(socket.sent_ago).filter(|_| speaks),
    });
    let (holders, descriptors) = pass.holders.all_of(socket.socket);
    Some(Inspected {
        sock: SockId(socket.sk),
        cookie: socket.cookie,
        state,
        tuple: tuple(socket),
        netns: socket.netns,
        not_later,
        inside,
        holders,
        descriptors,
    })
}
