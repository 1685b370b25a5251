//! What `stuck` takes.

use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::{RunArgs, values};

/// `stuck`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[command(
    mut_arg("since", |arg| arg.hide(true)),
    mut_arg("until", |arg| arg.hide(true)),
    after_help = "\
One look, unless --watch or --duration says to watch. With --from: as it was when the recording ended, \
or --at; what only a look tells is of the latest look that was recorded. AGE is the time in the state: '>=' where the \
socket is older than the trace, and the kernel only knows when it last heard of the peer; '-' where \
nothing is known. --state takes CLOSE_WAIT (the default), FIN_WAIT1, FIN_WAIT2, LAST_ACK, CLOSING, \
SYN_SENT and SYN_RECV. Causes of CLOSE_WAIT: never_accepted, unread_data, draining, shared, \
not_closed, unknown."
)]
pub struct StuckArgs {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    /// With --from: as it was at this time, not at the end: '2026-11-21 10:30' here, or
    /// 2026-11-21T10:30:00Z.
    #[arg(long, help_heading = "Recordings", value_name = "TIME", requires = "from",
          value_parser = values::moment)]
    pub at: Option<Timestamp>,
    /// Only sockets that are known to be in their state for so long; 0: all. [default: 5s, and those of
    /// which nothing is known]
    #[arg(long, value_name = "DURATION", value_parser = values::age)]
    pub older_than: Option<Duration>,
    /// Watch, and look again every interval.
    #[arg(long, conflicts_with = "from")]
    pub watch: bool,
    /// How often, with --watch (at least 1s).
    #[arg(short, long, value_name = "DURATION", default_value = "5s", requires = "watch",
          value_parser = values::interval)]
    pub interval: Duration,
    /// Print so many sockets, the oldest; 0: all. [default: 20; with --kill or JSON: 0]
    #[arg(short = 'n', long, value_name = "N")]
    pub limit: Option<usize>,
    /// Both addresses, descriptors, queues, namespace and evidence of each socket.
    #[arg(short, long)]
    pub wide: bool,
    /// List what would be destroyed: every socket shown (SOCK_DESTROY, as 'ss -K' does: the peer gets
    /// a reset, and the application an error). With --yes it is.
    #[arg(long, conflicts_with_all = ["watch", "duration", "command", "from"])]
    pub kill: bool,
    /// Destroy what --kill lists.
    #[arg(long, requires = "kill")]
    pub yes: bool,
    /// What to print.
    #[arg(long, value_enum, default_value_t)]
    pub format: StuckFormat,
}

/// `--format` of `stuck`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum StuckFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a look.
    Json,
}
