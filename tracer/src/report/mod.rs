//! Everything about a window of time, for people and for programs: views of one [`Snapshot`].

mod headline;
mod hosts;
pub mod html;
pub mod json;
mod rows;
mod several;
pub mod text;

use jiff::Timestamp;

pub use self::several::{Between, HostReport, Recorded, Several};
use crate::{
    cost::OwnCost,
    engine::{Snapshot, TcpState, Waiting},
    render::completeness::Completeness,
};

/// What a report is made of. Nothing in it is looked up later.
#[derive(Debug)]
pub struct Report {
    /// Name of the host.
    pub host: String,
    /// `uname -r`.
    pub kernel: String,
    /// The window by the wall clock; `None`: that was never read.
    pub start: Option<Timestamp>,
    /// Its end.
    pub end: Option<Timestamp>,
    /// What it stands on.
    pub hooks: Hooks,
    /// What is missing.
    pub completeness: Completeness,
    /// The figures.
    pub snapshot: Snapshot,
    /// What measuring took of the host; `None`: this was not measured now, or is not asked for.
    pub own_cost: Option<OwnCost>,
    /// Where it was made of several recordings: each host by itself. The figures are the sums.
    pub hosts: Vec<HostReport>,
}

/// Where the events came from; `None`: from nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Hooks {
    /// State changes.
    pub state: Option<String>,
    /// The lives of TIME_WAIT sockets.
    pub time_wait: Option<String>,
    /// Owners of accepted connections.
    pub owner: Option<String>,
    /// Resets.
    pub reset: Option<String>,
    /// Sockets older than the window.
    pub snapshot: Option<String>,
    /// Who added up what is not known one by one; only if somebody did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<String>,
}

/// States in the order of a connection's life, as reports list them.
pub const LISTED_STATES: [TcpState; 11] = [
    TcpState::Listen,
    TcpState::SynSent,
    TcpState::SynRecv,
    TcpState::Established,
    TcpState::FinWait1,
    TcpState::FinWait2,
    TcpState::Closing,
    TcpState::TimeWait,
    TcpState::CloseWait,
    TcpState::LastAck,
    TcpState::Close,
];

impl Report {
    /// How TIME_WAIT was measured; `None`: it was not.
    pub fn time_wait_measured(&self) -> Option<&'static str> {
        match self.hooks.time_wait.as_deref()? {
            hook if hook.split('+').any(|one| one == "sampling") => Some("sampled"),
            _ => Some("exact"),
        }
    }

    /// Whether it was added up without a look at single connections: their owners, groups and ages are
    /// not known.
    pub fn is_aggregated(&self) -> bool {
        self.hooks.aggregate.is_some()
    }

    /// Whether anything is known of this state.
    pub fn measures(&self, state: TcpState) -> bool {
        state != TcpState::TimeWait || self.hooks.time_wait.is_some()
    }

    /// What the figures of FIN_WAIT2 and TIME_WAIT lack where only timers tell of minisocks.
    pub fn late_fin_note(&self) -> Option<String> {
        let open = self.snapshot.state(TcpState::FinWait2).open;
        let hook = self.hooks.time_wait.as_deref().unwrap_or_default();
        (hook.split('+').any(|one| one == "timer") && open > 0).then(|| {
            format!(
                "Of the {open} in FIN_WAIT2 some may be in TIME_WAIT: this kernel's timers tell of \
                 a late FIN at the end only."
            )
        })
    }

    /// Length of the window in seconds, less the time that nobody watched.
    pub fn seconds(&self) -> f64 {
        let snapshot = &self.snapshot;
        let watched = snapshot.span.length().saturating_sub(snapshot.unwatched);
        watched.as_secs_f64()
    }

    /// Of several hosts, the one that a socket is of.
    pub fn host_of(&self, waiting: &Waiting) -> Option<&str> {
        let host = self
            .hosts
            .get(waiting.host)
            .filter(|_| self.hosts.len() > 1);
        host.map(|host| host.report.host.as_str())
    }

    /// So many in the window, per second; `None` for a window of no length.
    pub fn per_second(&self, count: u64) -> Option<f64> {
        let seconds = self.seconds();
        #[expect(clippy::cast_precision_loss, reason = "a rate of three decimals")]
        let rate = count as f64 / seconds;
        (seconds > 0.0).then(|| (rate * 1000.0).round() / 1000.0)
    }
}
