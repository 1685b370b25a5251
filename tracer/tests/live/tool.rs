//! Running the tool: wait until it is attached, end it, take what it said.

use std::{
    env,
    ffi::OsString,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{clock, observed::Finished, spawn};

/// Nothing takes this long, not even in an emulated guest.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    env::var_os("TCPDWELL_BIN")
        .unwrap_or_else(|| OsString::from(env!("CARGO_BIN_EXE_tcpdwell")))
        .into()
}

/// `tcpdwell trace` with arguments.
pub(crate) fn trace<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(binary());
    command.arg("trace").args(args);
    command
}

/// `tcpdwell trace` of a recording, with more arguments.
pub(crate) fn replay(path: &Path, arguments: &[&str]) -> Finished {
    let mut command = trace(arguments);
    output(command.arg("--from").arg(path)).into()
}

/// `tcpdwell verify` of a recording: how it ended, and what it said.
pub(crate) fn verify(path: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(binary());
    let output = output(command.arg("verify").arg(path));
    let said = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), said)
}

/// Runs it to its end, while others close sockets (see `spawn.rs`).
fn output(command: &mut Command) -> Output {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = spawn::spawn(command).unwrap();
    child.wait_with_output().unwrap()
}

/// A running tool.
#[derive(Debug)]
pub(crate) struct Tool {
    child: Child,
    attached: Arc<AtomicBool>,
    stdout: Arc<Mutex<Vec<u8>>>,
    stderr: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Tool {
    /// Starts it, and returns when it is attached.
    pub(crate) fn attached(command: &mut Command) -> Self {
        let tool = Self::started(command);
        tool.wait_attached();
        tool
    }

    /// Starts it.
    pub(crate) fn started(command: &mut Command) -> Self {
        Self::started_onto(command, Stdio::piped())
    }

    /// Starts it with another stdout.
    pub(crate) fn started_onto(command: &mut Command, stdout: Stdio) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped());
        let mut child = spawn::spawn(command).unwrap();
        let attached = Arc::new(AtomicBool::new(false));
        let stdout = Arc::new(Mutex::new(Vec::new()));
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let mut readers = vec![read_diagnostics(
            child.stderr.take().unwrap(),
            Arc::clone(&stderr),
            Arc::clone(&attached),
        )];
        if let Some(pipe) = child.stdout.take() {
            readers.push(read_all(pipe, Arc::clone(&stdout)));
        }
        Self {
            child,
            attached,
            stdout,
            stderr,
            readers,
        }
    }

    /// Returns when it says that it traces.
    pub(crate) fn wait_attached(&self) {
        clock::until(PATIENCE, || {
            let over = self.readers.iter().all(JoinHandle::is_finished);
            (over || self.attached.load(Ordering::Acquire)).then_some(())
        });
        assert!(
            self.attached.load(Ordering::Acquire),
            "the tool did not attach:\n{}",
            self.stderr.lock().unwrap().escape_ascii()
        );
    }

    /// Waits until nothing more has come for a while.
    pub(crate) fn settle(&self) {
        let mut last = (usize::MAX, clock::mono_ns());
        clock::until(PATIENCE, || {
            let length = self.stdout.lock().unwrap().len();
            let now = clock::mono_ns();
            if length != last.0 {
                last = (length, now);
            }
            (now - last.1 > 700_000_000).then_some(())
        });
    }

    /// Waits until so many TIME_WAITs have ended, or nothing has come for long: a namespace is taken
    /// down some time after its last process.
    pub(crate) fn purged(&self, expected: usize) {
        const END: &[u8] = b"\"from\":\"TIME_WAIT\"";
        let mut last = (usize::MAX, clock::mono_ns(), 0);
        clock::until(PATIENCE, || {
            let stdout = self.stdout.lock().unwrap();
            let now = clock::mono_ns();
            if stdout.len() != last.0 {
                let ended = stdout.windows(END.len()).filter(|w| *w == END).count();
                last = (stdout.len(), now, ended);
            }
            (last.2 >= expected || now - last.1 > 10_000_000_000).then_some(())
        });
        self.settle();
    }

    /// What it has printed so far.
    pub(crate) fn printed(&self) -> Vec<u8> {
        self.stdout.lock().unwrap().clone()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Ends it as Ctrl-C does, and takes everything.
    pub(crate) fn interrupt(self) -> Finished {
        self.signal(Signal::INT);
        self.wait()
    }

    /// Waits for its end, and takes everything.
    pub(crate) fn wait(mut self) -> Finished {
        let status = wait(&mut self.child);
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        Finished {
            status,
            stdout: std::mem::take(&mut self.stdout.lock().unwrap()),
            stderr: std::mem::take(&mut self.stderr.lock().unwrap()),
        }
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The exit status; a process that does not end is a failure.
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    clock::until(PATIENCE, || child.try_wait().unwrap())
        .unwrap_or_else(|| panic!("process {} does not end", child.id()))
}

fn read_all(mut from: impl Read + Send + 'static, to: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut chunk = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from.read(&mut chunk) {
            to.lock().unwrap().extend_from_slice(&chunk[..length]);
        }
    })
}

fn read_diagnostics(
    from: impl Read + Send + 'static,
    to: Arc<Mutex<Vec<u8>>>,
    attached: Arc<AtomicBool>,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while let Ok(1..) = from.read_until(b'\n', &mut line) {
            to.lock().unwrap().extend_from_slice(&line);
            if line.starts_with(b"tcpdwell: tracing") {
                attached.store(true, Ordering::Release);
            }
            line.clear();
        }
    })
}
