//! What `ss -K` does: `SOCK_DESTROY` over `NETLINK_SOCK_DIAG` (include/uapi/linux/inet_diag.h).

use std::net::{IpAddr, SocketAddr};

use rustix::{io::Errno, net::netlink};

use crate::netlink::request;

/// Destroys the socket with these two ends, in the network namespace of this thread. An error is the
/// kernel's: `EOPNOTSUPP` where it can't.
pub(crate) fn destroy(local: SocketAddr, remote: SocketAddr) -> Result<(), Errno> {
    const SOCK_DESTROY: u16 = 21;
    const AF_INET: u8 = 2;
    const IPPROTO_TCP: u8 = 6;
    let (IpAddr::V4(from), IpAddr::V4(to)) = (local.ip(), remote.ip()) else {
        panic!("IPv4 only");
    };
    let mut message = Vec::new();
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
    request(Some(netlink::SOCK_DIAG), SOCK_DESTROY, &message)
}
