//! What every verb does that watches the running kernel: attach, say so, run, tell what is missing.

use std::{fs, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
use log::Level;
use tracer_common::filter::NETNS;

use super::require;
use crate::{
    cli::RunArgs,
    cost::Meter,
    ebpf::{
        Kernel, Probes, SnapshotSource, StateSource, TimewaitSource, drop_privileges,
        keep_privileges_to_look, no_new_privileges,
    },
    engine::{Engine, Limits},
    error::Failure,
    filter::{Filter, Gate},
    logging,
    pipeline::{Outcome, Pipeline},
    recording::Recorder,
    render::{completeness::Completeness, count, dwells, ends, escape},
    shutdown::{Ended, Shutdown},
    sink::{Output, Sink, Start},
    source::live::{LiveSource, LookOptions},
};

/// An attached tool.
pub(super) struct Live {
    args: RunArgs,
    filter: Filter,
    output: Output,
    source: LiveSource,
    start: Start,
    /// Made before anybody is told that it watches: who ends it then ends it in order.
    shutdown: Shutdown,
    verbosity: u8,
    stdout_is_ours: bool,
    /// Sockets are looked at again and again.
    looks: bool,
}

impl Live {
    /// Attaches, and looks at what is there. Nothing is written yet.
    pub(super) fn attach(args: RunArgs, verbosity: u8) -> Result<Self> {
        let filter = Filter::try_from(args.filters.clone())?;
        let kernel = Kernel::look();
        require(&kernel)?;
        let output = Output::open(args.output.as_deref())?;
        let live = Self::attach_to(args, filter, &kernel, output, verbosity)?;
        live.announce();
        Ok(live)
    }

    /// The same, for what prints nothing, and announces it when all else is ready.
    pub(super) fn attach_silent(args: RunArgs, verbosity: u8) -> Result<Self> {
        let filter = Filter::try_from(args.filters.clone())?;
        let kernel = Kernel::look();
        require(&kernel)?;
        let mut live = Self::attach_to(args, filter, &kernel, Output::nowhere(), verbosity)?;
        live.stdout_is_ours = false;
        Ok(live)
    }

    fn attach_to(
        args: RunArgs,
        filter: Filter,
        kernel: &Kernel,
        output: Output,
        verbosity: u8,
    ) -> Result<Self> {
        args.from.only_with_files()?;
        let options = args.live.options(filter.clone(), logging::level(verbosity));
        let probes = Probes::attach(kernel, &options)?;
        let source = LiveSource::new(probes, &filter)?;
        accept_rung(source.probes(), &filter)?;
        let start = start(kernel.release.clone(), &source);
        Ok(Self {
            shutdown: Shutdown::new(args.duration)?,
            stdout_is_ours: args.output.is_none(),
            args,
            filter,
            output,
            source,
            start,
            verbosity,
            looks: false,
        })
    }

    /// Says that it watches from here on, and by what.
    pub(super) fn announce(&self) {
        tell_rung(self.source.probes());
    }

    /// What it stands on.
    pub(super) const fn start(&self) -> &Start {
        &self.start
    }

    /// Looks at the sockets again: every so often, and at the end.
    pub(super) fn looking(self, every: Option<Duration>) -> Self {
        self.looking_by(LookOptions {
            every,
            ..LookOptions::default()
        })
    }

    /// The same, by more rules.
    pub(super) fn looking_by(mut self, options: LookOptions) -> Self {
        self.looks = true;
        self.source.look_again(self.filter.clone(), options);
        self
    }

    /// Runs until it is ended from outside, or so many transitions were shown.
    pub(super) async fn run(self, sink: Box<dyn Sink>, stop_after: u64) -> Result<ExitCode> {
        self.tapped(sink, stop_after, None).await?;
        Ok(ExitCode::SUCCESS)
    }

    /// The same, while all that the engine is told is recorded, too.
    pub(super) async fn tapped(
        mut self,
        sink: Box<dyn Sink>,
        stop_after: u64,
        tap: Option<&mut Recorder>,
    ) -> Result<Outcome> {
        self.shutdown.run(&self.args.command, self.stdout_is_ours)?;
        let timewait = self.source.probes().timewait();
        if timewait == Some(TimewaitSource::Sampling) {
            log::debug!("privileges are kept: every look at TIME_WAIT takes them");
            no_new_privileges()?;
        } else if self.looks {
            keep_privileges_to_look()?;
        } else {
            drop_privileges()?;
        }
        let pipeline = Pipeline {
            source: &mut self.source,
            engine: engine(self.looks),
            gate: Gate::new(self.filter),
            sink,
            output: self.output,
            stop_after,
            tap,
        };
        let meter = (self.verbosity > 0).then(Meter::start);
        // Boxed: it holds the buffers of a whole look, and lies within every verb's future.
        let outcome = Box::pin(pipeline.run(&self.start, &mut self.shutdown)).await?;
        if let Some(meter) = meter {
            logging::note(&meter.total().to_string());
        }
        let waiting = outcome.engine.waiting_for_fin();
        if waiting > 0 && !self.looks && timewait == Some(TimewaitSource::Timer) {
            logging::note(&format!(
                "{} last told in FIN_WAIT2 may be in TIME_WAIT by now: timers tell of a late FIN when its wait ends",
                count::of(waiting, "socket")
            ));
        }
        tell_outcome(&outcome, &self.args.command, self.verbosity);
        Ok(outcome)
    }
}

/// What makes sense of it all, of leaks too if they can show.
fn engine(looks: bool) -> Engine {
    let mut engine = Engine::new(Limits::default());
    if looks {
        engine.watch_close_waits();
    }
    engine
}

/// What this host calls itself.
pub(super) fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// What the run stands on.
fn start(kernel: String, source: &LiveSource) -> Start {
    let probes = source.probes();
    Start {
        host: host(),
        kernel,
        state: probes.source().name().to_owned(),
        time_wait: probes
            .timewait()
            .map_or("none", TimewaitSource::name)
            .to_owned(),
        snapshot: source
            .snapshot()
            .map_or("none", SnapshotSource::name)
            .to_owned(),
        owner: match probes.accept() {
            Some(source) => source.name(),
            None if probes.knows_tasks() => "state",
            None => "none",
        }
        .to_owned(),
        boot_id: None,
    }
}

/// Refuses what this rung can't do.
fn accept_rung(probes: &Probes, filter: &Filter) -> Result<()> {
    let classic = probes.source() == StateSource::Tracepoint;
    if classic && filter.kernel.criteria & NETNS != 0 {
        return Err(Failure::Impossible {
            what: "--netns".to_owned(),
            because: "the classic tracepoint does not tell the network namespace".to_owned(),
            mend: "a kernel with BTF is needed (CONFIG_DEBUG_INFO_BTF)".to_owned(),
        })
        .context("applying the filter");
    }
    for attempt in probes.attempts() {
        if let Some(error) = &attempt.error {
            // Without cookies little is lost; without the BTF tracepoint much.
            let level = if classic { Level::Warn } else { Level::Debug };
            log::log!(level, "{} can't be used: {error}", attempt.rung);
        }
    }
    Ok(())
}

fn tell_rung(probes: &Probes) {
    let classic = probes.source() == StateSource::Tracepoint;
    let missing = [
        (!probes.has_cookie(), "cookies"),
        (classic, "network namespaces"),
        (!probes.knows_tasks(), "owners"),
        (probes.timewait().is_none(), "TIME_WAIT"),
    ];
    let missing: Vec<_> = missing
        .iter()
        .filter(|(is, _)| *is)
        .map(|(_, what)| *what)
        .collect();
    let without = match missing.as_slice() {
        [] => String::new(),
        some => format!(" without {}", some.join(", ")),
    };
    let time_wait = probes
        .timewait()
        .map_or_else(String::new, |s| format!(", TIME_WAIT by {}", s.name()));
    logging::note(&format!(
        "tracing TCP state changes by {}{time_wait}{without}; Ctrl-C ends",
        probes.source().name(),
    ));
}

pub(super) fn tell_outcome(outcome: &Outcome, command: &[String], verbosity: u8) {
    if let Some(name) = command.first() {
        let name = escape::text(name.as_bytes());
        logging::note(&match &outcome.ended {
            Some(Ended::Command(status)) => format!("the command '{name}' ended: {status}"),
            _ => format!("the command '{name}' has not ended: it is left to itself"),
        });
    }
    if verbosity > 0 {
        let stats = outcome.engine.stats();
        if outcome.is_filtered {
            logging::note("of everything, whatever the filters for the output leave out:");
        }
        for line in dwells::table(stats).into_iter().chain(ends::lines(stats)) {
            logging::note(&line);
        }
    }
    tell_end(&outcome.completeness);
}

/// The line that ends every run.
pub(super) fn tell_end(completeness: &Completeness) {
    logging::note(&completeness.line());
}
