//! A load that goes on until it is told to stop, and leaves no TIME_WAIT behind.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::net::sockopt;

use crate::{clock::until, spawn, tool::PATIENCE};

/// Connects, accepts, and resets, again and again, in the network namespace of who starts it.
#[derive(Debug)]
pub(crate) struct Steady {
    to: SocketAddr,
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Steady {
    /// Begins.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let made = Arc::new(AtomicU64::new(0));
        let thread = thread::spawn({
            let (stop, made) = (Arc::clone(&stop), Arc::clone(&made));
            move || {
                while !stop.load(Relaxed) {
                    let client = TcpStream::connect(to).unwrap();
                    let (server, _) = listener.accept().unwrap();
                    sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
                    spawn::close(client);
                    spawn::close(server);
                    made.fetch_add(1, Relaxed);
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
