//! How a run ends when it fails, and with which exit code.

use std::process::ExitCode;

/// A failure with an exit code of its own. Anything else that reaches the top is exit 1.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Not permitted, or not possible on this kernel: exit 3.
    #[error("{what}: {because}\n  {mend}")]
    Impossible {
        /// What was tried.
        what: String,
        /// Why it can't be.
        because: String,
        /// What would make it possible.
        mend: String,
    },
    /// The arguments contradict each other in a way only the validated values show: exit 2.
    #[error("{0}")]
    Usage(String),
}

impl Failure {
    /// The exit code of a run that ended with `error`.
    pub fn exit_code(error: &anyhow::Error) -> ExitCode {
        match error.downcast_ref::<Self>() {
            Some(Self::Impossible { .. }) => ExitCode::from(3),
            Some(Self::Usage(_)) => ExitCode::from(2),
            None => ExitCode::FAILURE,
        }
    }
}
