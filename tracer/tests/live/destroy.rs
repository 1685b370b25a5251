//! What `ss -K` does: `SOCK_DESTROY` over `NETLINK_SOCK_DIAG` (include/uapi/linux/inet_diag.h).

use std::net::{IpAddr, SocketAddr};

use rustix::{
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink},
};

/// Destroys the socket with these two ends, in the network namespace of this thread. An error is the
/// kernel's: `EOPNOTSUPP` where it can't.
pub(crate) fn destroy(local: SocketAddr, remote: SocketAddr) -> Result<(), Errno> {
    const SOCK_DESTROY: u16 = 21;
    const NLM_F_REQUEST_ACK: u16 = 1 | 4;
    const AF_INET: u8 = 2;
    const IPPROTO_TCP: u8 = 6;
    let (IpAddr::V4(from), IpAddr::V4(to)) = (local.ip(), remote.ip()) else {
        panic!("IPv4 only");
    };
    let mut message = Vec::new();
    // struct nlmsghdr: length, type, flags, sequence, port.
    message.extend(72_u32.to_ne_bytes());
    message.extend(SOCK_DESTROY.to_ne_bytes());
    message.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    message.extend([0; 8]);
    // struct inet_diag_req_v2: family, protocol, extensions, padding, states.
    message.extend([AF_INET, IPPROTO_TCP, 0, 0]);
    message.extend(u32::MAX.to_ne_bytes());
    // struct inet_diag_sockid: ports, addresses, interface, no cookie.
    message.extend(local.port().to_be_bytes());
    message.extend(remote.port().to_be_bytes());
    for ip in [from, to] {
        message.extend(ip.octets());
        message.extend([0; 12]);
    }
    message.extend(0_u32.to_ne_bytes());
    message.extend([0xff; 8]);
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )?;
    rustix::net::send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0; 256];
    let (_, length) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    let error = answer[16..length]
        .first_chunk()
        .copied()
        .map(i32::from_ne_bytes);
    match error {
        Some(0) => Ok(()),
        Some(error) => Err(Errno::from_raw_os_error(-error)),
        None => panic!("a short answer"),
    }
}
