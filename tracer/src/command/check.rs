//! `check`: what this kernel offers, what is used of it, what is missing and how to get it.

use std::process::ExitCode;

use anyhow::Result;
use bytes::BufMut as _;
use serde::Serialize;

use super::require;
use crate::{
    cli::{CheckArgs, CheckFormat},
    cost::Meter,
    ebpf::{
        AcceptSource, Capabilities, Kernel, Lockdown, Options, Probes, SnapshotSource, StateSource,
        TimewaitSource, tracefs_is_mounted,
    },
    enrich,
    error::Failure,
    filter::Filter,
    logging,
    sink::Output,
    source::live::eyes,
};

/// What would bring back the hooks of TIME_WAIT.
const TIMEWAIT_HOOKS: &str = "BTF, and fentry (CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS), kprobes \
                              (CONFIG_KPROBES) or readable symbols (kernel.kptr_restrict below 2, CAP_SYSLOG)";

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    kernel: String,
    btf: bool,
    tracefs: bool,
    lockdown: &'static str,
    capabilities: Vec<&'static str>,
    hooks: Hooks,
    programs: Vec<Rung>,
    degraded: Vec<Degraded>,
    can_trace: bool,
}

#[derive(Debug, Default, Serialize)]
struct Hooks {
    state: Option<&'static str>,
    time_wait: Option<&'static str>,
    cookie: bool,
    netns: bool,
    owner: Option<&'static str>,
    accept: Option<&'static str>,
    snapshot: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Rung {
    hook: &'static str,
    used: bool,
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Degraded {
    what: String,
    because: String,
    mend: String,
}

/// Runs it. Exit code 3 where tracing is not possible.
pub(super) fn run(args: &CheckArgs, verbosity: u8) -> Result<ExitCode> {
    let kernel = Kernel::look();
    let options = args
        .live
        .options(Filter::default(), logging::level(verbosity));
    let meter = Meter::start();
    let (report, probes) = look(&kernel, &options)?;
    // What the programs cost is known as long as they are held.
    if verbosity > 0 {
        logging::note(&format!("attaching once, {}", meter.total()));
    }
    drop(probes);
    let text = match args.format {
        CheckFormat::Json => serde_json::to_string_pretty(&report)? + "\n",
        CheckFormat::Text => report.text(),
    };
    let mut output = Output::open(None)?;
    output.buffer().put_slice(text.as_bytes());
    output.flush()?;
    Ok(ExitCode::from(if report.can_trace { 0 } else { 3 }))
}

fn look(kernel: &Kernel, options: &Options) -> Result<(Report, Option<Probes>)> {
    let mut report = Report {
        schema: "tcpdwell.check/1",
        kernel: kernel.release.clone(),
        btf: kernel.btf.is_ok(),
        tracefs: tracefs_is_mounted(),
        lockdown: kernel.lockdown.name(),
        capabilities: Capabilities::of_this_process()?.names(),
        hooks: Hooks::default(),
        programs: Vec::new(),
        degraded: Vec::new(),
        can_trace: false,
    };
    let mut attached = None;
    match require(kernel).and_then(|()| Probes::attach(kernel, options)) {
        Ok(probes) => report.found(attached.insert(probes)),
        Err(error) => match error.downcast_ref::<Failure>() {
            Some(Failure::Impossible {
                what,
                because,
                mend,
            }) => report.degrade(what, because, mend),
            _ => report.degrade("tracing", &format!("{error:#}"), "unknown"),
        },
    }
    if let Err(why) = &kernel.btf {
        report.degrade(
            "cookies, network namespaces, owners, nested events",
            why,
            "a kernel built with CONFIG_DEBUG_INFO_BTF=y (most distributions since 2021)",
        );
    }
    if kernel.lockdown == Lockdown::Confidentiality {
        report.degrade(
            "reading socket fields",
            "lockdown=confidentiality forbids reading the kernel's memory",
            "boot with lockdown=integrity",
        );
    }
    Ok((report, attached))
}

impl Report {
    fn found(&mut self, probes: &Probes) {
        let source = probes.source();
        let owner = probes.knows_tasks().then_some("connect, listen, close");
        self.can_trace = true;
        self.hooks = Hooks {
            state: Some(source.name()),
            time_wait: probes.timewait().map(TimewaitSource::name),
            cookie: probes.has_cookie(),
            netns: source == StateSource::TpBtf,
            owner,
            accept: probes.accept().map(AcceptSource::name),
            snapshot: None,
        };
        for attempt in probes.attempts() {
            self.programs.push(Rung {
                hook: attempt.rung,
                used: attempt.error.is_none(),
                error: attempt.error.clone(),
            });
        }
        let timewait = probes.timewait();
        let told = timewait.filter(|source| *source != TimewaitSource::Sampling);
        self.uses(told.map(TimewaitSource::name));
        self.uses(probes.accept().map(AcceptSource::name));
        self.snapshot(probes);
        if source == StateSource::TpBtf && !probes.has_cookie() {
            self.degrade(
                "socket cookies",
                "this kernel has no bpf_get_socket_cookie for tracing programs",
                "Linux 5.12 or later; until then sockets are told apart by address and tuple",
            );
        }
        match timewait {
            None => self.degrade(
                "TIME_WAIT",
                "no hook tells of it; such sockets show as FIN_WAIT2 -> CLOSE",
                TIMEWAIT_HOOKS,
            ),
            Some(TimewaitSource::Sampling) => self.degrade(
                "TIME_WAIT",
                "no hook tells of it: looked at once a second, so that dwells are within a second, what begins \
                 and ends between two looks is missed, and why it ends is not known; --aggregate has none",
                TIMEWAIT_HOOKS,
            ),
            Some(TimewaitSource::Timer) => self.degrade(
                "the moment of a late FIN",
                "timers don't tell of a FIN that comes to a minisock in FIN_WAIT2: FIN_WAIT2 -> TIME_WAIT is told \
                 when that one ends, with its true time; a run that ends before shows none",
                "fentry (CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS) or kprobes (CONFIG_KPROBES)",
            ),
            Some(_) => {}
        }
        match probes.accept() {
            Some(AcceptSource::Read) => self.degrade(
                "owners of accepted connections",
                "inet_csk_accept can't be hooked; they are known from the first read on",
                "fentry (CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS) or kprobes (CONFIG_KPROBES)",
            ),
            None => self.degrade(
                "owners of accepted connections",
                "no hook tells of them; they are known when they close",
                "BTF, and fentry (CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS) or kprobes (CONFIG_KPROBES)",
            ),
            Some(_) => {}
        }
        if source == StateSource::Tracepoint {
            self.degrade(
                "events that interrupt the program",
                "classic tracepoint programs share one recursion guard per CPU; what it skips is \
                 counted as lost (recursion)",
                "the BTF tracepoint (--state-source tp_btf)",
            );
        }
    }

    /// Where sockets are looked at, and what is out of reach there.
    fn snapshot(&mut self, probes: &Probes) {
        match eyes(probes) {
            Ok(Some(SnapshotSource::Iterators)) => {
                self.hooks.snapshot = Some(SnapshotSource::Iterators.name());
                self.uses(self.hooks.snapshot);
            }
            Ok(Some(SnapshotSource::SockDiag)) => {
                self.hooks.snapshot = Some(SnapshotSource::SockDiag.name());
                self.degrade(
                    "sockets older than the trace",
                    "looked at by sock_diag and /proc: no start of older TIME_WAITs, no references to \
                     files, and every process's descriptors are read",
                    "iterators: Linux 5.9 or later, with BTF (and no --snapshot-source sock_diag)",
                );
            }
            Ok(None) => self.degrade(
                "sockets older than the trace",
                "neither the iterators over sockets and files nor sock_diag can be used",
                "Linux 5.9 or later with BTF, or the module tcp_diag",
            ),
            Err(error) => {
                self.can_trace = false;
                self.degrade(
                    "sockets older than the trace",
                    &format!("{error:#}"),
                    "another --snapshot-source, or auto",
                );
            }
        }
        match enrich::out_of_reach() {
            Ok(unseen) if unseen.is_nothing() => {}
            Ok(unseen) => self.degrade(
                "sockets older than the trace",
                &unseen.to_string(),
                "root, or CAP_SYS_ADMIN and CAP_SYS_PTRACE; what changes is told of all namespaces in any case",
            ),
            Err(error) => self.degrade(
                "sockets older than the trace",
                &format!("{error:#}"),
                "unknown",
            ),
        }
    }

    /// A program that is attached, if there is one.
    fn uses(&mut self, hook: Option<&'static str>) {
        self.programs.extend(hook.map(|hook| Rung {
            hook,
            used: true,
            error: None,
        }));
    }

    fn degrade(&mut self, what: &str, because: &str, mend: &str) {
        self.degraded.push(Degraded {
            what: what.to_owned(),
            because: because.to_owned(),
            mend: mend.to_owned(),
        });
    }

    fn text(&self) -> String {
        let yes = |is: bool| if is { "yes" } else { "no" };
        let mut out = format!(
            "kernel        {}\nBTF           {}\ntracefs       {}\nlockdown      {}\n\
             capabilities  {}\nstate changes {}\n  cookies     {}\n  namespaces  {}\n  \
             owners      {}\n  accept      {}\nTIME_WAIT     {}\nsnapshot      {}\n",
            self.kernel,
            yes(self.btf),
            if self.tracefs {
                "mounted"
            } else {
                "not mounted (mounted privately if needed)"
            },
            self.lockdown,
            self.capabilities.join(" "),
            self.hooks.state.unwrap_or("-"),
            yes(self.hooks.cookie),
            yes(self.hooks.netns),
            self.hooks.owner.unwrap_or("-"),
            self.hooks.accept.unwrap_or("-"),
            self.hooks.time_wait.unwrap_or("-"),
            self.hooks.snapshot.unwrap_or("-"),
        );
        for rung in &self.programs {
            let state = rung.error.as_deref().unwrap_or("attached");
            out += &format!("program       {}: {state}\n", rung.hook);
        }
        for d in &self.degraded {
            out += &format!(
                "degraded      {}: {}\n  mend        {}\n",
                d.what, d.because, d.mend
            );
        }
        out += if self.can_trace {
            "tcpdwell can trace here\n"
        } else {
            "tcpdwell can't trace here\n"
        };
        out
    }
}
