//! `cargo xtask build`: tcpdwell, also for another architecture than this machine's.

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::BuildArgs;
use crate::{cargo, paths};

pub(crate) fn execute(args: &BuildArgs) -> Result<ExitCode> {
    let tool = cargo::build_tool(&paths::repository()?, args.arch)?;
    println!("{}", tool.display());
    Ok(ExitCode::SUCCESS)
}
