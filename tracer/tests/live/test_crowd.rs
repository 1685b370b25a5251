//! More processes than the kernel programs remember: each is still told apart from all others.

use std::{
    collections::HashMap,
    fs,
    io::Read as _,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener},
    os::fd::AsFd,
    thread,
    time::Duration,
};

use nix::{
    sys::wait::waitpid,
    unistd::{ForkResult, fork},
};
use rustix::{
    io::{Errno, write},
    net::{
        AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, socket_with, sockopt,
    },
    process::getpid,
};

use crate::{
    child, hidden,
    netns::Netns,
    skip::{Noise, scaled, turn},
    spawn,
    test_soak::{GROWTH_KIB, resident},
    tool::{self, Tool, trace},
};

/// The kernel programs' table (`PROCESSES` in tracer-ebpf/src/maps.rs) has room for 8192.
const CROWD: usize = 9000;

/// What each of the crowd tells of itself: its id, its number, its port.
const TOLD: usize = 12;

/// What one of the crowd is called.
fn name(number: u32) -> String {
    format!("crowd-{number}")
}

/// Makes so many processes, one after the other, each of which connects once; and connects itself before
/// and after. Each tells of itself.
pub(crate) fn gather(count: u32, to: SocketAddr, tell: impl AsFd) {
    let SocketAddr::V4(to) = to else {
        panic!("{to}");
    };
    // A process is called as its first thread, which this one is not; in the others it is.
    fs::write("/proc/self/comm", name(0)).unwrap();
    tell_of(connect_as(0, to), 0, &tell);
    for number in 1..=count {
        #[expect(unsafe_code, reason = "starting a program takes twenty times as long")]
        // SAFETY: the child makes system calls only: no lock of another thread is waited for.
        match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => {
                waitpid(child, None).unwrap();
            }
            ForkResult::Child => {
                tell_of(connect_as(number, to), number, &tell);
                #[expect(
                    unsafe_code,
                    reason = "nothing of the parent's is to be done at its exit"
                )]
                // SAFETY: it does not return, and takes any number.
                unsafe {
                    nix::libc::_exit(0)
                }
            }
        }
    }
    tell_of(connect_as(0, to), 0, &tell);
}

/// Connects, and resets; by which port. Allocates nothing: see [`gather`].
fn connect_as(number: u32, to: SocketAddrV4) -> Result<u16, Errno> {
    use std::io::Write as _;
    let mut name = [0; 16];
    let _ = write!(&mut name[..15], "crowd-{number}");
    let name = std::ffi::CStr::from_bytes_until_nul(&name).unwrap_or_default();
    rustix::thread::set_name(name)?;
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    let local = SocketAddrV4::try_from(getsockname(&socket)?)?;
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    connect(&socket, &to)?;
    Ok(local.port())
}

/// One who did not come through is not told of.
fn tell_of(port: Result<u16, Errno>, number: u32, tell: &impl AsFd) {
    if let Ok(port) = port {
        let pid = getpid().as_raw_nonzero().get().unsigned_abs();
        let mut told = [0; TOLD];
        for (place, value) in told.chunks_exact_mut(4).zip([pid, number, port.into()]) {
            place.copy_from_slice(&value.to_ne_bytes());
        }
        let _ = write(tell, &told);
    }
}

#[test]
fn each_of_a_crowd_is_told_apart() {
    let Some(_turn) = turn("each_of_a_crowd_is_told_apart", Noise::Storm) else {
        return;
    };
    let count = scaled(CROWD);
    let space = Netns::new(move |netns| {
        let netns = netns.to_string();
        let tool = Tool::attached(&mut trace(["--format", "ndjson", "--netns", &netns]));
        let before = resident(tool.id());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let (mut crowd, mut tells) = child::gathers(u32::try_from(count).unwrap(), to);
        let server = thread::spawn(move || {
            for _ in 0..count + 2 {
                spawn::close(listener.accept().unwrap());
            }
        });
        let mut told = Vec::new();
        tells.read_to_end(&mut told).unwrap();
        assert!(tool::wait(&mut crowd).success());
        server.join().unwrap();
        tool.settle();
        let after = resident(tool.id());
        eprintln!("{count} processes: {before} KiB, then {after}");
        assert!(after <= before + GROWTH_KIB, "{before} KiB, then {after}");
        (tool, to, told)
    });
    let (tool, to, told) = space.run();
    // (pid, port) to number.
    let mut crowd = HashMap::new();
    for one in told.chunks_exact(TOLD) {
        let mut fields = one.chunks_exact(4);
        let mut field = || u32::from_ne_bytes(fields.next().unwrap().try_into().unwrap());
        let (pid, number, port) = (field(), field(), field());
        crowd.insert((pid, u16::try_from(port).unwrap()), number);
    }
    assert_eq!(crowd.len(), count + 2, "all came through");
    let finished = tool.interrupt();
    finished.assert_success();
    let completeness = finished.completeness();
    assert_eq!(completeness.lost, 0, "{completeness:?}");
    let mut seen = 0;
    let rows = finished.rows();
    for row in rows.iter().filter(|row| row.rport == Some(to.port())) {
        // Until the accepting end has its tuple, it may be one of these.
        let Some(pid) = row.pid.filter(|_| row.role == "active_open") else {
            continue;
        };
        let number = crowd.get(&(pid, row.lport.unwrap()));
        let number = *number.unwrap_or_else(|| panic!("nobody of the crowd: {row:#?}"));
        assert_eq!(row.comm, Some(name(number)), "{row:#?}");
        seen += usize::from(row.to == "SYN_SENT");
    }
    hidden::only(crowd.len() - seen, &completeness);
}
