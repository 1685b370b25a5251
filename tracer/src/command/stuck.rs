//! `stuck`: the sockets that linger now, oldest first.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};
use nix::errno::Errno;

use super::{live::Live, require, stuck_from};
use crate::{
    cli::{StuckArgs, StuckFormat},
    clock,
    ebpf::{Iterators, Kernel, Options, SnapshotSource},
    engine::{
        Engine, Limits, StateSet, TcpState,
        stuck::{LINGERING, OlderThan, StuckSocket},
    },
    enrich::{self, CgroupPaths, Means, Target},
    error::Failure,
    filter::Filter,
    logging,
    render::count,
    sink::{Output, Sink as _, StuckOptions, StuckSink, WantsProcess},
};

/// Rows for people, unless they ask for others.
const ROWS: usize = 20;

/// What is younger is about to go: unless they ask for it. Only of CLOSE_WAIT and FIN_WAIT2 does the
/// kernel know how old one is; the others are not to go unseen.
const LINGERS: OlderThan = OlderThan {
    age: Duration::from_secs(5),
    or_unknown: true,
};

/// Runs it: one look, or a look every interval, while the state changes are traced.
pub(super) async fn run(mut args: StuckArgs, verbosity: u8) -> Result<ExitCode> {
    let states = states(args.run.filters.take_states())?;
    let filter = Filter::try_from(args.run.filters.clone())?;
    let past = !args.run.from.files.is_empty();
    let watches = args.watch || args.run.duration.is_some() || !args.run.command.is_empty();
    let sink = || {
        StuckSink::new(StuckOptions {
            states,
            older_than: args.older_than.map_or(LINGERS, OlderThan::from),
            wants: wants(&filter),
            interval: args.watch.then_some(args.interval),
            limit: args.limit.unwrap_or(match args.format {
                // What is to be destroyed is listed whole.
                StuckFormat::Text if !args.kill => ROWS,
                _ => 0,
            }),
            wide: args.wide,
            json: args.format == StuckFormat::Json,
            past,
        })
    };
    if past {
        let task = stuck_from::Task {
            filter: filter.clone(),
            args: &args.run,
            at: args.at,
            between: match args.format {
                StuckFormat::Text => b"\n",
                StuckFormat::Json => b"",
            },
            verbosity,
        };
        return stuck_from::run(task, sink).await;
    }
    let sink = sink();
    if watches {
        // What comes and goes meanwhile is followed, too.
        let told = 1 << TcpState::TimeWait.index() | 1 << TcpState::NewSynRecv.index();
        args.run.live.snapshot_without = !wanted(states) & told;
        let every = args.watch.then_some(args.interval);
        return Live::attach(args.run, verbosity)?
            .looking(every)
            .run(Box::new(sink), u64::MAX)
            .await;
    }
    look(&args, states, &filter, sink, verbosity)
}

/// The states asked for: only those in which a socket can be stuck.
fn states(asked: StateSet) -> Result<StateSet, Failure> {
    if asked.is_empty() {
        return Ok(std::iter::once(TcpState::CloseWait).collect());
    }
    let states: StateSet = LINGERING
        .into_iter()
        .filter(|state| asked.contains(*state))
        .collect();
    if states.is_empty() {
        let known: Vec<&str> = LINGERING.iter().map(|state| state.name()).collect();
        return Err(Failure::Usage(format!(
            "--state: nothing is stuck in such a state; known: {}",
            known.join(" ")
        )));
    }
    Ok(states)
}

fn wants(filter: &Filter) -> Option<WantsProcess> {
    let filter = filter.clone();
    (!filter.wants_any_process()).then(|| -> WantsProcess {
        Box::new(move |pid, process, path| filter.wants_process(pid, process, path))
    })
}

/// One look, and nothing is attached.
fn look(
    args: &StuckArgs,
    states: StateSet,
    filter: &Filter,
    mut sink: StuckSink,
    verbosity: u8,
) -> Result<ExitCode> {
    let began = clock::monotonic();
    let mut output = Output::open(args.run.output.as_deref())?;
    let mut options = (args.run.live).options(filter.clone(), logging::level(verbosity));
    options.snapshot.without = !wanted(states);
    let mut iterators = iterators(&options)?;
    let loaded = clock::monotonic();
    let means = iterators
        .as_mut()
        .map_or(Means::SockDiag, |iterators| Means::Iterators(iterators));
    let snapshot = enrich::take(means, options.snapshot.without, filter)?;
    let looked = clock::monotonic();
    if snapshot.unreadable > 0 {
        logging::note(&format!(
            "what is held by {} that may not be looked into is not known. As root it is",
            match snapshot.unreadable {
                1 => "a process".to_owned(),
                several => format!("{several} processes"),
            }
        ));
    }
    let mut events = snapshot.events;
    CgroupPaths::default().tell(&mut events, 0);
    let mut engine = Engine::new(Limits::default());
    let mut updates = Vec::new();
    for event in std::iter::once(&clock::anchor()).chain(&events) {
        engine.handle_event(event, &mut updates);
    }
    for update in updates.drain(..) {
        sink.update(&update, output.buffer())?;
    }
    sink.show(&engine, None, output.buffer())?;
    output.flush()?;
    log::debug!(
        "loaded in {:.1} ms, looked at {} facts in {} network namespaces in {:.1} ms, \
         told in {:.1} ms",
        millis(loaded.since(began)),
        events.len(),
        snapshot.namespaces,
        millis(looked.since(loaded)),
        millis(clock::monotonic().since(looked)),
    );
    if args.kill {
        return kill(&sink.sockets(&engine, engine.looks().at()).0, args.yes);
    }
    Ok(ExitCode::SUCCESS)
}

/// What to look with; `None`: `sock_diag`, which needs neither BPF nor privileges.
fn iterators(options: &Options) -> Result<Option<Iterators>> {
    let forced = options.snapshot.forced;
    if forced == Some(SnapshotSource::SockDiag) {
        return Ok(None);
    }
    let kernel = Kernel::look();
    match require(&kernel).and_then(|()| Iterators::load(&kernel, options)) {
        Ok(iterators) => Ok(Some(iterators)),
        Err(error) if forced.is_none() => {
            log::info!("the iterators can't be used, but sock_diag: {error:#}");
            Ok(None)
        }
        Err(error) => Err(error.context("--snapshot-source iterators")),
    }
}

/// Destroys the sockets, if that was confirmed.
fn kill(sockets: &[StuckSocket], confirmed: bool) -> Result<ExitCode> {
    let count = sockets.len();
    if !confirmed {
        logging::note(&format!(
            "--kill: {}, as listed, would be destroyed; nothing was. Add --yes to destroy those that are \
             stuck then",
            count::of(count, "socket")
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let targets: Vec<Target> = sockets
        .iter()
        .map(|s| Target {
            netns: s.netns,
            tuple: s.tuple,
            cookie: s.cookie,
        })
        .collect();
    let results = enrich::destroy(&targets).context("--kill")?;
    let mut failed = 0;
    for (socket, error) in sockets
        .iter()
        .zip(&results)
        .filter_map(|(s, r)| Some((s, r.err()?)))
    {
        failed += 1;
        if failed <= 10 {
            let (local, remote) = (socket.tuple.local, socket.tuple.remote);
            logging::note(&format!(
                "--kill: {}:{} - {}:{} was not destroyed: {}",
                local.ip(),
                local.port,
                remote.ip(),
                remote.port,
                reason(error)
            ));
        }
    }
    logging::note(&format!(
        "--kill: {} of {} destroyed",
        count - failed,
        count::of(count, "socket")
    ));
    Ok(ExitCode::from(u8::from(failed > 0)))
}

/// What an error of the kernel means here.
fn reason(error: Errno) -> &'static str {
    match error {
        Errno::ENOENT => "it is gone",
        Errno::EPERM => "not permitted; CAP_NET_ADMIN is needed",
        Errno::EOPNOTSUPP | Errno::EINVAL => {
            "this kernel can't (CONFIG_INET_DIAG_DESTROY, or the module tcp_diag is missing)"
        }
        other => other.desc(),
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// What the kernel has to show: those states, whatever may stand for them, and listeners.
fn wanted(states: StateSet) -> u32 {
    let mut bits = 1 << TcpState::Listen.index();
    if states.contains(TcpState::SynRecv) {
        bits |= 1 << TcpState::NewSynRecv.index();
    }
    for state in LINGERING.into_iter().filter(|s| states.contains(*s)) {
        bits |= 1 << state.index();
        if state == TcpState::FinWait2 {
            bits |= 1 << TcpState::TimeWait.index();
        }
    }
    bits
}
