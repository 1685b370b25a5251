//! The filter options, and the one filter that they make.

use clap::Args;
use tracer_common::filter::{
    Cidr, FilterConfig, LADDR, LPORT, NETNS, ONLY_V4, ONLY_V6, RADDR, RPORT, add_port,
};

use super::values::{self, Cgroup};
use crate::{engine::StateSet, error::Failure, filter::Filter};

/// Which connections are shown. Several values of one option: any of them; several options: all.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Filters")]
pub struct FilterArgs {
    /// Only connections that this process owns.
    #[arg(short, long, value_name = "PID", value_delimiter = ',', value_parser = values::pid)]
    pid: Vec<u32>,
    /// Only connections whose owner has this name (of the longer ones: their first 15 bytes).
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = values::comm)]
    comm: Vec<String>,
    /// Only these local ports.
    #[arg(short = 'L', long, value_name = "PORTS", value_delimiter = ',',
          value_parser = values::port)]
    lport: Vec<u16>,
    /// Only these remote ports.
    #[arg(short = 'D', long, value_name = "PORTS", value_delimiter = ',',
          value_parser = values::port)]
    rport: Vec<u16>,
    /// Only this local address or block.
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = values::cidr)]
    laddr: Vec<Cidr>,
    /// Only this remote address or block.
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = values::cidr)]
    raddr: Vec<Cidr>,
    /// Only IPv4, v4-mapped included.
    #[arg(short = '4', long = "ipv4", conflicts_with = "ipv6")]
    ipv4: bool,
    /// Only IPv6.
    #[arg(short = '6', long = "ipv6")]
    ipv6: bool,
    /// Only transitions from or to this state; kernel's or ss's spelling, or a group of ss.
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    state: Vec<StateSet>,
    /// Only this network namespace: number, name of 'ip netns', or path.
    #[arg(long, value_name = "NETNS", value_delimiter = ',', value_parser = values::netns)]
    netns: Vec<u32>,
    /// Only connections whose owner is in this cgroup, or below it: its directory, or its id (then
    /// not below).
    #[arg(long, value_name = "CGROUP", value_parser = values::cgroup)]
    cgroup: Vec<Cgroup>,
}

impl FilterArgs {
    /// The states, which then filter no more.
    pub(crate) fn take_states(&mut self) -> StateSet {
        let mut states = StateSet::default();
        for set in self.state.drain(..) {
            states.extend(set);
        }
        states
    }

    /// The options that are asked of more than the kernel can tell when it happens.
    pub(crate) fn decided_later(&self) -> Vec<&'static str> {
        let asked = [
            (self.pid.is_empty(), "--pid"),
            (self.comm.is_empty(), "--comm"),
            (self.cgroup.is_empty(), "--cgroup"),
            (self.state.is_empty(), "--state"),
        ];
        let asked = asked.into_iter().filter(|(is_empty, _)| !is_empty);
        asked.map(|(_, option)| option).collect()
    }

    /// Leaves only what the kernel can decide.
    pub(crate) fn keep_kernel_part(&mut self) {
        self.pid.clear();
        self.comm.clear();
        self.cgroup.clear();
        self.state.clear();
    }

    /// Whether nothing is asked of a connection's owner.
    pub(crate) fn kernel_decides(&self) -> bool {
        self.pid.is_empty() && self.comm.is_empty() && self.cgroup.is_empty()
    }
}

impl TryFrom<FilterArgs> for Filter {
    type Error = Failure;

    fn try_from(mut args: FilterArgs) -> Result<Self, Failure> {
        let mut kernel = Box::<FilterConfig>::default();
        for port in &args.lport {
            kernel.criteria |= LPORT;
            add_port(&mut kernel.lports, *port);
        }
        for port in &args.rport {
            kernel.criteria |= RPORT;
            add_port(&mut kernel.rports, *port);
        }
        kernel.laddr_count = fill("--laddr", &mut kernel.laddrs, &args.laddr)?;
        kernel.raddr_count = fill("--raddr", &mut kernel.raddrs, &args.raddr)?;
        kernel.netns_count = fill("--netns", &mut kernel.netns, &args.netns)?;
        for (set, bit) in [
            (kernel.laddr_count > 0, LADDR),
            (kernel.raddr_count > 0, RADDR),
            (kernel.netns_count > 0, NETNS),
            (args.ipv4, ONLY_V4),
            (args.ipv6, ONLY_V6),
        ] {
            if set {
                kernel.criteria |= bit;
            }
        }
        Ok(Self {
            states: args.take_states(),
            kernel,
            pids: args.pid,
            comms: args.comm.into_iter().map(String::into_bytes).collect(),
            cgroups: args.cgroup.iter().map(|c| c.id).collect(),
            cgroups_below: args.cgroup.into_iter().filter_map(|c| c.path).collect(),
        })
    }
}

/// Puts a list into its place in the kernel's table; how many there are.
fn fill<T: Copy, const N: usize>(
    option: &str,
    table: &mut [T; N],
    values: &[T],
) -> Result<u32, Failure> {
    match table.get_mut(..values.len()) {
        Some(places) => places.copy_from_slice(values),
        None => {
            return Err(Failure::Usage(format!(
                "{option}: {} values given, at most {N} are possible",
                values.len()
            )));
        }
    }
    u32::try_from(values.len()).map_err(|_| Failure::Usage(format!("{option}: too many values")))
}
