//! One file per verb: each wires a source to sinks and does nothing else.

mod aggregate;
mod check;
mod docs;
mod export;
mod hist;
mod live;
mod record;
mod replay;
mod report;
mod stuck;
mod stuck_from;
mod top;
mod trace;
mod verify;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;

use crate::{
    cli::{Cli, Verb},
    ebpf::{Capabilities, Kernel},
    error::Failure,
    logging,
    render::escape,
};

/// Runs what was typed.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    logging::init(cli.verbose);
    match dispatch(cli) {
        Ok(code) => code,
        Err(error) => {
            // Names of files and commands may come from anybody.
            logging::note(&escape::lines(&format!("{error:#}")));
            Failure::exit_code(&error)
        }
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    match cli.verb {
        Verb::Trace(args) => runtime.block_on(trace::run(*args, cli.verbose)),
        Verb::Hist(args) => runtime.block_on(hist::run(*args, cli.verbose)),
        Verb::Record(args) => runtime.block_on(record::run(*args, cli.verbose)),
        Verb::Export(args) => runtime.block_on(export::run(*args)),
        Verb::Verify(args) => verify::run(&args),
        Verb::Repair(args) => verify::repair(&args),
        Verb::Stuck(args) => runtime.block_on(stuck::run(*args, cli.verbose)),
        Verb::Top(args) => runtime.block_on(top::run(*args, cli.verbose)),
        Verb::Report(args) => runtime.block_on(report::run(*args, cli.verbose)),
        Verb::Diagnose(args) => runtime.block_on(report::diagnose(*args, cli.verbose)),
        Verb::Check(args) => check::run(&args, cli.verbose),
        Verb::Completions(args) => docs::completions(&args),
        Verb::Man(args) => docs::man(&args),
    }
}

/// Refuses to start where it can't work, with the reason.
fn require(kernel: &Kernel) -> Result<()> {
    if kernel.is_too_old() {
        return Err(Failure::Impossible {
            what: format!("tracing on kernel {}", kernel.release),
            because: "it has no BPF ring buffer, which came with Linux 5.8".to_owned(),
            mend: "a newer kernel is needed".to_owned(),
        }
        .into());
    }
    let missing = Capabilities::of_this_process()?.missing();
    if !missing.is_empty() {
        return Err(Failure::Impossible {
            what: "tracing".to_owned(),
            because: format!("not permitted: {} missing", missing.join(" and ")),
            mend: "run it as root (sudo), or give it CAP_BPF and CAP_PERFMON, and CAP_SYS_ADMIN \
                   for kernels without BTF"
                .to_owned(),
        }
        .into());
    }
    Ok(())
}
