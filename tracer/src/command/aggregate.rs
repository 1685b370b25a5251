//! `--aggregate`: the kernel adds up, and what it added up is read once a second.
//!
//! No pipeline: there are no events. The sums are the engine's figures, and shown by the same views.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
use bytes::BufMut as _;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::{live, require};
use crate::{
    cli::{AggregateArgs, RunArgs},
    clock,
    cost::{Meter, OwnCost},
    ebpf::{
        Kernel, SnapshotSource, StateSource, SumOptions, SumProbes, TimewaitSource, drop_privileges,
    },
    engine::{AddedUp, Engine, Limits, LossLedger, Mono, Span, TcpState, Unseen, Update},
    enrich,
    error::Failure,
    filter::Filter,
    logging,
    render::completeness::Completeness,
    report::{self, Report},
    shutdown::Shutdown,
    sink::{HistOptions, HistSink, Output, Render, Sink as _, Start, WallClock, hooks},
};

/// How often the sums are read. Their dwells are of 32 bits: hours would do.
const READING: Duration = Duration::from_secs(1);

/// The time that programs which run while they are detached may take to finish.
const GRACE: Duration = Duration::from_millis(5);

/// The kernel programs, attached and adding up.
pub(super) struct Aggregate {
    args: RunArgs,
    /// Made before anybody is told that it watches.
    shutdown: Shutdown,
    probes: SumProbes,
    output: Output,
    start: Start,
    began: (Mono, i64),
    /// Where there may be more sockets.
    unseen: Unseen,
    verbosity: u8,
}

impl Aggregate {
    /// Attaches, and takes in what is there.
    pub(super) fn attach(args: RunArgs, wanted: &AggregateArgs, verbosity: u8) -> Result<Self> {
        let unknown = args.filters.decided_later();
        if !unknown.is_empty() {
            let why = format!(
                "--aggregate: {} can't be asked for: what is added up in the kernel does not know owners, nor \
                 where else a connection was",
                unknown.join(", ")
            );
            return Err(Failure::Usage(why).into());
        }
        let filter = Filter::try_from(args.filters.clone())?;
        let kernel = Kernel::look();
        require(&kernel)?;
        let output = Output::open(args.output.as_deref())?;
        let options = SumOptions {
            options: args.live.options(filter, logging::level(verbosity)),
            connections: wanted.max_connections,
        };
        let mut probes = SumProbes::attach(&kernel, &options)?;
        let began = clock::pair();
        let (snapshot, unseen) = take_in(&mut probes);
        let start = start(kernel.release.clone(), &probes, snapshot);
        let shutdown = Shutdown::new(args.duration)?;
        announce(&start);
        Ok(Self {
            args,
            shutdown,
            probes,
            output,
            start,
            began,
            unseen,
            verbosity,
        })
    }

    /// Shows a report at the end. `wants_cost`: with what measuring cost.
    pub(super) async fn report(self, render: Render, wants_cost: bool) -> Result<ExitCode> {
        let (began, wall_ns) = self.began;
        let mut clock = WallClock::default();
        clock.set(began, wall_ns);
        let start = self.start.clone();
        let ended = Box::pin(self.run(None, |_, _| Ok(()))).await?;
        let (end, wall_ns) = ended.end;
        let first = clock.at(began);
        clock.set(end, wall_ns);
        let hooks = report::Hooks {
            aggregate: Some("kernel".to_owned()),
            ..hooks(&start)
        };
        let report = Report {
            host: start.host,
            kernel: start.kernel,
            start: first,
            end: clock.at(end),
            hooks,
            completeness: ended.completeness,
            snapshot: ended.added_up.snapshot(Span { start: began, end }),
            own_cost: wants_cost.then_some(ended.own_cost),
            hosts: Vec::new(),
        };
        let mut output = ended.output;
        output.buffer().put_slice(&render(&report)?);
        output.flush()?;
        live::tell_end(&ended.completeness);
        Ok(ExitCode::SUCCESS)
    }

    /// Draws histograms, interval after interval or at the end.
    pub(super) async fn hist(self, options: HistOptions) -> Result<ExitCode> {
        // How long those have stayed that are still there needs each of them.
        let options = HistOptions {
            open: false,
            ..options
        };
        let every = options.interval;
        let engine = Engine::new(Limits::default());
        let mut sink = HistSink::new(options);
        let mut shown = AddedUp::default();
        let (at, wall_ns) = self.began;
        // Nothing is printed yet: it is from when the intervals are counted.
        let mut nowhere = Output::nowhere();
        sink.update(&Update::Clock { at, wall_ns }, nowhere.buffer())?;
        let each = |added_up: &AddedUp, output: &mut Output| {
            let (at, wall_ns) = clock::pair();
            feed(&mut sink, added_up, &mut shown);
            sink.update(&Update::Clock { at, wall_ns }, output.buffer())?;
            sink.tick(&engine, output.buffer())
        };
        let mut ended = Box::pin(self.run(every, each)).await?;
        feed(&mut sink, &ended.added_up, &mut shown);
        sink.end(&engine, &ended.completeness, ended.output.buffer())?;
        ended.output.flush()?;
        live::tell_end(&ended.completeness);
        Ok(ExitCode::SUCCESS)
    }

    /// Reads once a second until the run is ended from outside. `each`: what to do with it, if it is to
    /// be shown `every` so often.
    async fn run(
        self,
        every: Option<Duration>,
        mut each: impl FnMut(&AddedUp, &mut Output) -> Result<()>,
    ) -> Result<Ended> {
        let Self {
            args,
            mut shutdown,
            mut probes,
            mut output,
            unseen,
            verbosity,
            ..
        } = self;
        let meter = Meter::start();
        shutdown.run(&args.command, args.output.is_none())?;
        drop_privileges()?;
        let mut readings = interval_at(Instant::now() + READING, READING);
        readings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                ended = shutdown.wait() => {
                    ended?;
                    break;
                }
                _ = readings.tick() => {}
            }
            let added_up = probes.read()?;
            if every.is_some() {
                each(added_up, &mut output)?;
                if !output.flush()? {
                    break;
                }
            }
        }
        probes.detach();
        tokio::time::sleep(GRACE).await;
        let added_up = probes.read()?.clone();
        let account = probes.account()?;
        let sums = &added_up.sums;
        let ledger = LossLedger {
            delivered: account.counters.submitted,
            irregular: sums.irregular,
            repeats: sums.repeats,
            unknown_starts: sums.first_seen,
            preexisting: sums.preexisting,
            unseen,
            ..LossLedger::default()
        };
        // As long as the programs are held.
        let own_cost = meter.total();
        if verbosity > 0 {
            logging::note(&own_cost.to_string());
        }
        Ok(Ended {
            completeness: Completeness::new(&account, &ledger),
            added_up,
            end: clock::pair(),
            own_cost,
            output,
        })
    }
}

/// How it ended.
struct Ended {
    added_up: AddedUp,
    completeness: Completeness,
    end: (Mono, i64),
    own_cost: OwnCost,
    output: Output,
}

/// Gives a histogram what came since it was shown last.
fn feed(sink: &mut HistSink, now: &AddedUp, shown: &mut AddedUp) {
    for state in TcpState::ALL {
        if let Some(dwells) = now.histogram_since(shown, state) {
            sink.count_all(state, &dwells);
        }
    }
    shown.clone_from(now);
}

/// The sockets that are there, if they can be looked at.
fn take_in(probes: &mut SumProbes) -> (Option<SnapshotSource>, Unseen) {
    let taken = if probes.has_iterator() {
        enrich::take_in(probes)
    } else {
        Err(anyhow::anyhow!("this kernel has no iterator over sockets"))
    };
    match taken.context("sockets older than the run are not known") {
        Ok((namespaces, unseen)) => {
            log::debug!("{namespaces} network namespaces looked into");
            if !unseen.is_nothing() {
                log::warn!("sockets older than the run are not all known: {unseen}");
            }
            (Some(SnapshotSource::Iterators), unseen)
        }
        Err(error) => {
            log::warn!("{error:#}");
            (None, Unseen::default())
        }
    }
}

fn start(kernel: String, probes: &SumProbes, snapshot: Option<SnapshotSource>) -> Start {
    Start {
        host: live::host(),
        kernel,
        state: StateSource::TpBtf.name().to_owned(),
        time_wait: probes
            .timewait()
            .map_or("none", TimewaitSource::name)
            .to_owned(),
        snapshot: snapshot.map_or("none", SnapshotSource::name).to_owned(),
        owner: "none".to_owned(),
        boot_id: None,
    }
}

fn announce(start: &Start) {
    let time_wait = match start.time_wait.as_str() {
        "none" => " without TIME_WAIT".to_owned(),
        hook => format!(", TIME_WAIT by {hook}"),
    };
    logging::note(
        "added up in the kernel: owners, groups and single sockets are not known; percentiles are within \
         0.8 %",
    );
    logging::note(&format!(
        "tracing TCP state changes by {}{time_wait}, added up in the kernel; Ctrl-C ends",
        start.state
    ));
}
