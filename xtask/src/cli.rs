//! What may be typed after `cargo xtask`, and which file does it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::arch::Arch;
use crate::{bench, build, build_ebpf, ci, fuzz, run, test, verify_ebpf, vm, workspace};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The chores of the tcpdwell repository")]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Compile the kernel programs into tracer/ebpf and record what they were built from
    BuildEbpf(ToolchainArgs),
    /// Rebuild the kernel programs and compare them with the committed object
    VerifyEbpf(ToolchainArgs),
    /// Build tcpdwell in release, and say where it is
    Build(BuildArgs),
    /// Build tcpdwell and run it as root: `cargo xtask run -- trace`
    Run(RunArgs),
    /// Run all tests; the live ones too where the privileges allow it
    Test(TestArgs),
    /// Run the live tests, or a command, on other kernels in QEMU
    Vm(vm::VmArgs),
    /// Look for inputs that a parser can't bear, led by coverage (libFuzzer)
    Fuzz(fuzz::FuzzArgs),
    /// Measure what tcpdwell costs, beside its rivals, on this machine
    Bench(bench::BenchArgs),
    /// Check the habits of the workspace that no lint knows
    Workspace,
    /// Everything that must hold before a merge
    Ci,
}

#[derive(Debug, Default, Args)]
pub(crate) struct ToolchainArgs {
    /// Folder that holds the eBPF toolchain, or gets it (default: the user's cache folder)
    #[arg(long, value_name = "DIR")]
    pub(crate) toolchain_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// For which architecture; another than this machine's needs rustup and Debian's cross compiler
    #[arg(long, value_name = "ARCH", default_value_t = Arch::HOST, value_enum)]
    pub(crate) arch: Arch,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Arguments of tcpdwell
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<OsString>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct TestArgs {
    /// Leave the live tests out even where they could run
    #[arg(long)]
    pub(crate) no_live: bool,
    /// Arguments for `cargo test --workspace`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<OsString>,
}

impl Cli {
    pub(crate) fn execute(self) -> Result<ExitCode> {
        match self.verb {
            Verb::BuildEbpf(args) => build_ebpf::execute(&args),
            Verb::VerifyEbpf(args) => verify_ebpf::execute(&args),
            Verb::Build(args) => build::execute(&args),
            Verb::Run(args) => run::execute(&args),
            Verb::Test(args) => test::execute(&args),
            Verb::Vm(args) => vm::execute(&args),
            Verb::Fuzz(args) => fuzz::execute(&args),
            Verb::Bench(args) => bench::execute(&args),
            Verb::Workspace => workspace::execute(),
            Verb::Ci => ci::execute(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments_after_the_dashes_reach_the_tool_untouched() {
        let cli =
            Cli::try_parse_from(["xtask", "run", "--", "trace", "-p", "1", "--", "sleep", "1"])
                .unwrap();
        let Verb::Run(run) = cli.verb else {
            panic!("not the run verb")
        };
        assert_eq!(run.args, ["trace", "-p", "1", "--", "sleep", "1"]);
    }
}
