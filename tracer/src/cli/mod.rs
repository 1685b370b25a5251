//! What can be typed: verbs and options. `values` says what each value may be, `filters` what the
//! filter options mean together.

mod aggregate;
mod docs;
mod filters;
mod recording;
mod stuck;
mod top;
mod values;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use aggregate::AggregateArgs;
pub use docs::{CompletionsArgs, ManArgs};
pub use filters::FilterArgs;
pub use recording::{
    ExportArgs, ExportFormat, FromArgs, RecordArgs, RepairArgs, RotationArgs, VerifyArgs,
};
pub use stuck::{StuckArgs, StuckFormat};
pub use top::TopArgs;
pub(crate) use top::filter as parse_filter;
pub use values::RingSize;

use crate::{
    ebpf::{Options, SnapshotOptions, SnapshotSource, StateSource, TimewaitSource},
    engine::TcpState,
    filter::Filter,
};

/// How long TCP connections sit in each state, measured as it happens.
#[derive(Debug, Parser)]
#[command(name = "tcpdwell", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not permitted or not \
                        possible on this kernel."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// Say more on stderr: -v (dwells by state at the end, diagnostics), -vv.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// One line per state transition, as it happens.
    Trace(Box<TraceArgs>),
    /// How long connections stay in each state, as histograms.
    Hist(Box<HistArgs>),
    /// A dashboard on the whole terminal, live or of a recording.
    Top(Box<TopArgs>),
    /// Write what happens into a recording: studied elsewhere, it gives the same answers.
    Record(Box<RecordArgs>),
    /// Recordings for other tools: rows, tables or tracks.
    Export(Box<ExportArgs>),
    /// Look whether recordings are intact.
    Verify(VerifyArgs),
    /// Write what is intact of a damaged recording into a new one.
    Repair(RepairArgs),
    /// The sockets that linger now, oldest first: how long, held by whom, and why.
    Stuck(Box<StuckArgs>),
    /// Everything about a window of time: who closed first, how long TIME_WAIT lasted, who never closes.
    Report(Box<ReportArgs>),
    /// What is wrong with this host's TCP, by its figures, and what to do about it.
    Diagnose(Box<DiagnoseArgs>),
    /// What this kernel offers, what is used of it, and what is missing.
    Check(CheckArgs),
    /// Print what makes a shell complete the options.
    Completions(CompletionsArgs),
    /// Write the manual pages: tcpdwell(1), and one for each verb.
    Man(ManArgs),
}

/// What every verb takes that watches the running kernel, or a recording of one.
#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub(crate) filters: FilterArgs,
    /// Print to this file, made anew, instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// End after so long: 30s, 5m, 1h30m; a bare number is seconds.
    #[arg(short, long, value_name = "DURATION", value_parser = values::duration)]
    pub duration: Option<Duration>,
    #[command(flatten)]
    pub(crate) live: LiveArgs,
    #[command(flatten)]
    pub(crate) from: FromArgs,
    /// Run a command, and trace until it ends. Its output goes to stderr, unless -o is given.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// `trace`.
#[derive(Debug, Args)]
#[command(after_help = "\
MS is the time spent in OLDSTATE: '-' where its beginning was not seen, '>=' where the socket was \
found in it when the trace began. PID and COMM are the socket's owner, '-' where it is not certain. \
TIME_WAIT is shown as it truly happens where the kernel lets us look ('tcpdwell check'); else such a \
socket shows as FIN_WAIT2 -> CLOSE. -w adds who closed first, and why a connection ended.")]
pub struct TraceArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Add a column TIME(s): seconds since the start.
    #[arg(short = 't', long = "time")]
    pub time: bool,
    /// Add a column TIME: time of day.
    #[arg(short = 'T', long = "timestamp")]
    pub timestamp: bool,
    /// Room for every IPv6 address and whole process names; and who closed first, and why it ended.
    #[arg(short, long)]
    pub wide: bool,
    /// What to print.
    #[arg(long, value_enum, default_value_t)]
    pub format: TraceFormat,
    /// End after so many transitions were printed.
    #[arg(long, value_name = "N", value_parser = values::how_many::<u64>)]
    pub stop_after: Option<u64>,
}

/// `hist`.
#[derive(Debug, Args)]
#[command(after_help = "\
A dwell is counted when its state is left, and only if its beginning was seen. Connections that are \
still in the state are told apart, with what they have stayed so far.")]
pub struct HistArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// Print every so often (at least 1s), not only at the end.
    #[arg(short, long, value_name = "DURATION", value_parser = values::interval)]
    pub interval: Option<Duration>,
    /// End after so many intervals.
    #[arg(long, value_name = "N", requires = "interval", conflicts_with_all = ["duration", "from"],
          value_parser = values::how_many::<u32>)]
    pub count: Option<u32>,
    /// Each interval's histogram holds all that came before, too.
    #[arg(long, requires = "interval")]
    pub cumulative: bool,
    /// Milliseconds instead of microseconds.
    #[arg(short, long)]
    pub milliseconds: bool,
    /// One histogram for each of these (the first 20; the rest in 'other').
    #[arg(long, value_name = "KEY", value_enum)]
    pub by: Option<HistKeyArg>,
    #[command(flatten)]
    pub(crate) aggregate: AggregateArgs,
}

/// `report`.
#[derive(Debug, Args)]
#[command(
    mut_arg("since", |arg| arg.hide(true)),
    mut_arg("until", |arg| arg.hide(true)),
    after_help = "\
Ends with -d, with its COMMAND, or with Ctrl-C, and reports then. --state counts only connections that \
were in one of these states meanwhile; -p, --comm and --cgroup go by what is known of the owner in the \
end. Opened are connects and accepted handshakes, as the kernel's TcpActiveOpens and TcpPassiveOpens \
count them: what failed is among them."
)]
pub struct ReportArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// What to print.
    #[arg(long, value_enum, default_value_t)]
    pub format: ReportFormat,
    #[command(flatten)]
    pub(crate) aggregate: AggregateArgs,
}

/// `diagnose`.
#[derive(Debug, Args)]
#[command(
    mut_arg("since", |arg| arg.hide(true)),
    mut_arg("until", |arg| arg.hide(true)),
    after_help = "\
Watches until -d, its COMMAND or Ctrl-C ends it; half a minute under load tells most. Each rule says: a \
finding with its figures, what to do, how to verify it and what to avoid; or that all is fine; or that \
there is not enough data. Settings are those of the network namespace that tcpdwell runs in."
)]
pub struct DiagnoseArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// What to print.
    #[arg(long, value_enum, default_value_t)]
    pub format: DiagnoseFormat,
}

/// `--format` of `diagnose`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DiagnoseFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// `--format` of `report`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object.
    Json,
    /// A page by itself, with pictures.
    Html,
}

/// `--by` of `hist`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum HistKeyArg {
    /// Owner's name.
    Process,
    /// Local port.
    Lport,
    /// Remote address.
    Raddr,
    /// Who closed first.
    ClosedFirst,
    /// Why it ended.
    EndReason,
    /// The host: of recordings of several.
    Host,
}

/// How the kernel side is set up.
#[derive(Debug, Args)]
pub struct LiveArgs {
    /// Ring buffer between kernel and tool, in bytes (K, M, G): a power of two.
    #[arg(long, value_name = "BYTES", default_value = "16M", value_parser = values::ring_size)]
    pub ring_size: RingSize,
    /// Where state changes come from; auto takes the best that works.
    #[arg(long, value_name = "HOOK", value_enum, default_value_t)]
    pub state_source: StateSourceArg,
    /// Where the lives of TIME_WAIT sockets come from; auto takes the best that proves itself.
    #[arg(long, value_name = "HOOK", value_enum, default_value_t)]
    pub tw_source: TimewaitSourceArg,
    /// Where the sockets that are there come from, and who holds them; auto takes the best that works.
    #[arg(long, value_name = "SOURCE", value_enum, default_value_t)]
    pub snapshot_source: SnapshotSourceArg,
    /// A bit for each state whose sockets a snapshot leaves out.
    #[arg(skip = 1_u32 << TcpState::NewSynRecv.index())]
    pub(crate) snapshot_without: u32,
}

impl LiveArgs {
    /// As the kernel side wants it.
    pub fn options(&self, filter: Filter, log_level: log::LevelFilter) -> Options {
        let timewait = match self.tw_source {
            TimewaitSourceArg::Auto => TimewaitSource::LADDER.to_vec(),
            TimewaitSourceArg::Fentry => vec![TimewaitSource::Fentry],
            TimewaitSourceArg::Kprobe => vec![TimewaitSource::Kprobe],
            TimewaitSourceArg::Timer => vec![TimewaitSource::Timer],
            TimewaitSourceArg::Sampling => vec![TimewaitSource::Sampling],
            TimewaitSourceArg::None => Vec::new(),
        };
        Options {
            ring_size: self.ring_size.0,
            forced: self.state_source.forced(),
            timewait_forced: timewait.len() == 1,
            timewait,
            filter,
            snapshot: SnapshotOptions {
                forced: self.snapshot_source.forced(),
                without: self.snapshot_without,
            },
            log_level,
        }
    }
}

/// `--tw-source`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TimewaitSourceArg {
    /// The best that proves itself on a connection of its own.
    #[default]
    Auto,
    /// The kernel's functions, by fentry and fexit.
    Fentry,
    /// The same functions, by kprobes.
    Kprobe,
    /// The timers of TIME_WAIT sockets, by tracepoints.
    Timer,
    /// Looked at once a second: begun and ended some time between two looks, reasons unknown.
    Sampling,
    /// Don't ask: TIME_WAIT shows as CLOSE.
    None,
}

/// `--snapshot-source`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SnapshotSourceArg {
    /// The best that works.
    #[default]
    Auto,
    /// The kernel's iterators over sockets and files, by BPF.
    Iterators,
    /// sock_diag, as 'ss' asks, and the descriptors in /proc.
    #[value(name = "sock_diag")]
    SockDiag,
}

impl SnapshotSourceArg {
    /// The one to use, if any is to be forced.
    pub const fn forced(self) -> Option<SnapshotSource> {
        match self {
            Self::Auto => None,
            Self::Iterators => Some(SnapshotSource::Iterators),
            Self::SockDiag => Some(SnapshotSource::SockDiag),
        }
    }
}

/// `--format` of `trace`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TraceFormat {
    /// Columns, for people.
    #[default]
    Lines,
    /// One JSON object a line.
    Ndjson,
    /// The same fields, comma-separated, with a header.
    Csv,
}

/// `--state-source`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum StateSourceArg {
    /// The best that works.
    #[default]
    Auto,
    /// BTF tracepoint.
    #[value(name = "tp_btf")]
    TpBtf,
    /// Classic tracepoint: no cookies, no network namespaces.
    Tracepoint,
}

impl StateSourceArg {
    /// The rung to force, if any.
    pub const fn forced(self) -> Option<StateSource> {
        match self {
            Self::Auto => None,
            Self::TpBtf => Some(StateSource::TpBtf),
            Self::Tracepoint => Some(StateSource::Tracepoint),
        }
    }
}

/// `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// What to print.
    #[arg(long, value_enum, default_value_t)]
    pub format: CheckFormat,
    #[command(flatten)]
    pub(crate) live: LiveArgs,
}

/// `--format` of `check`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_holds_together() {
        super::Cli::command().debug_assert();
    }
}
