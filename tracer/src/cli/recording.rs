//! Options that make recordings, and that read them.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::{LiveArgs, filters::FilterArgs, values};
use crate::{error::Failure, filter::Window, recording::Rotation};

/// Where events come from, if not from the running kernel.
#[derive(Clone, Debug, Default, Args)]
pub struct FromArgs {
    /// Read these recordings instead of the running kernel; several are merged by host and by time.
    #[arg(long = "from", help_heading = "Recordings", value_name = "FILE", num_args = 1.., id = "from",
          conflicts_with_all = ["duration", "ring_size", "state_source", "tw_source", "snapshot_source", "command"])]
    pub files: Vec<PathBuf>,
    /// Only transitions at or after this time: '2026-11-21 10:30' here, or 2026-11-21T10:30:00Z.
    #[arg(long, help_heading = "Recordings", value_name = "TIME", requires = "from",
          value_parser = values::moment)]
    pub since: Option<Timestamp>,
    /// Only transitions before this time.
    #[arg(long, help_heading = "Recordings", value_name = "TIME", requires = "from",
          value_parser = values::moment)]
    pub until: Option<Timestamp>,
    /// Fail (exit 1) where a recording is damaged or incomplete.
    #[arg(long, help_heading = "Recordings", requires = "from")]
    pub strict: bool,
}

impl FromArgs {
    /// Whether not all of it is wanted.
    pub(crate) const fn is_of_a_part(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }

    /// What means nothing without a recording is refused: clap does not, beside what conflicts with `--from`.
    pub(crate) fn only_with_files(&self) -> Result<(), Failure> {
        if self.files.is_empty() && (self.is_of_a_part() || self.strict) {
            let why = "--since, --until, --strict: only for recordings, with --from";
            return Err(Failure::Usage(why.to_owned()));
        }
        Ok(())
    }

    /// What `--since` and `--until` leave.
    pub(crate) fn window(&self) -> Result<Window, Failure> {
        if let (Some(since), Some(until)) = (self.since, self.until)
            && since >= until
        {
            return Err(Failure::Usage(
                "--until: must be later than --since".to_owned(),
            ));
        }
        Ok(Window {
            since: self.since.map(Timestamp::as_nanosecond),
            until: self.until.map(Timestamp::as_nanosecond),
        })
    }
}

/// `record`.
#[derive(Debug, Args)]
#[command(
    mut_arg("pid", |arg| arg.hide(true)),
    mut_arg("comm", |arg| arg.hide(true)),
    mut_arg("cgroup", |arg| arg.hide(true)),
    mut_arg("state", |arg| arg.hide(true)),
    after_help = "\
The file is for its owner only (mode 0600): addresses and process names are in it. It grows by whole, \
checksummed blocks, once a second or more often: after a crash all of them can be read. What a slow disk \
keeps from being recorded is counted and told. Owners and states are filtered when it is read: \
'tcpdwell trace --from FILE --comm nginx'."
)]
pub struct RecordArgs {
    #[command(flatten)]
    pub(crate) filters: FilterArgs,
    /// The recording: a file that is not there yet, or a directory in which one is made.
    #[arg(short, long, value_name = "FILE|DIR")]
    pub output: PathBuf,
    /// How hard to compress: 1 (fastest) to 19.
    #[arg(long, value_name = "LEVEL", default_value_t = 1,
          value_parser = clap::value_parser!(i32).range(1..=19))]
    pub compress_level: i32,
    #[command(flatten)]
    pub(crate) rotation: RotationArgs,
    /// With --flight: write it out, too, when a rule of 'diagnose' finds a warning or worse that was not
    /// there before. The rules are asked every 20 s.
    #[arg(long, requires = "flight")]
    pub on_finding: bool,
    /// End after so long: 30s, 5m, 1h30m; a bare number is seconds.
    #[arg(short, long, value_name = "DURATION", value_parser = values::duration)]
    pub duration: Option<Duration>,
    /// Look so often (at least 1s), and at the end, at the sockets that wait: who holds them, and why
    /// ('stuck --from'). Less often where looks would take more than 0.5 % of the time. 0: only at the
    /// beginning, after which all privileges are given up.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::interval_or_none)]
    pub look_every: Duration,
    #[command(flatten)]
    pub(crate) live: LiveArgs,
    /// Run a command, and record until it ends.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// When the next file begins, and how much is kept.
#[derive(Clone, Copy, Debug, Args)]
pub struct RotationArgs {
    /// Begin another file at so many bytes (K, M, G; at least 64K): x.tdw, x.000001.tdw, ...
    #[arg(long, value_name = "BYTES", value_parser = values::size)]
    rotate_size: Option<u64>,
    /// Begin another file after so long (at least 1s).
    #[arg(long, value_name = "DURATION", value_parser = values::interval)]
    rotate_every: Option<Duration>,
    /// Delete the oldest files of this recording when they take more than so many bytes.
    #[arg(long, value_name = "BYTES", value_parser = values::size)]
    keep_size: Option<u64>,
    /// Delete files of this recording that ended longer ago than this.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    keep_for: Option<Duration>,
    /// Flight recorder: keep the latest of so long in memory (256 MB at most, or --keep-size), and write
    /// it to the file at the end, and into another each time SIGUSR1 comes.
    #[arg(long, value_name = "DURATION", value_parser = values::interval,
          conflicts_with_all = ["rotate_size", "rotate_every", "keep_for"])]
    flight: Option<Duration>,
}

/// What `--flight` may take.
const FLIGHT_BYTES: u64 = 256 << 20;
/// Parts that it is kept in: the oldest goes when it is too old.
const FLIGHT_PARTS: u32 = 10;

impl RotationArgs {
    /// How much time `--flight` keeps.
    pub(crate) const fn flight(self) -> Option<Duration> {
        self.flight
    }

    /// As the recorder wants it.
    pub(crate) fn rotation(self) -> Result<Rotation, Failure> {
        if let Some(flight) = self.flight {
            let bytes = self.keep_size.unwrap_or(FLIGHT_BYTES);
            return Ok(Rotation {
                size: Some(bytes / u64::from(FLIGHT_PARTS)),
                every: Some(flight / FLIGHT_PARTS),
                keep_size: Some(bytes),
                keep_for: Some(flight),
                in_memory: true,
            });
        }
        let rotates = self.rotate_size.is_some() || self.rotate_every.is_some();
        if !rotates && (self.keep_size.is_some() || self.keep_for.is_some()) {
            return Err(Failure::Usage(
                "--keep-size, --keep-for: only whole files are deleted, so there must be several: \
                 --rotate-size or --rotate-every is needed"
                    .to_owned(),
            ));
        }
        if let (Some(keep), Some(size)) = (self.keep_size, self.rotate_size)
            && keep < size
        {
            return Err(Failure::Usage(
                "--keep-size: must be at least --rotate-size".to_owned(),
            ));
        }
        Ok(Rotation {
            size: self.rotate_size,
            every: self.rotate_every,
            keep_size: self.keep_size,
            keep_for: self.keep_for,
            in_memory: false,
        })
    }
}

/// `export`.
#[derive(Debug, Args)]
#[command(after_help = "\
--anonymize: the same key gives the same pseudonyms, in every export. Addresses that share a prefix share \
one of the same length afterwards. Ports, pids, uids, cookies, inodes and times stay as they are. 'head -c 32 \
/dev/urandom > KEYFILE' makes a key; whoever has it can undo the pseudonyms.")]
pub struct ExportArgs {
    /// Recordings.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) filters: FilterArgs,
    /// As what.
    #[arg(long, value_enum)]
    pub to: ExportFormat,
    /// Print to this file, made anew, instead of standard output; parquet: a directory, new or empty.
    #[arg(short, long, value_name = "FILE|DIR")]
    pub output: Option<PathBuf>,
    /// Name nobody: addresses and hosts become pseudonyms by the key in this file (16 bytes or more),
    /// names of processes and paths of cgroups are left out.
    #[arg(long, value_name = "KEYFILE")]
    pub anonymize: Option<PathBuf>,
    /// Fail (exit 1) where a recording is damaged or incomplete.
    #[arg(long)]
    pub strict: bool,
}

/// `--to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// The rows of 'trace', one JSON object a line.
    Ndjson,
    /// The same fields, comma-separated, with a header.
    Csv,
    /// Tables of transitions and of connections, by host and hour, for DuckDB, Spark and others.
    Parquet,
    /// Connections as tracks, for ui.perfetto.dev.
    Perfetto,
}

/// `verify`.
#[derive(Debug, Args)]
#[command(after_help = "Exit code 1: something is damaged or missing.")]
pub struct VerifyArgs {
    /// Recordings.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// `repair`.
#[derive(Debug, Args)]
pub struct RepairArgs {
    /// The damaged recording: it is only read.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The new one: a file that is not there yet.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}
