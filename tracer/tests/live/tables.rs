//! The kernel's own table of this thread's network namespace: what the ledger waits for.

use std::fs;

/// `TCP_*` of `include/net/tcp_states.h`.
pub(crate) const ESTABLISHED: u8 = 1;
pub(crate) const FIN_WAIT2: u8 = 5;
pub(crate) const TIME_WAIT: u8 = 6;
pub(crate) const CLOSE_WAIT: u8 = 8;

/// A socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) lport: u16,
    pub(crate) rport: u16,
    pub(crate) state: u8,
}

/// All of IPv4.
pub(crate) fn tcp() -> Vec<Entry> {
    of("tcp")
}

/// The state that this end of a connection is in; `None`: it is gone.
pub(crate) fn state_of(lport: u16, rport: u16) -> Option<u8> {
    let mut entries = tcp().into_iter().chain(of("tcp6"));
    let found = entries.find(|e| (e.lport, e.rport) == (lport, rport));
    found.map(|e| e.state)
}

fn of(table: &str) -> Vec<Entry> {
    let table = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap();
    let entry = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let mut number = || {
            let word = words.next()?;
            u16::from_str_radix(word.rsplit(':').next()?, 16).ok()
        };
        Some(Entry {
            lport: number()?,
            rport: number()?,
            state: number()?.try_into().ok()?,
        })
    };
    let entries = table.lines().skip(1);
    entries
        .map(|line| entry(line).unwrap_or_else(|| panic!("{line}")))
        .collect()
}
