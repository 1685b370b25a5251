//! Another process: the test binary once more, told by the environment what to do.

use std::{
    env, fs,
    io::{Read, Write},
    mem::MaybeUninit,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::{
        fd::AsFd,
        unix::{
            ffi::{OsStrExt, OsStringExt},
            net::UnixStream,
        },
    },
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, Sender},
    thread,
    time::Duration,
};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use crate::{spawn, test_crowd::gather, test_readers::talk, tool};

const ADDRESS: &str = "TCPDWELL_LIVE_CHILD_ADDRESS";
const COUNT: &str = "TCPDWELL_LIVE_CHILD_COUNT";
const COMM: &str = "TCPDWELL_LIVE_CHILD_COMM";
const ACCEPT: &str = "TCPDWELL_LIVE_CHILD_ACCEPT";
const HOLD: &str = "TCPDWELL_LIVE_CHILD_HOLD";
const SERVE: &str = "TCPDWELL_LIVE_CHILD_SERVE";
const GATHER: &str = "TCPDWELL_LIVE_CHILD_GATHER";
const TALK: &str = "TCPDWELL_LIVE_CHILD_TALK";
const EXIT: &str = "TCPDWELL_LIVE_CHILD_EXIT";

/// Processes that end with the test, however that ends.
#[derive(Debug, Default)]
pub(crate) struct Children(Vec<Child>);

impl Children {
    pub(crate) fn push(&mut self, child: Child) {
        self.0.push(child);
    }

    /// Their ids, in the order in which they came.
    pub(crate) fn ids(&self) -> Vec<u32> {
        self.0.iter().map(Child::id).collect()
    }

    /// Ends them now.
    pub(crate) fn end(&mut self) {
        for mut child in self.0.drain(..) {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.end();
    }
}

/// The binary and the arguments that lead to [`child_process`].
pub(crate) fn command_line() -> Vec<std::ffi::OsString> {
    let me = env::current_exe().unwrap().into_os_string();
    let args = ["--exact", "child::child_process", "--nocapture"];
    let args = args.into_iter().map(Into::into);
    std::iter::once(me).chain(args).collect()
}

/// The same, to be told what to do.
fn this_program() -> Command {
    let line = command_line();
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]);
    command
}

/// Starts it with a unix socket as its stdin, of which this is our end.
fn talking(mut command: Command) -> (Child, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    command
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .stdout(Stdio::null());
    (spawn::spawn(&mut command).unwrap(), ours)
}

/// The end that a child of [`talking`] has.
fn stdin_socket() -> UnixStream {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    UnixStream::from(stdin)
}

/// What a child finds as its stdin.
fn copy_of(listener: &TcpListener) -> Stdio {
    let inherited: std::os::fd::OwnedFd = listener.try_clone().unwrap().into();
    inherited.into()
}

/// A process called `comm`, in the network namespace of the calling thread, that connects to
/// `address` and closes first, `count` times, as soon as its stdin is closed.
pub(crate) fn connects(address: SocketAddr, count: usize, comm: &[u8]) -> Child {
    let mut command = this_program();
    command
        .env(ADDRESS, address.to_string())
        .env(COUNT, count.to_string())
        .env(COMM, std::ffi::OsStr::from_bytes(comm))
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    spawn::spawn(&mut command).unwrap()
}

/// Keeps this thread's network namespace, tells the test so, and waits until it goes on. A namespace is found by
/// its processes, not by a single thread.
pub(crate) fn keep_namespace(server: SocketAddr, tell: &Sender<()>, wait: &Receiver<()>) {
    let mut keeper = connects(server, 0, b"keeper");
    thread::sleep(Duration::from_millis(300));
    tell.send(()).unwrap();
    wait.recv().unwrap();
    drop(keeper.stdin.take());
    tool::wait(&mut keeper);
}

/// A process that accepts `count` connections of a listener that it inherits, takes a byte from each,
/// and closes on the end of file.
pub(crate) fn accepts(listener: &TcpListener, count: usize) -> Child {
    let mut command = this_program();
    command
        .env(ACCEPT, count.to_string())
        .stdin(copy_of(listener))
        .stdout(Stdio::null());
    spawn::spawn(&mut command).unwrap()
}

/// A server on a listener that it inherits: closes each connection so many milliseconds after its end
/// of file, but every `leak`-th never (0: all are closed). Until it is killed.
pub(crate) fn serves(listener: &TcpListener, delay_ms: u64, leak: u64) -> Child {
    let mut command = this_program();
    command
        .env(SERVE, format!("{delay_ms},{leak}"))
        .stdin(copy_of(listener))
        .stdout(Stdio::null());
    spawn::spawn(&mut command).unwrap()
}

/// What [`serves`] starts.
fn serve_for_ever(how: &str) {
    let (delay, leak) = how.split_once(',').unwrap();
    let delay = std::time::Duration::from_millis(delay.parse().unwrap());
    let leak: u64 = leak.parse().unwrap();
    for count in 1_u64.. {
        let mut stream = TcpStream::from(rustix::net::accept(std::io::stdin()).unwrap());
        std::thread::spawn(move || {
            // A reset is an end, too.
            let _ = stream.read_to_end(&mut Vec::new());
            if leak > 0 && count.is_multiple_of(leak) {
                std::mem::forget(stream);
            } else {
                std::thread::sleep(delay);
            }
        });
    }
}

/// A process that holds a copy of a socket, until it is killed.
pub(crate) fn holds(socket: impl Into<std::os::fd::OwnedFd>) -> Child {
    let mut command = this_program();
    command
        .env(HOLD, "1")
        .stdin(Stdio::from(socket.into()))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    spawn::spawn(&mut command).unwrap()
}

/// A process that is sent a descriptor over a unix socket and holds it, until it is killed. It has it
/// when this returns; ours is closed.
pub(crate) fn receives(socket: impl Into<std::os::fd::OwnedFd>) -> Child {
    let mut command = this_program();
    command.env(HOLD, "received").stderr(Stdio::null());
    let (child, mut ours) = talking(command);
    send(&ours, socket);
    ours.read_exact(&mut [0]).unwrap();
    child
}

/// Puts a descriptor on its way over a unix socket, and closes it.
pub(crate) fn send(over: &UnixStream, socket: impl Into<std::os::fd::OwnedFd>) {
    let socket = socket.into();
    let sent = [socket.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&sent)));
    let data = [std::io::IoSlice::new(b"-")];
    rustix::net::sendmsg(over, &data, &mut control, SendFlags::empty()).unwrap();
    spawn::close(socket);
}

/// Takes what [`send`] sent.
fn receive(over: &mut UnixStream) -> std::os::fd::OwnedFd {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut data = [0];
    let mut into = [std::io::IoSliceMut::new(&mut data)];
    rustix::net::recvmsg(&*over, &mut into, &mut control, RecvFlags::empty()).unwrap();
    let received = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut sent) => sent.next(),
        _ => None,
    });
    over.write_all(b"-").unwrap();
    received.unwrap()
}

/// A process that was started by one who did not ask for close on exec: it has all of these, until it is
/// killed.
pub(crate) fn inherits<T: AsFd>(sockets: &[T]) -> Child {
    let mut command = this_program();
    command
        .env(HOLD, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let flags = |flags| {
        for socket in sockets {
            fcntl_setfd(socket, flags).unwrap();
        }
    };
    spawn::alone(|| {
        flags(FdFlags::empty());
        let child = command.spawn();
        flags(FdFlags::CLOEXEC);
        child.unwrap()
    })
}

/// A process that makes so many others, each of which connects once (see [`gather`]); what they tell.
pub(crate) fn gathers(count: u32, to: SocketAddr) -> (Child, UnixStream) {
    let mut command = this_program();
    command
        .env(GATHER, count.to_string())
        .env(ADDRESS, to.to_string());
    talking(command)
}

/// A process that has so many connections to itself (see [`talk`]), and its other end of what is said.
pub(crate) fn talks(count: usize) -> (Child, UnixStream) {
    let mut command = this_program();
    command.env(TALK, count.to_string());
    talking(command)
}

/// Makes a process that this one starts (or that one's child) connect to itself, and exit with this
/// code.
pub(crate) fn exits(command: &mut Command, code: u8) -> &mut Command {
    command.env(EXIT, code.to_string())
}

/// Sends every byte back, until the end of file.
pub(crate) fn answer(stream: &mut TcpStream) {
    let mut byte = [0];
    while stream.read(&mut byte).unwrap() > 0 {
        stream.write_all(&byte).unwrap();
    }
}

/// Serves `count` connections that the peer closes first.
pub(crate) fn serve(listener: &TcpListener, count: usize) {
    for _ in 0..count {
        let (mut stream, _) = listener.accept().unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        spawn::close(stream);
    }
}

/// Not a test: what the processes above do.
#[test]
fn child_process() {
    if let Ok(code) = env::var(EXIT) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut served, _) = listener.accept().unwrap();
        drop(client);
        assert_eq!(served.read(&mut [0]).unwrap(), 0);
        drop((served, listener));
        std::process::exit(code.parse().unwrap());
    }
    if let Ok(how) = env::var(SERVE) {
        serve_for_ever(&how);
        return;
    }
    if let Some(how) = env::var_os(HOLD) {
        let _held = (how == "received").then(|| receive(&mut stdin_socket()));
        // Nobody kills it when a test fails.
        std::thread::sleep(std::time::Duration::from_mins(1));
        return;
    }
    if let Ok(count) = env::var(ACCEPT) {
        for _ in 0..count.parse().unwrap() {
            let accepted = rustix::net::accept(std::io::stdin()).unwrap();
            let mut stream = TcpStream::from(accepted);
            answer(&mut stream);
        }
        return;
    }
    if let Ok(count) = env::var(TALK) {
        talk(count.parse().unwrap(), stdin_socket());
        return;
    }
    let Ok(address) = env::var(ADDRESS) else {
        return;
    };
    if let Ok(count) = env::var(GATHER) {
        let address = address.parse().unwrap();
        gather(count.parse().unwrap(), address, std::io::stdin());
        return;
    }
    let comm = env::var_os(COMM).unwrap().into_vec();
    fs::write("/proc/self/comm", comm).unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    let address: SocketAddr = address.parse().unwrap();
    for _ in 0..env::var(COUNT).unwrap().parse().unwrap() {
        drop(TcpStream::connect(address).unwrap());
    }
}
