//! One update as fields: the contract of `--format ndjson` and `--format csv`.

use std::{borrow::Cow, net::IpAddr, time::Duration};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::stamp::{Stamp, Stamps};
use crate::engine::{
    ClosedFirst, EndReason, Endpoint, IpVersion, Irregularity, Mono, Process, Transition,
};

/// Times of day from kernel time.
#[derive(Clone, Copy, Debug, Default)]
pub struct WallClock {
    offset_ns: Option<i128>,
    stamps: Stamps,
}

impl WallClock {
    /// From now on the wall clock is known to show this.
    pub fn set(&mut self, at: Mono, wall_ns: i64) {
        self.offset_ns = Some(i128::from(wall_ns) - i128::from(at.0));
    }

    /// The time of day at a moment; `None` before it was ever read.
    #[inline]
    pub fn at(&self, at: Mono) -> Option<Timestamp> {
        Timestamp::from_nanosecond(self.offset_ns? + i128::from(at.0)).ok()
    }

    /// The same as text.
    #[inline]
    pub fn stamp(&mut self, at: Mono) -> Option<Stamp> {
        self.stamps.render(self.offset_ns? + i128::from(at.0))
    }
}

/// The fields, in order. `null` (in CSV: empty) is: unknown, or does not apply.
#[derive(Debug, Default, Serialize)]
pub struct Row<'a> {
    /// RFC 3339, to the nanosecond.
    pub ts: Option<Stamp>,
    /// `CLOCK_MONOTONIC`, ns.
    pub mono_ns: u64,
    /// `transition`, `irregular` or `lost`.
    pub event: &'static str,
    /// The connection; never reused.
    pub conn: Option<u64>,
    /// The socket's cookie: `sk:` of `ss -e`, in decimal.
    pub cookie: Option<u64>,
    /// Owner.
    pub pid: Option<u32>,
    /// Owner's name.
    pub comm: Option<Cow<'a, str>>,
    /// How the owner is known.
    pub owner_source: Option<&'static str>,
    /// Owner's user.
    pub uid: Option<u32>,
    /// Inode of the network namespace.
    pub netns: Option<u32>,
    /// Owner's cgroup v2 id.
    pub cgroup: Option<u64>,
    /// Which side opened.
    pub role: Option<&'static str>,
    /// 4 or 6, on the wire.
    pub family: Option<u8>,
    /// Local address.
    pub laddr: Option<IpAddr>,
    /// Local port.
    pub lport: Option<u16>,
    /// Remote address.
    pub raddr: Option<IpAddr>,
    /// Remote port.
    pub rport: Option<u16>,
    /// State left.
    pub from: Option<&'static str>,
    /// State entered.
    pub to: Option<&'static str>,
    /// Time in `from`, µs.
    pub dwell_us: Option<Micros>,
    /// Whose FIN or RST came first.
    pub closed_first: Option<&'static str>,
    /// On changes to CLOSE: why.
    pub end_reason: Option<&'static str>,
    /// Nothing before it is missing.
    pub exact: bool,
    /// Where `dwell_us` is null: at least so long, because the connection was found in `from`.
    pub dwell_at_least_us: Option<Micros>,
    /// The host. Only there where recordings of several hosts are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<&'a str>,
}

impl<'a> Row<'a> {
    /// Of a transition.
    #[inline]
    pub fn transition(t: &'a Transition, clock: &mut WallClock) -> Self {
        let tuple = &t.tuple;
        let owned = t.owner.pid != 0;
        Self {
            ts: clock.stamp(t.at),
            mono_ns: t.at.0,
            event: "transition",
            conn: t.conn.map(|c| c.0),
            cookie: (t.cookie != 0).then_some(t.cookie),
            pid: owned.then_some(t.owner.pid),
            comm: comm(t.process.as_ref()),
            owner_source: Some(t.owner.source.name()),
            uid: t.process.as_ref().map(|p| p.uid),
            netns: (t.netns != 0).then_some(t.netns),
            cgroup: t.process.as_ref().map(|p| p.cgroup).filter(|id| *id != 0),
            role: Some(t.role.name()),
            family: Some(tuple.version().number()),
            laddr: local_address(t),
            lport: tuple.local.port(),
            raddr: known_address(&tuple.remote),
            rport: tuple.remote.port(),
            from: Some(t.from.name()),
            to: Some(t.to.name()),
            dwell_us: t.dwell.map(Micros::of),
            closed_first: t.closed_first.map(ClosedFirst::name),
            end_reason: t.end_reason.map(EndReason::name),
            exact: t.exact,
            dwell_at_least_us: t.at_least.map(Micros::of),
            host: None,
        }
    }

    /// The same, on one of several hosts.
    #[inline]
    pub fn on(mut self, host: Option<&'a str>) -> Self {
        self.host = host;
        self
    }

    /// Of an irregularity.
    pub fn irregular(i: &Irregularity, clock: &mut WallClock) -> Self {
        Self {
            ts: clock.stamp(i.at),
            mono_ns: i.at.0,
            event: "irregular",
            conn: Some(i.conn.0),
            from: Some(i.from.name()),
            ..Self::default()
        }
    }
}

/// A process's name; an empty one is none.
pub fn comm(process: Option<&Process>) -> Option<Cow<'_, str>> {
    let name = process.map(|process| process.name.bytes());
    name.filter(|name| !name.is_empty())
        .map(String::from_utf8_lossy)
}

/// A dwell, in ns; rendered in µs.
#[derive(Clone, Copy, Debug)]
pub struct Micros(pub u64);

impl Micros {
    #[inline]
    fn of(dwell: Duration) -> Self {
        Self(u64::try_from(dwell.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl Serialize for Micros {
    /// Exact: a dwell in ns fits into the 53 bits of an f64 up to 104 days.
    #[expect(
        clippy::cast_precision_loss,
        reason = "104 days are enough for a dwell"
    )]
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.0 as f64 / 1000.0)
    }
}

/// An unset local address is an address only on a listener: every address.
pub fn local_address(t: &Transition) -> Option<IpAddr> {
    if t.is_listener() && tracer_common::address::is_unspecified(&t.tuple.local.address) {
        return Some(match t.tuple.version() {
            IpVersion::V4 => IpAddr::from([0; 4]),
            IpVersion::V6 => IpAddr::from([0; 16]),
        });
    }
    known_address(&t.tuple.local)
}

/// An address that is set.
pub fn known_address(end: &Endpoint) -> Option<IpAddr> {
    (!tracer_common::address::is_unspecified(&end.address)).then(|| end.ip())
}
