//! Ending sockets from outside, as `ss -K` does: `SOCK_DESTROY` over netlink
//! (include/uapi/linux/inet_diag.h). Each is named by both ends and by its cookie where it has one,
//! so that no other can be hit.

use std::{fs::File, os::unix::fs::MetadataExt as _, thread};

use anyhow::{Context as _, Result, anyhow};
use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
};
use tracer_common::address::{self, AF_INET};

use super::{
    namespaces,
    netlink::{self, HEADER, Selection, SockDiag},
};
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
    for namespace in namespaces::all().open {
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
        let kernel = SockDiag::open()?;
        let done = targets
            .into_iter()
            .map(|(place, target)| (place, destroy_one(&kernel, &target)));
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

fn destroy_one(kernel: &SockDiag, target: &Target) -> Result<(), Errno> {
    kernel.ask(&request(target))?;
    let mut answer = [0; 512];
    let answer = kernel.take(&mut answer)?;
    // struct nlmsgerr: 0, or the error as a negative number.
    let error = answer.get(HEADER..).and_then(|body| body.first_chunk());
    match error.copied().map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(error) => Err(Errno::from_raw(error.saturating_neg())),
        None => Err(Errno::EBADMSG),
    }
}

/// The request for one socket.
fn request(target: &Target) -> Vec<u8> {
    const SOCK_DESTROY: u16 = 21;
    let tuple = &target.tuple;
    let v4 = tuple.family == AF_INET;
    let mut id = [0; 48];
    id[..2].copy_from_slice(&tuple.local.port.to_be_bytes());
    id[2..4].copy_from_slice(&tuple.remote.port.to_be_bytes());
    id[4..20].copy_from_slice(&address_of(&tuple.local, v4));
    id[20..36].copy_from_slice(&address_of(&tuple.remote, v4));
    // Then any interface.
    let cookie = match target.cookie {
        // INET_DIAG_NOCOOKIE.
        0 => u64::MAX,
        cookie => cookie,
    };
    // Low half first.
    for (place, half) in [(40, cookie & u64::from(u32::MAX)), (44, cookie >> 32)] {
        let half = u32::try_from(half).unwrap_or(u32::MAX);
        id[place..place + 4].copy_from_slice(&half.to_ne_bytes());
    }
    let selection = Selection {
        family: u8::try_from(tuple.family).unwrap_or(0),
        extensions: 0,
        states: u32::MAX,
    };
    netlink::request(SOCK_DESTROY, netlink::ACKNOWLEDGE, selection, Some(id))
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
