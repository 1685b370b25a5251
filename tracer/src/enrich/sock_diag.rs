//! A pass over all sockets without BPF: `sock_diag`, as `ss` asks (include/uapi/linux/inet_diag.h).
//!
//! It does not tell the kernel's addresses, so what is found goes by its cookie; nor how many references
//! a file has, nor when a minisock was stamped. It does tell of request sockets.

use anyhow::{Context as _, Result, bail};
use hashbrown::HashSet;
use nix::errno::Errno;
use tracer_common::{
    address::{AF_INET, AF_INET6, mapped},
    snapshot::{FOUND_DEAD, FOUND_FULL, SocketFound},
    state::{CLOSING, FIN_WAIT1, FIN_WAIT2, LAST_ACK, LISTEN, NEW_SYN_RECV, SYN_RECV, TIME_WAIT},
    wire::Fields,
};

use super::{
    descriptors, namespaces,
    netlink::{self, HEADER, Selection, SockDiag},
    snapshot::Pass,
};
use crate::{
    clock,
    engine::{Mono, SockId},
};

/// States that `sock_diag` can be asked for.
const ALL: u32 = (1 << NEW_SYN_RECV) - 2;
/// More than the kernel puts into one part of its answer (32 KiB).
const PART: usize = 1 << 16;

/// All sockets but those in the states of `without` (a bit each), and who holds them.
pub(super) fn pass(without: u32) -> Result<Pass> {
    let pass = sockets(clock::monotonic(), without)?;
    let wanted: HashSet<u64> = pass.sockets.iter().map(|s| s.socket).collect();
    let held = descriptors::of_all(&wanted);
    Ok(Pass {
        holders: held.holders,
        open_files: held.open_files,
        unreadable: held.unreadable,
        ..pass
    })
}

/// The sockets alone.
pub(super) fn sockets(began: Mono, without: u32) -> Result<Pass> {
    Pass::of_sockets(began, namespaces::all(), move |_, netns| {
        let mut found = Vec::new();
        dump(netns, without, &mut found)?;
        Ok(found)
    })
}

/// The sockets of this thread's namespace, appended.
pub(super) fn dump(netns: u32, without: u32, found: &mut Vec<SocketFound>) -> Result<()> {
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    let kernel = SockDiag::open()?;
    let mut states = ALL & !without;
    if !leaves_out(without, NEW_SYN_RECV) {
        states |= 1 << SYN_RECV;
    }
    for family in [AF_INET, AF_INET6] {
        let selection = Selection {
            family: u8::try_from(family).unwrap_or(0),
            extensions: 1 << (attribute::INFO - 1),
            states,
        };
        let request = netlink::request(SOCK_DIAG_BY_FAMILY, netlink::DUMP, selection, None);
        match take_all(&kernel, &request, netns, without, found) {
            Ok(()) => {}
            Err(Errno::ENOENT) => bail!(
                "sock_diag: this kernel has no tcp_diag (CONFIG_INET_TCP_DIAG; modprobe tcp_diag)"
            ),
            Err(error) => return Err(error).context("asking sock_diag for the sockets"),
        }
    }
    Ok(())
}

/// Whether the state is among those of `without`.
pub(super) const fn leaves_out(without: u32, state: u8) -> bool {
    without.unbounded_shr(state as u32) & 1 == 1
}

/// Takes the whole answer to a request.
fn take_all(
    kernel: &SockDiag,
    request: &[u8],
    netns: u32,
    without: u32,
    found: &mut Vec<SocketFound>,
) -> Result<(), Errno> {
    let mut buffer = vec![0; PART];
    let jiffy_ms = clock::jiffy().map(|jiffy| u32::try_from(jiffy.as_millis()).unwrap_or(u32::MAX));
    let mut began = clock::monotonic();
    kernel.ask(request)?;
    loop {
        // The kernel makes the next part while it hands out the one before.
        let ended = clock::monotonic();
        let asked = AskedAt {
            began,
            took_ms: u32::try_from(ended.since(began).as_millis()).unwrap_or(u32::MAX),
            jiffy_ms: jiffy_ms.unwrap_or(0),
            netns,
        };
        began = ended;
        if take_answer(kernel.take(&mut buffer)?, asked, without, found)? {
            return Ok(());
        }
    }
}

/// Takes a part of an answer, but for sockets in the states of `without`; whether it was the last.
pub fn take_answer(
    mut rest: &[u8],
    asked: AskedAt,
    without: u32,
    found: &mut Vec<SocketFound>,
) -> Result<bool, Errno> {
    const NLMSG_ERROR: u16 = 2;
    const NLMSG_DONE: u16 = 3;
    while rest.len() >= HEADER {
        let mut header = Fields::new(rest);
        let (length, kind) = (header.u32() as usize, header.u16());
        let message = rest.get(HEADER..length).ok_or(Errno::EBADMSG)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        match kind {
            NLMSG_ERROR | NLMSG_DONE => {
                let error = message.first_chunk().copied().map_or(0, i32::from_ne_bytes);
                return match error {
                    0.. => Ok(true),
                    _ => Err(Errno::from_raw(error.saturating_neg())),
                };
            }
            _ => {
                let socket = asked.socket(message).ok_or(Errno::EBADMSG)?;
                if !leaves_out(without, socket.state) {
                    found.push(socket);
                }
            }
        }
    }
    Ok(false)
}

/// What is told of a socket beside `struct inet_diag_msg`.
mod attribute {
    /// `struct tcp_info`, of full sockets.
    pub(super) const INFO: u16 = 2;
    /// `sk_shutdown`, of full sockets.
    pub(super) const SHUTDOWN: u16 = 8;
}

/// When and where a part of an answer was made.
#[derive(Clone, Copy, Debug)]
pub struct AskedAt {
    /// No socket was looked at before.
    pub began: Mono,
    /// A socket may have been looked at so long after `began`.
    pub took_ms: u32,
    /// The unit of ages; 0: not known.
    pub jiffy_ms: u32,
    /// The network namespace.
    pub netns: u32,
}

impl AskedAt {
    /// `struct inet_diag_msg` and its attributes; `None`: too short.
    fn socket(self, message: &[u8]) -> Option<SocketFound> {
        const LENGTH: usize = 72;
        const TIMER_TIME_WAIT: u8 = 3;
        let (fixed, attributes) = message.split_at_checked(LENGTH)?;
        let mut f = Fields::new(fixed);
        let (family, state, timer, retransmits) = (f.u8(), f.u8(), f.u8(), f.u8());
        let (sport, dport) = (u16::from_be(f.u16()), u16::from_be(f.u16()));
        let (saddr, daddr) = (f.bytes(), f.bytes());
        let _interface = f.u32();
        let cookie = u64::from(f.u32()) | u64::from(f.u32()) << 32;
        let _expires = f.u32();
        let (receive_queue, send_queue) = (f.u32(), f.u32());
        let (uid, inode) = (f.u32(), f.u32());
        let family = u16::from(family);
        let mut found = SocketFound {
            state,
            family,
            sport,
            dport,
            ts_ns: self.began.0,
            sk: SockId::of_cookie(cookie, self.netns).0,
            cookie,
            socket: u64::from(inode),
            netns: self.netns,
            saddr: address(saddr, family),
            daddr: address(daddr, family),
            receive_queue,
            send_queue,
            uid,
            ..SocketFound::default()
        };
        let (mut shutdown, mut info) = (None, None);
        for (kind, value) in Attributes(attributes) {
            match kind {
                attribute::SHUTDOWN => shutdown = value.first().copied(),
                attribute::INFO => info = Info::of(value),
                _ => {}
            }
        }
        let Some(shutdown) = shutdown else {
            // No full socket.
            match (state, timer) {
                (SYN_RECV, _) => {
                    found.state = NEW_SYN_RECV;
                    found.retransmits = retransmits;
                }
                (_, TIMER_TIME_WAIT) => {
                    found.state = TIME_WAIT;
                    found.substate = state;
                }
                _ => {}
            }
            return Some(found);
        };
        found.shutdown = shutdown;
        // Whoever has no file in these states had one, and closed it: one that was never accepted
        // does not get here.
        if inode == 0 && matches!(state, FIN_WAIT1 | FIN_WAIT2 | LAST_ACK | CLOSING) {
            found.flags |= FOUND_DEAD;
        }
        match info {
            Some(info) => {
                found.flags |= FOUND_FULL;
                found.retransmits = info.retransmits;
                found.heard_ago = self.ticks(info.last_ack_received);
                found.data_ago = self.ticks(info.last_data_received);
                found.sent_ago = self.ticks(info.last_data_sent);
            }
            None if state == LISTEN => found.flags |= FOUND_FULL,
            None => {}
        }
        Some(found)
    }

    /// Jiffies that have passed for certain since so many milliseconds before the look.
    const fn ticks(self, ms: u32) -> u32 {
        let passed = ms.saturating_sub(self.took_ms);
        match passed.checked_div(self.jiffy_ms) {
            Some(ticks) => ticks,
            None => 0,
        }
    }
}

/// As the kernel programs tell it.
fn address(bytes: [u8; 16], family: u16) -> [u8; 16] {
    match (family, bytes) {
        (AF_INET, [a, b, c, d, ..]) => mapped([a, b, c, d]),
        _ => bytes,
    }
}

/// What is taken of `struct tcp_info` (include/uapi/linux/tcp.h); times in ms ago.
#[derive(Clone, Copy, Debug)]
struct Info {
    retransmits: u8,
    last_data_sent: u32,
    last_data_received: u32,
    last_ack_received: u32,
}

impl Info {
    /// `None`: too short.
    fn of(bytes: &[u8]) -> Option<Self> {
        let times = bytes.get(44..60)?;
        let mut times = Fields::new(times);
        let last_data_sent = times.u32();
        let _last_ack_sent = times.u32();
        Some(Self {
            retransmits: *bytes.get(2)?,
            last_data_sent,
            last_data_received: times.u32(),
            last_ack_received: times.u32(),
        })
    }
}

/// `struct nlattr`, one after the other.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        const HEAD: usize = 4;
        let mut head = Fields::new(self.0.get(..HEAD)?);
        let (length, kind) = (usize::from(head.u16()), head.u16());
        let value = self.0.get(HEAD..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    }
}
