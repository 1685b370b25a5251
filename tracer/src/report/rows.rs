//! How the keys of groups are written.

use std::{borrow::Cow, net::Ipv6Addr};

use crate::engine::GroupKey;

/// What kind of row it is, for programs: `key`, or why it has none.
pub(super) const fn kind(key: GroupKey) -> &'static str {
    match key {
        GroupKey::Process(_)
        | GroupKey::Port(_)
        | GroupKey::PerhapsPort(_)
        | GroupKey::Address(_) => "key",
        GroupKey::ActiveOpen => "active_open",
        GroupKey::PassiveOpen => "passive_open",
        GroupKey::Unknown => "unknown",
        GroupKey::Other => "other",
    }
}

/// The key as text from outside, not escaped; `None`: the row has none.
pub(super) fn key(key: &GroupKey) -> Option<Cow<'_, str>> {
    match key {
        GroupKey::Process(name) => Some(String::from_utf8_lossy(name.bytes())),
        GroupKey::Port(port) | GroupKey::PerhapsPort(port) => Some(port.to_string().into()),
        GroupKey::Address(address) => {
            let ip = Ipv6Addr::from_octets(*address).to_canonical();
            Some(ip.to_string().into())
        }
        GroupKey::ActiveOpen | GroupKey::PassiveOpen | GroupKey::Unknown | GroupKey::Other => None,
    }
}

/// What people read in place of a key.
pub(super) const fn instead(key: GroupKey) -> &'static str {
    match key {
        GroupKey::ActiveOpen => "(outgoing)",
        GroupKey::PassiveOpen => "(incoming)",
        GroupKey::Other => "(other)",
        _ => "(unknown)",
    }
}
