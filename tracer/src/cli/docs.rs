//! What `completions` and `man` take.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// `completions`.
#[derive(Debug, Args)]
#[command(after_help = "For bash: tcpdwell completions bash > /etc/bash_completion.d/tcpdwell")]
pub struct CompletionsArgs {
    /// Whose.
    pub shell: Shell,
}

/// `man`.
#[derive(Debug, Args)]
#[command(after_help = "Into /usr/local/share/man/man1, 'man tcpdwell' finds them.")]
pub struct ManArgs {
    /// The directory for the pages.
    pub directory: PathBuf,
}
