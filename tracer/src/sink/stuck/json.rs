//! The contract `tcpdwell.stuck/1`: one object a look.

use std::{borrow::Cow, net::IpAddr, time::Duration};

use anyhow::Result;
use bytes::{BufMut as _, BytesMut};
use serde::Serialize;

use super::View;
use crate::{
    engine::{
        Engine, Holder, Unseen,
        stuck::{Leak, Port, StuckSocket, Verdict},
    },
    render::completeness::Lost,
    sink::row::known_address,
};

#[derive(Serialize)]
struct Look<'a> {
    schema: &'static str,
    /// Where a recording is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    ts: Option<jiff::Timestamp>,
    mono_ns: u64,
    /// How long ago the latest look at the sockets ended; `null`: there was none.
    looked_us_ago: Option<u128>,
    older_than_us: u128,
    sockets: Vec<Socket<'a>>,
    /// In the states asked for, and not known to be old enough; `null`: not counted for this filter.
    younger: Option<usize>,
    not_shown: usize,
    leaks: Vec<LeakRow>,
    completeness: Account,
}

#[derive(Serialize)]
struct Socket<'a> {
    conn: Option<u64>,
    cookie: Option<u64>,
    state: &'static str,
    age_us: Option<u128>,
    age_exact: bool,
    pid: Option<u32>,
    comm: Option<String>,
    /// `null`: nobody looked.
    holders: Option<Vec<HolderRow>>,
    descriptors: Option<u32>,
    owner_source: &'static str,
    uid: Option<u32>,
    netns: Option<u32>,
    cgroup: Option<u64>,
    cgroup_path: Option<&'a str>,
    laddr: Option<IpAddr>,
    lport: Option<u16>,
    raddr: Option<IpAddr>,
    rport: Option<u16>,
    unread_bytes: Option<u32>,
    unsent_bytes: Option<u32>,
    last_data_us: Option<u128>,
    cause: &'static str,
    evidence: Cow<'a, str>,
    /// How long ago this socket was looked at; `null`: never in this state.
    looked_us_ago: Option<u128>,
}

#[derive(Serialize)]
struct HolderRow {
    pid: u32,
    comm: Option<String>,
    fds: Vec<u32>,
}

#[derive(Serialize)]
struct LeakRow {
    pid: u32,
    comm: Option<String>,
    lport: Option<u16>,
    rport: Option<u16>,
    open: usize,
    opened_per_s: Option<f64>,
    closed_per_s: Option<f64>,
    growth_per_s: Option<f64>,
    survivors: usize,
    watched_s: f64,
    verdict: &'static str,
    fds_open: Option<u32>,
    fd_limit: Option<u64>,
    fd_limit_in_s: Option<f64>,
}

#[derive(Serialize)]
struct Account {
    seen: Option<u64>,
    filtered: Option<u64>,
    delivered: u64,
    lost: Lost,
    unknown_starts: u64,
    irregular: u64,
    namespaces: u32,
    namespaces_unreachable: u32,
    namespaces_hidden: u32,
    sockets_not_kept: u64,
    complete: bool,
}

/// Renders one look as a line.
pub(super) fn write(view: &View<'_>, out: &mut BytesMut) -> Result<()> {
    let limit = match view.sink.options.limit {
        0 => usize::MAX,
        limit => limit,
    };
    let look = Look {
        schema: "tcpdwell.stuck/1",
        host: Some(view.sink.host.as_str()).filter(|_| view.sink.options.past),
        ts: view.sink.clock.at(view.at),
        mono_ns: view.at.0,
        looked_us_ago: view.looked().map(|ago| ago.as_micros()),
        older_than_us: view.sink.options.older_than.age.as_micros(),
        sockets: view
            .sockets
            .iter()
            .take(limit)
            .map(|s| socket(view, s))
            .collect(),
        younger: view.sink.options.wants.is_none().then_some(view.younger),
        not_shown: view.sockets.len().saturating_sub(limit),
        leaks: view.leaks.iter().map(|l| leak(view.engine, l)).collect(),
        completeness: account(view),
    };
    let mut text = serde_json::to_vec(&look)?;
    text.push(b'\n');
    out.put_slice(&text);
    Ok(())
}

fn socket<'a>(view: &View<'a>, s: &'a StuckSocket) -> Socket<'a> {
    let process = s.process.as_ref();
    let cgroup = process.map(|p| p.cgroup).filter(|id| *id != 0);
    Socket {
        conn: s.conn.map(|c| c.0),
        cookie: (s.cookie != 0).then_some(s.cookie),
        state: s.state.name(),
        age_us: (s.age.exact || !s.age.at_least.is_zero()).then_some(s.age.at_least.as_micros()),
        age_exact: s.age.exact,
        pid: (s.owner.pid != 0).then_some(s.owner.pid),
        comm: comm(view.engine, s.owner.pid),
        holders: s.looked.map(|_| holders(view.engine, &s.holders)),
        descriptors: s.looked.map(|_| s.descriptors),
        owner_source: s.owner.source.name(),
        uid: s.uid,
        netns: (s.netns != 0).then_some(s.netns),
        cgroup,
        cgroup_path: cgroup.and_then(|id| view.sink.cgroups.get(&id).map(|path| &**path)),
        laddr: known_address(&s.tuple.local),
        lport: s.tuple.local.port(),
        raddr: known_address(&s.tuple.remote),
        rport: s.tuple.remote.port(),
        unread_bytes: s.unread,
        unsent_bytes: s.unsent,
        last_data_us: s.silent.map(|silent| silent.as_micros()),
        cause: s.cause.name(),
        evidence: Cow::Borrowed(&s.evidence),
        looked_us_ago: s.looked.map(|at| view.at.since(at).as_micros()),
    }
}

fn comm(engine: &Engine, pid: u32) -> Option<String> {
    let process = engine.process(pid)?;
    Some(String::from_utf8_lossy(process.name.bytes()).into_owned())
}

/// Each process once, with its descriptors.
fn holders(engine: &Engine, holders: &[Holder]) -> Vec<HolderRow> {
    let mut rows: Vec<HolderRow> = Vec::new();
    for holder in holders {
        match rows.iter_mut().find(|row| row.pid == holder.pid) {
            Some(row) => row.fds.push(holder.fd),
            None => rows.push(HolderRow {
                pid: holder.pid,
                comm: comm(engine, holder.pid),
                fds: vec![holder.fd],
            }),
        }
    }
    rows
}

/// How long a process has until its files reach their limit, as it goes on.
pub(super) fn until_limit(engine: &Engine, leak: &Leak) -> Option<Duration> {
    let growth = leak.growth_per_s.filter(|growth| *growth > 0.0)?;
    let files = engine.looks().descriptors_of(leak.key.pid)?;
    let left = files.limit?.saturating_sub(u64::from(files.open));
    #[expect(clippy::cast_precision_loss, reason = "files of a process")]
    let seconds = left as f64 / growth;
    (leak.verdict >= Verdict::Growing)
        .then(|| Duration::try_from_secs_f64(seconds).ok())
        .flatten()
}

fn leak(engine: &Engine, leak: &Leak) -> LeakRow {
    let files = engine.looks().descriptors_of(leak.key.pid);
    let (lport, rport) = match leak.key.port {
        Port::Local(port) => (Some(port), None),
        Port::Remote(port) => (None, Some(port)),
    };
    LeakRow {
        pid: leak.key.pid,
        comm: comm(engine, leak.key.pid),
        lport,
        rport,
        open: leak.open,
        opened_per_s: leak.opened_per_s,
        closed_per_s: leak.closed_per_s,
        growth_per_s: leak.growth_per_s,
        survivors: leak.survivors,
        watched_s: leak.watched.as_secs_f64(),
        verdict: leak.verdict.name(),
        fds_open: files.map(|f| f.open),
        fd_limit: files.and_then(|f| f.limit),
        fd_limit_in_s: until_limit(engine, leak).map(|left| left.as_secs_f64()),
    }
}

fn account(view: &View<'_>) -> Account {
    let ledger = view.engine.ledger();
    let looks = view.engine.looks();
    let looked = looks.latest();
    let lost: Lost = view
        .completeness
        .map_or_else(|| ledger.lost.into(), |c| c.lost);
    let whole = lost == Lost::default();
    let unseen = looked.map_or(Unseen::default(), |l| l.unseen);
    Account {
        seen: view.completeness.map(|c| c.seen),
        filtered: view.completeness.map(|c| c.filtered),
        delivered: ledger.delivered,
        lost,
        unknown_starts: ledger.unknown_starts,
        irregular: ledger.irregular,
        namespaces: looked.map_or(0, |l| l.namespaces),
        namespaces_unreachable: unseen.namespaces,
        namespaces_hidden: unseen.hidden,
        sockets_not_kept: looks.dropped(),
        complete: whole && unseen.is_nothing() && looks.dropped() == 0,
    }
}
