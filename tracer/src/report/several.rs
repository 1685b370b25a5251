//! One report of several recordings: each host by itself, and all hosts together.
//!
//! A recording is counted by itself (its sockets have nothing to do with another's); what is added up
//! here are figures. A connection that two recordings of a host saw is counted in each.

use std::time::Duration;

use jiff::Timestamp;

use super::{Hooks, Report};
use crate::engine::{Addend, Mono, Snapshot, Span};

/// One of several hosts.
#[derive(Debug)]
pub struct HostReport {
    /// All of its recordings together.
    pub report: Report,
    /// When they were made, in this order.
    pub recordings: Vec<Recorded>,
}

/// When a recording was made.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Recorded {
    /// Its beginning; `None`: the wall clock was never read.
    pub start: Option<Timestamp>,
    /// Its end.
    pub end: Option<Timestamp>,
    /// How long it was.
    pub seconds: f64,
    /// Nothing was lost.
    pub complete: bool,
}

/// Time between two recordings.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Between {
    /// From here.
    pub start: Timestamp,
    /// To here.
    pub end: Timestamp,
    /// How long.
    pub seconds: f64,
}

impl Between {
    fn new(start: Timestamp, end: Timestamp) -> Option<Self> {
        let length = Duration::try_from(end.duration_since(start)).ok()?;
        let seconds = length.as_secs_f64();
        let between = Self {
            start,
            end,
            seconds,
        };
        (seconds > 0.0).then_some(between)
    }
}

impl HostReport {
    /// When nobody recorded on this host, between its recordings.
    pub fn gaps(&self) -> Vec<Between> {
        self.between(|latest, start, _| Between::new(latest, start))
    }

    /// When two recorders ran at once: what happened then is counted twice.
    pub fn overlaps(&self) -> Vec<Between> {
        self.between(|latest, start, end| Between::new(start, latest.min(end)))
    }

    /// What is between the end of all before and a recording's beginning and end.
    fn between(
        &self,
        make: impl Fn(Timestamp, Timestamp, Timestamp) -> Option<Between>,
    ) -> Vec<Between> {
        let mut found = Vec::new();
        let mut latest: Option<Timestamp> = None;
        for recorded in &self.recordings {
            if let (Some(latest), Some(start), Some(end)) = (latest, recorded.start, recorded.end) {
                found.extend(make(latest, start, end));
            }
            latest = latest.max(recorded.end);
        }
        found
    }
}

/// See the module. Recordings are added in the order of their beginnings.
#[derive(Debug)]
pub struct Several {
    whole: Sum,
    hosts: Vec<(Sum, Vec<Recorded>)>,
    lanes: usize,
}

/// Reports added up.
#[derive(Debug, Default)]
struct Sum {
    report: Option<Report>,
    /// What was watched, since its beginning.
    watched: Vec<(Duration, Duration)>,
}

impl Several {
    /// Of so many hosts, by so many recordings.
    pub fn new(hosts: usize, lanes: usize) -> Self {
        Self {
            whole: Sum::default(),
            hosts: (0..hosts).map(|_| Default::default()).collect(),
            lanes,
        }
    }

    /// Adds a recording's report: `lane` is its place among all, `host` that of its host.
    pub fn add(&mut self, lane: usize, host: usize, report: &Report) {
        let of_one = self.hosts.len() == 1;
        let lanes = self.lanes;
        let addend = |shift, same_host| Addend {
            shift,
            host,
            same_host,
            lane,
            lanes,
        };
        self.whole.add(report, |shift| addend(shift, of_one));
        let Some((sum, recordings)) = self.hosts.get_mut(host) else {
            return;
        };
        sum.add(report, |shift| addend(shift, true));
        recordings.push(Recorded {
            start: report.start,
            end: report.end,
            seconds: report.seconds(),
            complete: report.completeness.complete,
        });
    }

    /// The report of all; `None`: nothing was added.
    pub fn finish(self) -> Option<Report> {
        let hosts = self.hosts.into_iter().filter_map(|(sum, recordings)| {
            Some(HostReport {
                report: sum.finish()?,
                recordings,
            })
        });
        let hosts: Vec<_> = hosts.collect();
        let mut whole = self.whole.finish()?;
        whole.hosts = hosts;
        Some(whole)
    }
}

impl Sum {
    fn add(&mut self, report: &Report, how: impl FnOnce(Duration) -> Addend) {
        let sum = self.report.get_or_insert_with(|| Report {
            snapshot: Snapshot::default(),
            own_cost: None,
            hosts: Vec::new(),
            host: report.host.clone(),
            kernel: report.kernel.clone(),
            hooks: report.hooks.clone(),
            ..*report
        });
        let is_first = self.watched.is_empty();
        let before = sum.snapshot.span.length();
        let later = sum.start.zip(report.start);
        let later = later.map(|(first, start)| Duration::try_from(start.duration_since(first)));
        let shift = match later {
            Some(Ok(shift)) => shift,
            Some(Err(_)) => Duration::ZERO,
            // No clock tells: behind all others.
            None => before,
        };
        let end = shift + report.snapshot.span.length();
        self.watched.push((shift, end));
        sum.snapshot.span = Span {
            start: Mono(0),
            end: Mono(0).plus(before.max(end)),
        };
        sum.snapshot.merge(&report.snapshot, &how(shift));
        if is_first {
            return;
        }
        sum.end = sum.end.max(report.end);
        sum.completeness.add(&report.completeness);
        join(&mut sum.host, &report.host, ", ");
        join(&mut sum.kernel, &report.kernel, ", ");
        let hooks = &mut sum.hooks;
        let Hooks {
            state,
            time_wait,
            owner,
            reset,
            snapshot,
            // Only a live run can be.
            aggregate: _,
        } = &report.hooks;
        both(&mut hooks.state, state.as_deref());
        both(&mut hooks.time_wait, time_wait.as_deref());
        both(&mut hooks.owner, owner.as_deref());
        both(&mut hooks.reset, reset.as_deref());
        both(&mut hooks.snapshot, snapshot.as_deref());
    }

    fn finish(mut self) -> Option<Report> {
        let mut report = self.report?;
        self.watched.sort_unstable();
        let (mut covered, mut until) = (Duration::ZERO, Duration::ZERO);
        for (from, to) in self.watched {
            covered += to.saturating_sub(from.max(until));
            until = until.max(to);
        }
        let length = report.snapshot.span.length();
        report.snapshot.unwatched = length.saturating_sub(covered);
        Some(report)
    }
}

/// What both stand on; what one of them lacks, the sum lacks.
fn both(sum: &mut Option<String>, more: Option<&str>) {
    match (sum.as_mut(), more) {
        (Some(sum), Some(more)) => join(sum, more, "+"),
        _ => *sum = None,
    }
}

/// Adds a name to a list of names, once.
fn join(list: &mut String, name: &str, separator: &str) {
    if !list.split(separator).any(|there| there == name) {
        list.push_str(separator);
        list.push_str(name);
    }
}
