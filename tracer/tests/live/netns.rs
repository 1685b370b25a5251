//! A network namespace of one's own.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use rustix::{
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType},
    thread::UnshareFlags,
};

/// A thread that lives in a fresh network namespace with `lo` up; threads that it starts live there
/// too.
#[derive(Debug)]
pub(crate) struct Netns<T> {
    /// Inode number, the kernel's name for it.
    pub(crate) inode: u32,
    go: mpsc::Sender<()>,
    thread: JoinHandle<T>,
}

impl<T: Send + 'static> Netns<T> {
    /// Makes the namespace; `work` starts at [`Self::run`].
    pub(crate) fn new(work: impl FnOnce(u32) -> T + Send + 'static) -> Self {
        let (go, wait) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            unshare(UnshareFlags::NEWNET);
            loopback_up();
            let inode = inode();
            tell.send(inode).unwrap();
            wait.recv().unwrap();
            work(inode)
        });
        let inode = told.recv().unwrap();
        Self { inode, go, thread }
    }

    /// Lets the work begin.
    pub(crate) fn start(self) -> JoinHandle<T> {
        self.go.send(()).unwrap();
        self.thread
    }

    /// Lets the work begin and waits for its result.
    pub(crate) fn run(self) -> T {
        self.start().join().unwrap()
    }
}

/// Leaves namespaces for new ones, with this thread only.
pub(crate) fn unshare(flags: UnshareFlags) {
    assert!(!flags.contains(UnshareFlags::FILES));
    #[expect(unsafe_code, reason = "only the table of files is dangerous to leave")]
    // SAFETY: `FILES` is not among the flags.
    unsafe { rustix::thread::unshare_unsafe(flags) }.unwrap();
}

fn inode() -> u32 {
    let inode = fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
    u32::try_from(inode).unwrap()
}

/// `ip link set lo up`, without iproute2: one `RTM_NEWLINK` over rtnetlink.
fn loopback_up() {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_ACK: u16 = 1 | 4;
    const IFF_UP: u32 = 1;
    const LO: i32 = 1;
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    let mut message = Vec::new();
    // struct nlmsghdr: length, type, flags, sequence, port.
    message.extend(32_u32.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    message.extend([0; 8]);
    // struct ifinfomsg: family and padding, type, index, flags, mask of flags.
    message.extend([0; 4]);
    message.extend(LO.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    rustix::net::send(&socket, &message, SendFlags::empty()).unwrap();
    let mut answer = [0; 256];
    let (_, length) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty()).unwrap();
    let error = answer[16..length]
        .first_chunk()
        .copied()
        .map(i32::from_ne_bytes);
    assert_eq!(error, Some(0), "rtnetlink: lo does not come up");
}
