//! A line of `--format ndjson`.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::Deserialize;

use crate::ledger::Key;

/// The keys that every transition has, `null` or not (design.md 4.2).
pub(crate) const KEYS: [&str; 24] = [
    "ts",
    "mono_ns",
    "event",
    "conn",
    "cookie",
    "pid",
    "comm",
    "owner_source",
    "uid",
    "netns",
    "cgroup",
    "role",
    "family",
    "laddr",
    "lport",
    "raddr",
    "rport",
    "from",
    "to",
    "dwell_us",
    "closed_first",
    "end_reason",
    "exact",
    "dwell_at_least_us",
];

/// A transition, as it was printed.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Row {
    pub(crate) ts: Option<Timestamp>,
    pub(crate) mono_ns: u64,
    pub(crate) conn: u64,
    pub(crate) cookie: Option<u64>,
    pub(crate) pid: Option<u32>,
    pub(crate) comm: Option<String>,
    pub(crate) owner_source: String,
    pub(crate) uid: Option<u32>,
    pub(crate) netns: Option<u32>,
    pub(crate) role: String,
    pub(crate) family: u8,
    pub(crate) laddr: Option<IpAddr>,
    pub(crate) lport: Option<u16>,
    pub(crate) raddr: Option<IpAddr>,
    pub(crate) rport: Option<u16>,
    pub(crate) from: String,
    pub(crate) to: String,
    dwell_us: Option<f64>,
    dwell_at_least_us: Option<f64>,
    pub(crate) closed_first: Option<String>,
    pub(crate) end_reason: Option<String>,
    pub(crate) exact: bool,
}

/// What two runs are compared by.
pub(crate) type Identity = (
    Option<u32>,
    Option<IpAddr>,
    Option<u16>,
    Option<IpAddr>,
    Option<u16>,
    String,
    String,
);

impl Row {
    /// The line, if it is a transition. Anything that is not JSON is a failure.
    pub(crate) fn parse(line: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Any<'a> {
            #[serde(borrow)]
            event: std::borrow::Cow<'a, str>,
        }
        let text = str::from_utf8(line).unwrap_or_else(|e| panic!("{e}: {}", line.escape_ascii()));
        let any: Any<'_> = serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"));
        (any.event == "transition")
            .then(|| serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}")))
    }

    /// Nanoseconds in `from`.
    pub(crate) fn dwell_ns(&self) -> Option<u64> {
        self.dwell_us.map(nanos)
    }

    /// The same where only a lower bound is known.
    pub(crate) fn at_least_ns(&self) -> Option<u64> {
        self.dwell_at_least_us.map(nanos)
    }

    /// Whether it is a listener's.
    pub(crate) fn is_listener(&self) -> bool {
        self.to == "LISTEN" || self.from == "LISTEN" && self.to == "CLOSE"
    }

    /// Where to look it up in the ledger; `None` while the tuple is not complete.
    pub(crate) fn key(&self) -> Option<Key> {
        let listener = self.is_listener();
        Some(Key {
            laddr: self.laddr?,
            lport: self.lport?,
            raddr: if listener { None } else { Some(self.raddr?) },
            rport: if listener { 0 } else { self.rport? },
        })
    }

    /// What makes it the same transition in the eyes of another run.
    pub(crate) fn identity(&self) -> Identity {
        (
            self.netns,
            self.laddr,
            self.lport,
            self.raddr,
            self.rport,
            self.from.clone(),
            self.to.clone(),
        )
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "three decimals of microseconds, far below 2^53"
)]
fn nanos(us: f64) -> u64 {
    (us * 1000.0).round() as u64
}
