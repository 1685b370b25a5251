//! When a run ends from outside: a signal, its time is up, or its command has ended.

use std::{os::fd::AsFd as _, process::ExitStatus, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    process::{Child, Command},
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep_until},
};

/// Why a run ended.
#[derive(Debug)]
pub enum Ended {
    /// Ctrl-C, SIGTERM or SIGHUP.
    Signal,
    /// `--duration` is over.
    Duration,
    /// The command has ended.
    Command(ExitStatus),
}

/// Waits for the end of a run.
#[derive(Debug)]
pub struct Shutdown {
    signals: [Signal; 3],
    deadline: Option<Instant>,
    child: Option<Child>,
}

impl Shutdown {
    /// From here on signals end the run in order.
    pub fn new(duration: Option<Duration>) -> Result<Self> {
        let listen = |kind| signal(kind).context("listening for signals");
        Ok(Self {
            signals: [
                listen(SignalKind::interrupt())?,
                listen(SignalKind::terminate())?,
                listen(SignalKind::hangup())?,
            ],
            deadline: duration.and_then(|d| now().checked_add(d)),
            child: None,
        })
    }

    /// Starts a command whose end is the end of the run.
    ///
    /// `quiet`: our own data goes to standard output, and the command's goes to standard error.
    pub fn run(&mut self, command: &[String], quiet: bool) -> Result<()> {
        let Some((program, arguments)) = command.split_first() else {
            return Ok(());
        };
        let mut prepared = Command::new(program);
        prepared.args(arguments);
        if quiet {
            let stderr = std::io::stderr().as_fd().try_clone_to_owned();
            prepared.stdout(stderr.context("giving the command standard error as its output")?);
        }
        let child = prepared
            .spawn()
            .with_context(|| format!("starting the command '{program}'"))?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits. May be dropped and called again.
    pub async fn wait(&mut self) -> Result<Ended> {
        let [interrupt, terminate, hangup] = &mut self.signals;
        let far = Duration::from_hours(24 * 365);
        let deadline = self.deadline.unwrap_or_else(|| now() + far);
        let child = async {
            match &mut self.child {
                Some(child) => child.wait().await.context("waiting for the command"),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => Ok(Ended::Signal),
            _ = terminate.recv() => Ok(Ended::Signal),
            _ = hangup.recv() => Ok(Ended::Signal),
            () = sleep_until(deadline), if self.deadline.is_some() => Ok(Ended::Duration),
            status = child => status.map(Ended::Command),
        }
    }
}

fn now() -> Instant {
    Instant::now()
}
