//! The settings that findings go by, of the network namespace that the tool runs in.

use std::{fs, os::unix::fs::MetadataExt as _};

use crate::{
    clock,
    engine::{Event, EventBody, Sysctl},
};

/// Under `/proc/sys/net/ipv4`. What this kernel has not is left out.
const NAMES: [&str; 12] = [
    "ip_local_port_range",
    "ip_local_reserved_ports",
    "tcp_fin_timeout",
    "tcp_keepalive_time",
    "tcp_max_orphans",
    "tcp_max_syn_backlog",
    "tcp_max_tw_buckets",
    "tcp_retries2",
    "tcp_syn_retries",
    "tcp_timestamps",
    "tcp_tw_recycle",
    "tcp_tw_reuse",
];

/// A value is cut here: `ip_local_reserved_ports` may be long.
const MAX_VALUE: usize = 4096;

/// Their values now.
pub fn sysctls() -> Vec<Event> {
    let netns = fs::metadata("/proc/thread-self/ns/net").map(|m| m.ino());
    let netns = netns.ok().and_then(|inode| u32::try_from(inode).ok());
    let read = NAMES.into_iter().filter_map(|name| {
        let mut value = fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok()?;
        value.truncate(value.floor_char_boundary(MAX_VALUE));
        Some(Event {
            at: clock::monotonic(),
            body: EventBody::Sysctl(Sysctl {
                netns: netns.unwrap_or(0),
                name: format!("net.ipv4.{name}").into(),
                value: value.trim_end().into(),
            }),
        })
    });
    read.collect()
}
