//! A load that goes on until it is told to stop.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{
    clock::{mono_ns, until},
    observed::Finished,
    spawn,
    tool::{PATIENCE, binary},
};

/// Connects, accepts, and ends it, again and again, in the network namespace of who starts it.
#[derive(Debug)]
pub(crate) struct Steady {
    to: SocketAddr,
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Steady {
    /// Begins, as fast as it goes. Each ends with a RST: no TIME_WAIT is left behind.
    pub(crate) fn start() -> Self {
        Self::begin(Duration::ZERO, |client, server| {
            spawn::reset(client);
            spawn::close(server);
        })
    }

    /// Begins, so many a second. Every other one is closed in order, and leaves a TIME_WAIT behind.
    pub(crate) fn moderate(per_second: u32) -> Self {
        let mut in_order = false;
        Self::begin(
            Duration::from_secs(1) / per_second,
            move |client, mut server| {
                in_order = !in_order;
                if in_order {
                    spawn::close(client);
                    assert_eq!(server.read(&mut [0]).unwrap(), 0);
                } else {
                    spawn::reset(client);
                }
                spawn::close(server);
            },
        )
    }

    fn begin(each: Duration, mut end: impl FnMut(TcpStream, TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let made = Arc::new(AtomicU64::new(0));
        let thread = thread::spawn({
            let (stop, made) = (Arc::clone(&stop), Arc::clone(&made));
            move || {
                let mut next = mono_ns();
                while !stop.load(Relaxed) {
                    let client = TcpStream::connect(to).unwrap();
                    let (server, _) = listener.accept().unwrap();
                    end(client, server);
                    made.fetch_add(1, Relaxed);
                    next += u64::try_from(each.as_nanos()).unwrap();
                    thread::sleep(Duration::from_nanos(next.saturating_sub(mono_ns())));
                }
            }
        });
        Self {
            to,
            stop,
            made,
            thread,
        }
    }

    /// Where it connects to.
    pub(crate) fn port(&self) -> u16 {
        self.to.port()
    }

    /// Connections so far.
    pub(crate) fn made(&self) -> u64 {
        self.made.load(Relaxed)
    }

    /// Returns when so many more have been made.
    pub(crate) fn more(&self, count: u64) {
        let goal = self.made() + count;
        let reached = until(PATIENCE, || (self.made() >= goal).then_some(()));
        assert!(reached.is_some(), "{} of {goal} connections", self.made());
    }

    /// Ends; how many it made in all.
    pub(crate) fn stop(self) -> u64 {
        self.stop.store(true, Relaxed);
        self.thread.join().unwrap();
        self.made.load(Relaxed)
    }
}

/// `verb -o path`, of the connects to this port in this network namespace.
pub(crate) fn onto(verb: &str, path: &Path, port: u16) -> Command {
    let netns = fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
    let mut command = Command::new(binary());
    command.args([verb, "-o"]).arg(path);
    command.args(["--netns", &netns.to_string(), "--rport", &port.to_string()]);
    command
}

/// Of a [`Steady`] load to this port: how many connections are there from beginning to end, as their
/// clients' sockets tell. Of the others the beginning was before there was a tool, or the end after.
pub(crate) fn whole_lives(finished: &Finished, port: u16) -> u64 {
    const STEPS: [(&str, &str); 3] = [
        ("CLOSE", "SYN_SENT"),
        ("SYN_SENT", "ESTABLISHED"),
        ("ESTABLISHED", "CLOSE"),
    ];
    let mut lives: BTreeMap<u64, Vec<(String, String)>> = BTreeMap::new();
    let rows = finished.rows().into_iter();
    // Until its peer is known, a server's socket may be one that is wanted.
    for row in rows.filter(|row| row.rport == Some(port)) {
        lives.entry(row.conn).or_default().push((row.from, row.to));
    }
    let mut whole = 0;
    for life in lives.values() {
        let steps = STEPS.map(|(from, to)| (from.to_owned(), to.to_owned()));
        let as_it_was = steps.windows(life.len()).any(|part| part == life);
        assert!(as_it_was, "{life:?}");
        whole += u64::from(life.len() == STEPS.len());
    }
    whole
}
