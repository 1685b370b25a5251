//! Work that leaves the process's namespaces: on a thread of its own, so that the process stays where it is, and what
//! was made for the work is gone with the thread.

use std::thread;

use anyhow::{Context as _, Result, anyhow};

/// Does it there, and waits for it. `name`: the thread's.
pub(super) fn apart<T: Send>(name: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name(name.to_owned())
            .spawn_scoped(scope, work)
            .context("starting a thread")?;
        worker
            .join()
            .unwrap_or_else(|_| Err(anyhow!("the thread '{name}' failed")))
    })
}
