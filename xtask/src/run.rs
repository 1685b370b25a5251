//! `cargo xtask run`: tcpdwell from the sources, as root.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::arch::Arch;
use crate::cli::RunArgs;
use crate::{cargo, paths, privileges, process};

pub(crate) fn execute(args: &RunArgs) -> Result<ExitCode> {
    let tool = cargo::build_tool(&paths::repository()?, Arch::HOST)?;
    let mut command = if privileges::is_root() {
        Command::new(&tool)
    } else if process::find_program("sudo").is_some() {
        let mut sudo = Command::new("sudo");
        sudo.arg("--").arg(&tool);
        sudo
    } else {
        bail!(
            "tcpdwell needs root and there is no sudo here: run {} as root",
            tool.display()
        );
    };
    // Replacing this process hands Ctrl-C and the exit code over without a middleman.
    let error = command.args(&args.args).exec();
    Err(error).with_context(|| format!("start {}", tool.display()))
}
