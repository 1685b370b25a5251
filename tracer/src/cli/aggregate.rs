//! What is asked of the kernel side that adds up by itself.

use clap::Args;

/// `--aggregate`, and how much it may remember.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Aggregation")]
pub struct AggregateArgs {
    /// Add up in the kernel, and stream nothing: for hosts with more changes than can be read. Owners,
    /// groups and single sockets are not known then; percentiles are within 0.8 %.
    #[arg(long, conflicts_with = "from")]
    pub aggregate: bool,
    /// With --aggregate: connections followed at once, those in TIME_WAIT and listeners included; each
    /// takes about 100 bytes of the kernel's memory. What finds no room is counted as lost (map_full).
    #[arg(long, value_name = "N", default_value_t = 1 << 19,
          value_parser = clap::value_parser!(u32).range(64..=1 << 26))]
    pub max_connections: u32,
}
