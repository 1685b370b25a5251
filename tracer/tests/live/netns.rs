//! A network namespace of one's own.

use std::{
    fs,
    num::NonZero,
    os::unix::fs::MetadataExt,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use rustix::{
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
    thread::UnshareFlags,
};

use crate::netlink::request;

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
fn unshare(flags: UnshareFlags) {
    assert!(!flags.contains(UnshareFlags::FILES));
    #[expect(unsafe_code, reason = "only the table of files is dangerous to leave")]
    // SAFETY: `FILES` is not among the flags.
    unsafe { rustix::thread::unshare_unsafe(flags) }.unwrap();
}

fn inode() -> u32 {
    let inode = fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
    u32::try_from(inode).unwrap()
}

/// Sets `net.ipv4.NAME` of this thread's namespace.
pub(crate) fn sysctl(name: &str, value: &str) {
    let path = format!("/proc/sys/net/ipv4/{name}");
    fs::write(&path, value).unwrap_or_else(|e| panic!("{path}: {e}"));
}

/// A connect in this thread's namespace takes no port that waits in TIME_WAIT. By default one on loopback
/// takes what has waited for a second: one of our own, whose end the ledger has otherwise.
pub(crate) fn leave_waiting_ports() {
    sysctl("tcp_tw_reuse", "0");
}

/// Gives this thread, and those that it starts, mounts that nobody else sees.
pub(crate) fn own_mounts() {
    unshare(UnshareFlags::NEWNS);
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).unwrap();
}

/// Lets softirqs of this thread's namespace run on any CPU, whatever runs there, and not only where
/// somebody sends. From then on this thread, and those that it starts, have mounts of their own.
pub(crate) fn softirqs_anywhere() {
    const MASK: &str = "/sys/class/net/lo/queues/rx-0/rps_cpus";
    own_mounts();
    // It shows the devices of the namespace of who mounts it.
    mount("sysfs", "/sys", "sysfs", MountFlags::empty(), None).unwrap();
    let cpus = thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(32);
    let all = format!("{:x}", (1_u64 << cpus) - 1);
    fs::write(MASK, all).unwrap_or_else(|e| panic!("{MASK}: {e} (CONFIG_RPS?)"));
}

/// `ip link set lo up`, without iproute2: one `RTM_NEWLINK` over rtnetlink.
fn loopback_up() {
    const RTM_NEWLINK: u16 = 16;
    const IFF_UP: u32 = 1;
    const LO: i32 = 1;
    // struct ifinfomsg: family and padding, type, index, flags, mask of flags.
    let mut message = vec![0; 4];
    message.extend(LO.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    request(None, RTM_NEWLINK, &message).unwrap();
}
