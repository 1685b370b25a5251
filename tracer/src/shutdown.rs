//! When a run ends from outside: a signal, its time is up, or its command has ended.

use std::{os::fd::AsFd as _, process::ExitStatus, time::Duration};

use anyhow::{Context as _, Result};
use procfs::process::Process;
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

/// How long a command may take to end that got a signal with us, as by Ctrl-C.
const GRACE: Duration = Duration::from_secs(1);

/// Waits for the end of a run.
#[derive(Debug)]
pub struct Shutdown {
    signals: [Signal; 2],
    /// `None`: we are told not to listen, as by nohup.
    hangup: Option<Signal>,
    deadline: Option<Instant>,
    child: Option<Child>,
    /// There was a signal, and we wait for the command until then.
    leaving: Option<Instant>,
}

impl Shutdown {
    /// From here on signals end the run in order.
    pub fn new(duration: Option<Duration>) -> Result<Self> {
        let listen = |kind| signal(kind).context("listening for signals");
        Ok(Self {
            signals: [
                listen(SignalKind::interrupt())?,
                listen(SignalKind::terminate())?,
            ],
            hangup: if hangups_are_ignored() {
                None
            } else {
                Some(listen(SignalKind::hangup())?)
            },
            deadline: duration.and_then(|d| now().checked_add(d)),
            child: None,
            leaving: None,
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
        if self.leaving.is_none() {
            match self.ended(self.deadline).await? {
                Ended::Signal if self.child.is_some() => self.leaving = Some(now() + GRACE),
                ended => return Ok(ended),
            }
        }
        // Until then, or the next signal.
        match self.ended(self.leaving).await? {
            Ended::Duration => Ok(Ended::Signal),
            ended => Ok(ended),
        }
    }

    /// The next that happens.
    async fn ended(&mut self, deadline: Option<Instant>) -> Result<Ended> {
        let [interrupt, terminate] = &mut self.signals;
        let far = Duration::from_hours(24 * 365);
        let at = deadline.unwrap_or_else(|| now() + far);
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        let child = async {
            match &mut self.child {
                Some(child) => child.wait().await.context("waiting for the command"),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => Ok(Ended::Signal),
            _ = terminate.recv() => Ok(Ended::Signal),
            _ = hangup => Ok(Ended::Signal),
            () = sleep_until(at), if deadline.is_some() => Ok(Ended::Duration),
            status = child => status.map(Ended::Command),
        }
    }
}

/// Whether whoever started us wants us to outlive the terminal.
fn hangups_are_ignored() -> bool {
    let ignored = Process::myself().and_then(|us| us.status());
    ignored.is_ok_and(|us| us.sigign >> (nix::libc::SIGHUP - 1) & 1 == 1)
}

fn now() -> Instant {
    Instant::now()
}
