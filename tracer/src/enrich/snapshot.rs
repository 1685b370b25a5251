//! The sockets that are there when the trace begins. Taken after attaching: what changes meanwhile is
//! told by its event, and what the engine has met already it does not take for older.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{ErrorKind, Read as _},
    mem::size_of,
    thread,
};

use anyhow::{Context as _, Result, anyhow};
use aya::programs::iter::IterLink;
use nix::sched::{CloneFlags, setns};
use tracer_common::{
    filter::Verdict,
    snapshot::{FileFound, SocketFound},
};

use super::{
    holders::{Holders, Sample},
    namespaces, process,
};
use crate::{
    decode,
    ebpf::Probes,
    engine::{Event, EventBody, Found, Mono, ProcessFact, SockId, TcpState},
    filter::Filter,
};

/// What was found.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Facts about the processes, then the sockets, each at its time.
    pub events: Vec<Event>,
    /// How many network namespaces were looked into.
    pub namespaces: usize,
}

/// Looks into every network namespace that can be reached.
pub fn take(probes: &mut Probes, filter: &Filter) -> Result<Snapshot> {
    let sample = Sample::new()?;
    let files = read(probes.iterate_files()?)?;
    let files: Vec<FileFound> = records(&files, FileFound::decode);
    let holders = Holders::new(&files, &sample);
    let (sockets, namespaces) = sockets(probes)?;
    let mut snapshot = Snapshot {
        namespaces,
        ..Snapshot::default()
    };
    let mut pids = BTreeSet::new();
    for socket in sockets {
        if let Some(event) = found(&socket, &holders, filter) {
            if let EventBody::Found(Found { pid, .. }) = event.body {
                pids.insert(pid);
            }
            snapshot.events.push(event);
        }
    }
    snapshot.events.sort_by_key(|event| event.at);
    let at = snapshot.events.first().map_or(Mono(0), |event| event.at);
    let facts = pids.into_iter().filter(|pid| *pid != 0).filter_map(|pid| {
        let process = process::describe(pid)?;
        let body = EventBody::Process(ProcessFact { pid, process });
        Some(Event { at, body })
    });
    snapshot.events.splice(0..0, facts.collect::<Vec<_>>());
    Ok(snapshot)
}

/// All TCP sockets of all namespaces, and of how many these are.
pub(super) fn sockets(probes: &mut Probes) -> Result<(Vec<SocketFound>, usize)> {
    let namespaces = namespaces::all();
    let links: Vec<IterLink> = namespaces
        .iter()
        .map(|_| probes.iterate_sockets())
        .collect::<Result<_>>()?;
    let count = namespaces.len();
    let bytes = in_namespaces(namespaces, links)?;
    Ok((records(&bytes, SocketFound::decode), count))
}

/// An iterator shows the namespace of the thread that opens it: one thread visits them all.
fn in_namespaces(namespaces: Vec<File>, links: Vec<IterLink>) -> Result<Vec<u8>> {
    let visit = move || {
        let mut all = Vec::new();
        for (i, (namespace, link)) in namespaces.into_iter().zip(links).enumerate() {
            // The first is our own.
            if i > 0
                && let Err(error) = setns(&namespace, CloneFlags::CLONE_NEWNET)
            {
                log::debug!("a network namespace can't be entered: {error}");
                continue;
            }
            all.extend(read(link)?);
        }
        Ok(all)
    };
    let visitor = thread::Builder::new()
        .name("snapshot".to_owned())
        .spawn(visit)
        .context("starting a thread")?;
    visitor
        .join()
        .unwrap_or_else(|_| Err(anyhow!("the thread that takes the snapshot failed")))
}

fn read(link: IterLink) -> Result<Vec<u8>> {
    let mut file = link.into_file().context("opening an iterator")?;
    let mut all = Vec::new();
    let mut chunk = vec![0; 1 << 18];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(all),
            Ok(length) => all.extend_from_slice(&chunk[..length]),
            // The kernel stops now and then to let others run.
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error).context("reading an iterator"),
        }
    }
}

fn records<T>(bytes: &[u8], decode: fn(&[u8]) -> Option<T>) -> Vec<T> {
    bytes
        .chunks_exact(size_of::<T>())
        .filter_map(decode)
        .collect()
}

/// A socket as an event; `None`: it is not wanted, or in no state that anybody traces.
pub(super) fn found(socket: &SocketFound, holders: &Holders, filter: &Filter) -> Option<Event> {
    let state = TcpState::from_number(socket.state);
    let in_minisock = state == TcpState::TimeWait;
    let state = if in_minisock {
        TcpState::from_number(socket.substate)
    } else {
        state
    };
    if matches!(state, TcpState::Close | TcpState::Unknown) {
        return None;
    }
    let tuple = decode::tuple(
        (socket.saddr, socket.sport),
        (socket.daddr, socket.dport),
        socket.family,
    );
    let subject = tuple.subject(socket.netns, state == TcpState::Listen);
    if filter.kernel.verdict(&subject) == Verdict::Reject {
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
            tuple,
            netns: socket.netns,
            pid: holders.of(socket.socket),
            entered: decode::stamp(at, socket.entry_stamp).filter(|_| state == TcpState::TimeWait),
        }),
    })
}
