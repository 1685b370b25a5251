//! `completions` and `man`: what the command line says of itself, for shells and for man.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;

use crate::{
    cli::{Cli, CompletionsArgs, ManArgs},
    sink::Output,
};

/// Runs `completions`.
pub(super) fn completions(args: &CompletionsArgs) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tcpdwell", &mut script);
    let mut output = Output::open(None)?;
    output.buffer().extend_from_slice(&script);
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `man`.
pub(super) fn man(args: &ManArgs) -> Result<ExitCode> {
    let directory = &args.directory;
    clap_mangen::generate_to(Cli::command(), directory).with_context(|| {
        format!(
            "writing the manual pages into '{}': is it a directory that can be written to?",
            directory.display()
        )
    })?;
    Ok(ExitCode::SUCCESS)
}
