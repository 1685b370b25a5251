//! Rungs that were tried, and what is said if none of them works.

use crate::error::Failure;

/// A rung that was tried.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Which.
    pub rung: &'static str,
    /// What went wrong; `None`: it is the one in use.
    pub error: Option<String>,
}

impl Attempt {
    pub(super) fn failed(rung: &'static str, error: &anyhow::Error) -> Self {
        Self {
            rung,
            error: Some(format!("{error:#}")),
        }
    }
}

/// None of these works.
pub(super) fn impossible(what: &str, attempts: &[Attempt]) -> anyhow::Error {
    let tried: Vec<String> = attempts
        .iter()
        .map(|a| format!("{}: {}", a.rung, a.error.as_deref().unwrap_or_default()))
        .collect();
    Failure::Impossible {
        what: what.to_owned(),
        because: tried.join("; "),
        mend: "see 'tcpdwell check' for what this kernel offers".to_owned(),
    }
    .into()
}
