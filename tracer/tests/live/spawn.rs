//! Starting processes beside threads that close sockets.
//!
//! Between fork and exec a child holds a copy of every descriptor. A socket that is closed in that
//! moment stays open until the child's exec, and it is the child that sends the FIN: later, and with
//! another pid than the ledger says. So nobody closes while somebody spawns.

use std::{
    fs,
    net::TcpStream,
    process::{Child, Command},
    sync::{PoisonError, RwLock},
    time::Duration,
};

use rustix::net::sockopt;

use crate::clock;

static DESCRIPTORS: RwLock<()> = RwLock::new(());

/// Closes a socket (or does anything else that must not happen while a child holds copies).
pub(crate) fn close<T>(socket: T) {
    let _no_spawn = DESCRIPTORS.read().unwrap_or_else(PoisonError::into_inner);
    drop(socket);
}

/// Closes with a RST.
pub(crate) fn reset(stream: TcpStream) {
    sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    close(stream);
}

/// Does what must not happen beside a spawn, nor beside a close.
pub(crate) fn alone<T>(act: impl FnOnce() -> T) -> T {
    let _alone = DESCRIPTORS.write().unwrap_or_else(PoisonError::into_inner);
    act()
}

/// Starts a process, and returns when it holds no copies any more.
pub(crate) fn spawn(command: &mut Command) -> std::io::Result<Child> {
    alone(|| {
        let mine = fs::read("/proc/thread-self/comm")?;
        let child = command.spawn()?;
        // The parent goes on before the child's copies are closed (begin_new_exec, fs/exec.c); its
        // name changes after.
        let name = format!("/proc/{}/comm", child.id());
        clock::until(Duration::from_secs(5), || {
            (fs::read(&name).ok().as_ref() != Some(&mine)).then_some(())
        });
        Ok(child)
    })
}
