//! Ending sockets from outside, as `ss -K` does: `SOCK_DESTROY` over netlink
//! (include/uapi/linux/inet_diag.h). Each is named by both ends and by its cookie where it has one,
//! so that no other can be hit.

use std::{
    fs::File,
    os::fd::{AsRawFd as _, OwnedFd},
    os::unix::fs::MetadataExt as _,
    thread,
};

use anyhow::{Context as _, Result, anyhow};
use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
};
use tracer_common::address::{self, AF_INET};

use super::namespaces;
use crate::engine::{Endpoint, FourTuple};

/// A socket to be destroyed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Inode of its network namespace.
    pub netns: u32,
    /// Both ends.
    pub tuple: FourTuple,
    /// Its cookie; 0: it has none.
    pub cookie: u64,
}

/// Destroys them; what became of each, in their order. An error is the kernel's.
pub fn destroy(targets: &[Target]) -> Result<Vec<Result<(), Errno>>> {
    let mut wanted: Vec<u32> = targets.iter().map(|t| t.netns).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut results = vec![Err(Errno::ENOENT); targets.len()];
    for namespace in namespaces::all() {
        let inode = namespace
            .metadata()
            .context("asking for a namespace")?
            .ino();
        let Ok(netns) = u32::try_from(inode) else {
            continue;
        };
        if wanted.binary_search(&netns).is_err() {
            continue;
        }
        let there: Vec<(usize, Target)> = targets
            .iter()
            .copied()
            .enumerate()
            .filter(|(_, target)| target.netns == netns)
            .collect();
        for (place, result) in destroy_in(namespace, there)? {
            results[place] = result;
        }
    }
    Ok(results)
}

/// A thread of its own enters the namespace.
fn destroy_in(
    namespace: File,
    targets: Vec<(usize, Target)>,
) -> Result<Vec<(usize, Result<(), Errno>)>> {
    let work = move || {
        setns(&namespace, CloneFlags::CLONE_NEWNET).context("entering a network namespace")?;
        let netlink = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkSockDiag,
        )
        .context("opening a netlink socket")?;
        let done = targets
            .into_iter()
            .map(|(place, target)| (place, destroy_one(&netlink, &target)));
        Ok(done.collect())
    };
    let thread = thread::Builder::new()
        .name("destroy".to_owned())
        .spawn(work)
        .context("starting a thread")?;
    thread
        .join()
        .unwrap_or_else(|_| Err(anyhow!("the thread that destroys sockets failed")))
}

fn destroy_one(netlink: &OwnedFd, target: &Target) -> Result<(), Errno> {
    /// Bytes of `struct nlmsghdr`.
    const HEADER: usize = 16;
    send(netlink.as_raw_fd(), &request(target), MsgFlags::empty())?;
    let mut answer = [0; 512];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // struct nlmsgerr: 0, or the error as a negative number.
    let error = answer
        .get(HEADER..length)
        .and_then(|body| body.first_chunk());
    match error.copied().map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(error) => Err(Errno::from_raw(error.saturating_neg())),
        None => Err(Errno::EBADMSG),
    }
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
fn request(target: &Target) -> Vec<u8> {
    const LENGTH: u32 = 16 + 56;
    const SOCK_DESTROY: u16 = 21;
    const NLM_F_REQUEST_ACK: u16 = 1 | 4;
    const IPPROTO_TCP: u8 = 6;
    let tuple = &target.tuple;
    let v4 = tuple.family == AF_INET;
    let mut message = Vec::with_capacity(LENGTH as usize);
    message.extend(LENGTH.to_ne_bytes());
    message.extend(SOCK_DESTROY.to_ne_bytes());
    message.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    // Sequence, port.
    message.extend([0; 8]);
    let family = u8::try_from(tuple.family).unwrap_or(0);
    // Extensions and padding; all states.
    message.extend([family, IPPROTO_TCP, 0, 0]);
    message.extend(u32::MAX.to_ne_bytes());
    // struct inet_diag_sockid.
    message.extend(tuple.local.port.to_be_bytes());
    message.extend(tuple.remote.port.to_be_bytes());
    for end in [&tuple.local, &tuple.remote] {
        message.extend(address_of(end, v4));
    }
    // Any interface.
    message.extend([0; 4]);
    let cookie = match target.cookie {
        // INET_DIAG_NOCOOKIE.
        0 => u64::MAX,
        cookie => cookie,
    };
    // Low half first.
    for half in [cookie & u64::from(u32::MAX), cookie >> 32] {
        let half = u32::try_from(half).unwrap_or(u32::MAX);
        message.extend(half.to_ne_bytes());
    }
    message
}

/// An IPv4 address takes the first four of the sixteen bytes.
fn address_of(end: &Endpoint, v4: bool) -> address::Address {
    if !v4 {
        return end.address;
    }
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&end.address[12..]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_one_socket() {
        let end = |last, port| Endpoint {
            address: address::mapped([10, 0, 0, last]),
            port,
        };
        let target = Target {
            netns: 1,
            tuple: FourTuple {
                local: end(1, 8080),
                remote: end(2, 40_000),
                family: AF_INET,
            },
            cookie: 0x0102_0304_0506_0708,
        };
        let message = request(&target);
        assert_eq!(message.len(), 72);
        assert_eq!(message[..4], 72_u32.to_ne_bytes());
        assert_eq!(message[24..28], [0x1f, 0x90, 0x9c, 0x40]);
        assert_eq!(message[28..32], [10, 0, 0, 1]);
        assert_eq!(message[44..48], [10, 0, 0, 2]);
        assert_eq!(message[64..68], 0x0506_0708_u32.to_ne_bytes());
        assert_eq!(message[68..], 0x0102_0304_u32.to_ne_bytes());
        let without = request(&Target {
            cookie: 0,
            ..target
        });
        assert_eq!(without[64..], [0xff; 8]);
    }
}
