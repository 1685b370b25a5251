//! One request to the kernel over netlink, and its answer.

use rustix::{
    io::Errno,
    net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType},
};

/// Sends a request of this type (after its `struct nlmsghdr`) in the network namespace of this
/// thread, and waits until it is done. An error is the kernel's.
pub(crate) fn request(protocol: Option<Protocol>, kind: u16, body: &[u8]) -> Result<(), Errno> {
    const HEADER: usize = 16;
    const NLM_F_REQUEST_ACK: u16 = 1 | 4;
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        protocol,
    )?;
    // Length, type, flags, sequence, port.
    let mut message = Vec::new();
    message.extend(u32::try_from(HEADER + body.len()).unwrap().to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    rustix::net::send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0; 256];
    let (_, length) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    let error = answer[HEADER..length]
        .first_chunk()
        .copied()
        .map(i32::from_ne_bytes);
    match error {
        Some(0) => Ok(()),
        Some(error) => Err(Errno::from_raw_os_error(-error)),
        None => panic!("a short answer"),
    }
}
