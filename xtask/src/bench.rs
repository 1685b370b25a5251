//! `cargo xtask bench`: what the tool costs, and what its rivals cost, on this machine.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use crate::{apt, cargo, paths, privileges, process};

/// Programs that are needed to measure, and their Debian packages.
const NEEDED: [(&str, &str); 1] = [("ip", "iproute2")];

/// Programs that are measured beside ours; those that can't be had are named in the results.
const RIVALS: [(&str, &str); 3] = [
    ("tcpstates", "libbpf-tools"),
    ("bpftrace", "bpftrace"),
    ("perf", "linux-perf"),
];

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Fewer and shorter rounds: to see that it works, not to quote
    #[arg(long)]
    quick: bool,
    /// Only this part: user, recording, kernel, storm, top, standing or look
    #[arg(long, value_name = "PART")]
    only: Option<String>,
    /// Write the results to this file, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn execute(args: &BenchArgs) -> Result<ExitCode> {
    let missing = privileges::missing_for_live_tests()?;
    let user_only = !missing.is_empty();
    if user_only {
        eprintln!(
            "xtask: not root ({} missing): the kernel side is left out",
            missing.join(", ")
        );
    } else {
        apt::ensure_programs(&NEEDED)?;
        for rival in RIVALS {
            if let Err(error) = apt::ensure_programs(&[rival]) {
                eprintln!("xtask: {} is left out: {error:#}", rival.0);
            }
        }
    }
    let mut cargo = cargo::command(&paths::repository()?);
    cargo.args(["bench", "--package", "tracer", "--bench", "bench", "--"]);
    if args.quick {
        cargo.arg("--quick");
    }
    let only = user_only.then_some("user").or(args.only.as_deref());
    if let Some(part) = only {
        cargo.args(["--only", part]);
    }
    if let Some(file) = &args.json {
        // The benchmark runs in its package's folder.
        let file =
            std::path::absolute(file).with_context(|| format!("resolve {}", file.display()))?;
        cargo.arg("--json").arg(file);
    }
    process::run(&mut cargo).map(|()| ExitCode::SUCCESS)
}
