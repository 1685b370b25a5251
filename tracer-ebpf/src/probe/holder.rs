//! Which process holds a connection that came out of a listener.
//!
//! Its state changes up to ESTABLISHED are made in softirqs. `inet_csk_accept` returns it to the
//! process that accepts; where that can't be hooked, the first read tells (`tcp_rcv_space_adjust`,
//! called from `recvmsg`).

use aya_ebpf::helpers::bpf_ktime_get_ns;
use tracer_common::{
    layout::SockLayout,
    record::{HELD_ACCEPT, HELD_READ, KIND_SOCKET_HELD, SocketHeld},
};

use super::common::Common;
use crate::{
    emit::{self, By},
    filter,
    globals::offset,
    kernel::read,
    maps::READERS,
    owner,
};

/// `inet_csk_accept` gave this socket (or null) to the process on this CPU.
#[inline(always)]
pub fn accepted(sk: u64) {
    if sk != 0 {
        held(sk, Common(sk).cookie(), HELD_ACCEPT);
    }
}

/// Somebody took data out of this socket.
#[inline(always)]
pub fn read_from(sk: u64) {
    // A softirq that reads (sockmap) does not own the lock.
    if read::<u32>(sk, offset!(SOCK: SockLayout, lock_owned)) == 0 {
        return;
    }
    let cookie = Common(sk).cookie();
    // SAFETY: the value is only compared.
    if unsafe { READERS.get(sk) }.is_some_and(|known| *known == cookie) {
        return;
    }
    if held(sk, cookie, HELD_READ) {
        // No room: it is told again.
        let _ = READERS.insert(sk, cookie, 0);
    }
}

/// Whether user space knows now, or does not want to.
#[inline(never)]
fn held(sk: u64, cookie: u64, how: u8) -> bool {
    if !filter::wants(|| Common(sk).subject()) {
        return true;
    }
    // SAFETY: no argument, no effect.
    let ts_ns = unsafe { bpf_ktime_get_ns() };
    let owner = owner::current(By::Holder, ts_ns);
    if owner.tgid == 0 {
        return false;
    }
    let held = SocketHeld {
        kind: KIND_SOCKET_HELD,
        how,
        reserved: 0,
        tgid: owner.tgid,
        ts_ns,
        sk,
        cookie,
    };
    emit::tell(By::Holder, |record: *mut SocketHeld| {
        // SAFETY: a reservation of this size.
        unsafe { record.write(held) };
    })
}
