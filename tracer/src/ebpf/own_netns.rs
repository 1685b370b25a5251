//! Work in a network namespace that nobody else is in. It has a loopback and nothing else, and is gone when the
//! work is done.

use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result, anyhow};
use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
};

use super::apart::apart;

/// Does it there, on a thread of its own. Wants `CAP_SYS_ADMIN`.
pub(super) fn within<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    apart("own netns", || {
        unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace")?;
        loopback_up().context("bringing up its loopback")?;
        work()
    })
}

/// `RTM_NEWLINK` of include/uapi/linux/rtnetlink.h: the loopback is always the first link.
fn loopback_up() -> Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_ACK: u16 = 1 | 4;
    const LO: i32 = 1;
    const IFF_UP: u32 = 1;
    /// `struct nlmsghdr` and `struct ifinfomsg`.
    const LENGTH: u32 = 16 + 16;
    let mut message = Vec::with_capacity(LENGTH as usize);
    message.extend(LENGTH.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    // Sequence, port; family, padding and type.
    message.extend([0; 8 + 4]);
    message.extend(LO.to_ne_bytes());
    // Flags, and which of them are meant.
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    send(netlink.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut answer = [0; 256];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // `struct nlmsgerr` begins with the error, negative; 0: done.
    let error = answer[..length].get(16..).and_then(<[u8]>::first_chunk);
    match error.map(|error| i32::from_ne_bytes(*error)) {
        Some(0) => Ok(()),
        Some(error) => Err(Errno::from_raw(error.saturating_neg()).into()),
        None => Err(anyhow!("the kernel's answer is too short")),
    }
}
