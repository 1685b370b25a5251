//! What is asked of the kernel over `NETLINK_SOCK_DIAG` (include/uapi/linux/inet_diag.h).

use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
};

/// `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;
/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
const REQUEST: u32 = 16 + 56;
/// Bytes of `struct inet_diag_sockid`.
const SOCKID: usize = 48;

/// `NLM_F_REQUEST | NLM_F_ACK`.
pub(super) const ACKNOWLEDGE: u16 = 1 | 4;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
pub(super) const DUMP: u16 = 1 | 0x300;

/// Which sockets are meant, `struct inet_diag_req_v2` without the last member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Selection {
    /// `AF_INET` or `AF_INET6`.
    pub(super) family: u8,
    /// What is to be told beside the basic facts: a bit for each `INET_DIAG_*`.
    pub(super) extensions: u8,
    /// A bit for each state.
    pub(super) states: u32,
}

/// A socket in the network namespace of the thread that opens it.
#[derive(Debug)]
pub(super) struct SockDiag(OwnedFd);

impl SockDiag {
    pub(super) fn open() -> Result<Self> {
        let netlink = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkSockDiag,
        );
        Ok(Self(netlink.context("opening a netlink socket")?))
    }

    /// Sends a request.
    pub(super) fn ask(&self, message: &[u8]) -> Result<(), Errno> {
        send(self.0.as_raw_fd(), message, MsgFlags::empty()).map(drop)
    }

    /// Takes the next part of the answer.
    pub(super) fn take<'a>(&self, into: &'a mut [u8]) -> Result<&'a [u8], Errno> {
        loop {
            match recv(self.0.as_raw_fd(), into, MsgFlags::empty()) {
                Ok(length) => return Ok(&into[..length]),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A request of this kind. `id`: one socket (`struct inet_diag_sockid`), or none in particular.
pub(super) fn request(
    kind: u16,
    flags: u16,
    selection: Selection,
    id: Option<[u8; SOCKID]>,
) -> Vec<u8> {
    const IPPROTO_TCP: u8 = 6;
    let mut message = Vec::with_capacity(REQUEST as usize);
    message.extend(REQUEST.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence, port.
    message.extend([0; 8]);
    message.extend([selection.family, IPPROTO_TCP, selection.extensions, 0]);
    message.extend(selection.states.to_ne_bytes());
    message.extend(id.unwrap_or([0; SOCKID]));
    message
}
