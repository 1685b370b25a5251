//! `top` in a terminal, on the running kernel.

use std::{
    io::Read as _,
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::Command,
    sync::mpsc,
};

use rustix::process::Signal;

use crate::{
    netns::Netns,
    pty::Pty,
    skip::{Noise, turn},
    spawn,
    tool::binary,
};

/// Connections that their client closes first.
const CLOSED: usize = 5;

/// A namespace in which so many are closed, and one waits for its server's close until it is let.
fn host(let_go: mpsc::Receiver<()>) -> Netns<()> {
    Netns::new(move |_| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 18_443)).unwrap();
        let address = listener.local_addr().unwrap();
        for _ in 0..CLOSED {
            let client = TcpStream::connect(address).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            spawn::close(client);
            assert_eq!(server.read(&mut [0]).unwrap(), 0);
            spawn::close(server);
        }
        let client = TcpStream::connect(address).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        spawn::close(client);
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
        let_go.recv().unwrap();
        spawn::close(server);
    })
}

fn top(netns: u32) -> Pty {
    let mut command = Command::new(binary());
    command.args(["top", "--netns", &netns.to_string()]);
    Pty::start(command, (80, 24), spawn::spawn)
}

#[test]
fn top_shows_what_happens_and_gives_the_terminal_back() {
    let name = "top_shows_what_happens_and_gives_the_terminal_back";
    let Some(_turn) = turn(name, Noise::Little) else {
        return;
    };
    let (go, let_go) = mpsc::channel();
    let host = host(let_go);
    let mut pty = top(host.inode);
    pty.shows("TIME_WAIT  0 now");
    let host = host.start();
    // Both ends are on this host: each connection is closed first by one of them, once.
    pty.shows(&format!("TIME_WAIT  {CLOSED} now"));
    pty.shows("Closed first, by process");
    // From the panel of states to that of the stuck ones.
    pty.press("\t\t\t");
    pty.shows("Stuck: 1 in CLOSE_WAIT");
    pty.shows(" 18443 ");
    pty.press("\r");
    pty.shows("ESTABLISHED CLOSE_WAIT");
    pty.shows("closed first: remote");
    // It is followed while one looks at it.
    go.send(()).unwrap();
    host.join().unwrap();
    pty.shows("CLOSE_WAIT  LAST_ACK");
    pty.shows("It has ended.");
    pty.press("\x1b");
    pty.shows("Stuck: 0 in CLOSE_WAIT");
    // Larger: all panels are there at once.
    pty.resize((120, 40));
    pty.shows("Stays in TIME_WAIT");
    pty.shows("Findings");
    pty.press("?");
    pty.shows("this help");
    pty.press("q");
    let (status, screen, restored) = pty.wait();
    assert!(status.success() && restored, "{status}: {screen}");
    assert!(screen.contains("completeness: seen="), "{screen}");
}

#[test]
fn a_signal_ends_top_in_order() {
    let Some(_turn) = turn("a_signal_ends_top_in_order", Noise::Little) else {
        return;
    };
    let idle = Netns::new(|_| ());
    for signal in [Signal::TERM, Signal::HUP] {
        let mut pty = top(idle.inode);
        pty.shows("States");
        assert!(!pty.is_restored(), "the terminal is taken");
        pty.signal(signal);
        let (status, screen, restored) = pty.wait();
        assert!(
            status.success() && restored,
            "{signal:?} {status}: {screen}"
        );
    }
    idle.run();
}
