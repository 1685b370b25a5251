//! `tcpdwell.report/1`: one JSON object, keys in a fixed order, `null` for what is not known.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr, time::Duration};

use anyhow::Result;
use jiff::Timestamp;
use serde::{Serialize, ser::SerializeMap};

use super::{Between, Hooks, HostReport, LISTED_STATES, Recorded, Report, rows};
use crate::{
    cost::OwnCost,
    engine::{
        ClosedFirst, DurationHistogram, EndReason, GROUP_STATES, GroupKey, GroupRow, Groups,
        StateFigures, TcpState, Waiting,
    },
    render::completeness::Completeness,
};

/// The report as one object over many lines.
pub fn render(report: &Report) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(&document(report))?;
    text.push(b'\n');
    Ok(text)
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    host: &'a str,
    kernel: &'a str,
    window: WindowObject,
    hooks: &'a Hooks,
    completeness: &'a Completeness,
    connections: Connections,
    closed_first: Counts<ClosedFirst>,
    states: States<'a>,
    time_wait: TimeWait,
    close_wait: CloseWait<'a>,
    groups: GroupsObject<'a>,
    ended: BTreeMap<&'static str, u64>,
    /// Only of what was measured now.
    #[serde(skip_serializing_if = "Option::is_none")]
    own_cost: Option<OwnCost>,
    /// Only of several recordings: each host by itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hosts: Vec<Host<'a>>,
}

#[derive(Serialize)]
struct Host<'a> {
    #[serde(flatten)]
    report: Document<'a>,
    recordings: &'a [Recorded],
    gaps: Vec<Between>,
    overlaps: Vec<Between>,
}

#[derive(Serialize)]
struct WindowObject {
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    seconds: f64,
}

#[derive(Serialize)]
struct Connections {
    opened: Opened,
    preexisting: u64,
    closed: u64,
    open: u64,
    failed: Failed,
    unknown_starts: u64,
    unseen_ends: u64,
}

#[derive(Serialize)]
struct Opened {
    active: u64,
    passive: u64,
}

#[derive(Serialize)]
struct Failed {
    refused: u64,
    timeout: u64,
    other: u64,
}

#[derive(Serialize)]
struct State {
    entered: Option<u64>,
    left: Option<u64>,
    open: Option<u64>,
    dwell: Dwell,
    found: Option<u64>,
    entered_unseen: Option<u64>,
    left_unseen: Option<u64>,
}

#[derive(Serialize)]
struct Dwell {
    count: u64,
    min_us: Option<u64>,
    mean_us: Option<u64>,
    p50_us: Option<u64>,
    p90_us: Option<u64>,
    p99_us: Option<u64>,
    p999_us: Option<u64>,
    max_us: Option<u64>,
}

#[derive(Serialize)]
struct TimeWait {
    entered: Option<u64>,
    open: Option<u64>,
    never_created: Option<u64>,
    ended: Ended,
    measured: Option<&'static str>,
    found: Option<u64>,
}

#[derive(Serialize)]
struct Ended {
    expired: Option<u64>,
    reused: Option<u64>,
    syn_recycled: Option<u64>,
    reset: Option<u64>,
    purged: Option<u64>,
    unknown: Option<u64>,
    destroyed: Option<u64>,
}

#[derive(Serialize)]
struct CloseWait<'a> {
    open: u64,
    oldest_us: Option<u64>,
    opened_per_s: Option<f64>,
    closed_per_s: Option<f64>,
    by_cause: Option<BTreeMap<&'static str, u64>>,
    sockets: Option<Vec<Socket<'a>>>,
}

#[derive(Serialize)]
struct Socket<'a> {
    conn: Option<u64>,
    cookie: Option<u64>,
    age_us: Option<u64>,
    age_exact: bool,
    pid: Option<u32>,
    comm: Option<Cow<'a, str>>,
    owner_source: &'static str,
    uid: Option<u32>,
    netns: Option<u32>,
    cgroup: Option<u64>,
    laddr: IpAddr,
    lport: Option<u16>,
    raddr: IpAddr,
    rport: Option<u16>,
    cause: &'static str,
    /// Only of several hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
}

#[derive(Serialize)]
struct GroupsObject<'a> {
    process: Option<Vec<Row<'a>>>,
    local_port: Option<Vec<Row<'a>>>,
    remote: Option<Vec<Row<'a>>>,
    remote_port: Option<Vec<Row<'a>>>,
}

#[derive(Serialize)]
struct Row<'a> {
    key: Option<Key>,
    kind: &'static str,
    /// Of the only process with these connections.
    pid: Option<u32>,
    connections: u64,
    failed: u64,
    closed_first: Counts<ClosedFirst>,
    time_wait: Option<Stays>,
    close_wait: Stays,
    dwell: Dwells<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Key {
    Port(u16),
    Text(String),
}

#[derive(Default, Serialize)]
struct Stays {
    entered: u64,
    left: u64,
    open: u64,
}

/// Numbers by name, in their own order.
struct Counts<T>(Vec<(T, u64)>);

impl Serialize for Counts<ClosedFirst> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(first, count)| (first.name(), count)))
    }
}

struct States<'a>(&'a Report);

impl Serialize for States<'_> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        for state in LISTED_STATES {
            map.serialize_entry(state.name(), &self.state(state))?;
        }
        map.end()
    }
}

impl States<'_> {
    fn state(&self, state: TcpState) -> State {
        let figures = self.0.snapshot.state(state);
        let measured = self.0.measures(state);
        // Who is in CLOSE is no connection, and nobody counts them.
        let counted = measured && state != TcpState::Close;
        State {
            entered: measured.then_some(figures.entered),
            left: measured.then_some(figures.left),
            open: counted.then_some(figures.open),
            dwell: dwell(figures.dwell.as_deref()),
            found: counted.then_some(figures.found),
            entered_unseen: counted.then_some(figures.entered_unseen),
            left_unseen: counted.then_some(figures.left_unseen),
        }
    }
}

struct Dwells<'a>(&'a GroupRow);

impl Serialize for Dwells<'_> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(GROUP_STATES.iter().map(|state| {
            let figures = self.0.state(*state);
            (
                state.name(),
                dwell(figures.and_then(|f| f.dwell.as_deref())),
            )
        }))
    }
}

fn document(report: &Report) -> Document<'_> {
    let snapshot = &report.snapshot;
    let totals = &snapshot.totals;
    let c = &totals.connections;
    Document {
        schema: "tcpdwell.report/1",
        host: &report.host,
        kernel: &report.kernel,
        window: WindowObject {
            start: report.start,
            end: report.end,
            seconds: report.seconds(),
        },
        hooks: &report.hooks,
        completeness: &report.completeness,
        connections: Connections {
            opened: Opened {
                active: c.active,
                passive: c.passive,
            },
            preexisting: c.preexisting,
            closed: c.closed,
            open: c.open,
            failed: Failed {
                refused: c.failed.refused,
                timeout: c.failed.timeout,
                other: c.failed.other,
            },
            unknown_starts: c.unknown_starts,
            unseen_ends: c.unseen_ends,
        },
        closed_first: firsts(totals.closed_first),
        states: States(report),
        time_wait: time_wait(report),
        close_wait: close_wait(report),
        groups: GroupsObject {
            process: group(report, &snapshot.groups.process),
            local_port: group(report, &snapshot.groups.local_port),
            remote: group(report, &snapshot.groups.remote),
            remote_port: group(report, &snapshot.groups.remote_port),
        },
        ended: totals.ended.iter().map(|(r, n)| (r.name(), *n)).collect(),
        own_cost: report.own_cost,
        hosts: report.hosts.iter().map(host).collect(),
    }
}

/// The same of one host, and when it was recorded.
fn host(host: &HostReport) -> Host<'_> {
    Host {
        report: document(&host.report),
        recordings: &host.recordings,
        gaps: host.gaps(),
        overlaps: host.overlaps(),
    }
}

fn firsts(counts: [u64; ClosedFirst::ALL.len()]) -> Counts<ClosedFirst> {
    Counts(ClosedFirst::ALL.into_iter().zip(counts).collect())
}

fn dwell(dwell: Option<&DurationHistogram>) -> Dwell {
    let at = |q| dwell.and_then(|d| d.quantile_us(q));
    Dwell {
        count: dwell.map_or(0, DurationHistogram::count),
        min_us: dwell.and_then(DurationHistogram::min_us),
        mean_us: dwell.and_then(DurationHistogram::mean_us),
        p50_us: at(0.5),
        p90_us: at(0.9),
        p99_us: at(0.99),
        p999_us: at(0.999),
        max_us: dwell.and_then(DurationHistogram::max_us),
    }
}

fn time_wait(report: &Report) -> TimeWait {
    let figures = report.snapshot.state(TcpState::TimeWait);
    let totals = &report.snapshot.totals;
    let measured = report.time_wait_measured();
    let known = |count| measured.map(|_| count);
    let count = |reason| totals.time_wait_ended.get(&reason).copied().unwrap_or(0);
    let named: u64 = NAMED_ENDS.into_iter().map(count).sum();
    let all: u64 = totals.time_wait_ended.values().sum();
    let ended = Ended {
        expired: known(count(EndReason::Expired)),
        reused: known(count(EndReason::Reused)),
        syn_recycled: known(count(EndReason::SynRecycled)),
        reset: known(count(EndReason::Reset)),
        purged: known(count(EndReason::Purged)),
        unknown: known(all - named),
        destroyed: known(count(EndReason::Destroyed)),
    };
    TimeWait {
        entered: known(figures.entered),
        open: known(figures.open),
        never_created: known(totals.never_created),
        ended,
        measured,
        found: known(figures.found),
    }
}

/// The ends of TIME_WAIT that have a key of their own.
const NAMED_ENDS: [EndReason; 6] = [
    EndReason::Expired,
    EndReason::Reused,
    EndReason::SynRecycled,
    EndReason::Reset,
    EndReason::Purged,
    EndReason::Destroyed,
];

fn close_wait(report: &Report) -> CloseWait<'_> {
    let figures = report.snapshot.state(TcpState::CloseWait);
    let waiting = &report.snapshot.close_wait;
    let oldest = waiting.oldest.iter().find_map(|w| w.open.age);
    let by_cause = waiting.by_cause.iter();
    let is_known = !report.is_aggregated();
    CloseWait {
        open: waiting.open,
        oldest_us: oldest.map(micros),
        opened_per_s: report.per_second(figures.entered),
        closed_per_s: report.per_second(figures.left),
        by_cause: is_known.then(|| by_cause.map(|(cause, n)| (cause.name(), *n)).collect()),
        sockets: is_known.then(|| waiting.oldest.iter().map(|w| socket(w, report)).collect()),
    }
}

fn micros(age: Duration) -> u64 {
    u64::try_from(age.as_micros()).unwrap_or(u64::MAX)
}

fn socket<'a>(waiting: &'a Waiting, report: &'a Report) -> Socket<'a> {
    let open = &waiting.open;
    let t = &open.last;
    let process = t.process.as_ref();
    Socket {
        conn: t.conn.map(|c| c.0),
        cookie: (t.cookie != 0).then_some(t.cookie),
        age_us: open.age.map(micros),
        age_exact: open.age_is_exact,
        pid: (t.owner.pid != 0).then_some(t.owner.pid),
        comm: process.map(|p| String::from_utf8_lossy(p.name.bytes())),
        owner_source: t.owner.source.name(),
        uid: process.map(|p| p.uid),
        netns: (t.netns != 0).then_some(t.netns),
        cgroup: process.map(|p| p.cgroup).filter(|id| *id != 0),
        laddr: t.tuple.local.ip(),
        lport: t.tuple.local.port(),
        raddr: t.tuple.remote.ip(),
        rport: t.tuple.remote.port(),
        cause: waiting.cause.name(),
        host: report.host_of(waiting),
    }
}

/// `None`: nobody looked at single connections.
fn group<'a>(report: &Report, groups: &'a Groups) -> Option<Vec<Row<'a>>> {
    if report.is_aggregated() {
        return None;
    }
    let rows = groups.rows().into_iter();
    let rows = rows.map(|(key, row)| Row {
        key: match key {
            GroupKey::Port(port) => Some(Key::Port(port)),
            other => rows::key(&other).map(|text| Key::Text(text.into_owned())),
        },
        kind: rows::kind(key),
        pid: Some(row.pid).filter(|pid| *pid != 0 && *pid != GroupRow::SEVERAL),
        connections: row.connections,
        failed: row.failed.total(),
        closed_first: firsts(row.closed_first),
        time_wait: report
            .time_wait_measured()
            .map(|_| stays(row.state(TcpState::TimeWait))),
        close_wait: stays(row.state(TcpState::CloseWait)),
        dwell: Dwells(row),
    });
    Some(rows.collect())
}

fn stays(figures: Option<&StateFigures>) -> Stays {
    figures.map_or_else(Stays::default, |f| Stays {
        entered: f.entered,
        left: f.left,
        open: f.open,
    })
}
