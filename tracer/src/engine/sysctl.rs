//! The kernel's settings, as they were when the trace began.

use std::{collections::BTreeMap, sync::Arc};

/// Settings kept at most.
const MAX_SETTINGS: usize = 1024;

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// Inode of the network namespace that it holds for; 0: unknown.
    pub netns: u32,
    /// Its name: `net.ipv4.tcp_tw_reuse`.
    pub name: Arc<str>,
    /// Its value as text, without the end of the line.
    pub value: Arc<str>,
}

/// All settings heard of, in one network namespace: that of the tool.
#[derive(Clone, Debug, Default)]
pub struct Sysctls {
    netns: u32,
    values: BTreeMap<Arc<str>, Arc<str>>,
}

impl Sysctls {
    /// Takes note of one.
    pub fn learn(&mut self, sysctl: &Sysctl) {
        self.netns = sysctl.netns;
        if self.values.len() < MAX_SETTINGS || self.values.contains_key(&sysctl.name) {
            let (name, value) = (Arc::clone(&sysctl.name), Arc::clone(&sysctl.value));
            self.values.insert(name, value);
        }
    }

    /// Whether sockets of this network namespace go by these settings, as far as is known.
    pub const fn govern(&self, netns: u32) -> bool {
        self.netns == 0 || netns == 0 || self.netns == netns
    }

    /// A setting under `net.ipv4`, as text.
    pub fn text(&self, name: &str) -> Option<&str> {
        let full = format!("net.ipv4.{name}");
        self.values.get(full.as_str()).map(AsRef::as_ref)
    }

    /// A setting under `net.ipv4` that is one number.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.text(name)?.trim().parse().ok()
    }

    /// The ports that the kernel chooses from: first and last.
    pub fn port_range(&self) -> Option<(u16, u16)> {
        let mut words = self.text("ip_local_port_range")?.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    }

    /// Whether the kernel leaves a port out when it chooses.
    pub fn is_reserved(&self, port: u16) -> bool {
        let text = self.text("ip_local_reserved_ports").unwrap_or_default();
        text.split(',').any(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let bounds = first
                .trim()
                .parse::<u16>()
                .ok()
                .zip(last.trim().parse().ok());
            bounds.is_some_and(|(first, last)| (first..=last).contains(&port))
        })
    }

    /// How many ports the kernel has to choose from.
    pub fn ports_to_choose(&self) -> Option<u64> {
        let (first, last) = self.port_range()?;
        let free = (first..=last).filter(|port| !self.is_reserved(*port));
        u64::try_from(free.count()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_are_left_to_choose() {
        let mut sysctls = Sysctls::default();
        for (name, value) in [
            ("net.ipv4.ip_local_port_range", "40000\t40099"),
            ("net.ipv4.ip_local_reserved_ports", "8080,40010-40019,40050"),
        ] {
            sysctls.learn(&Sysctl {
                netns: 7,
                name: name.into(),
                value: value.into(),
            });
        }
        assert_eq!(sysctls.port_range(), Some((40_000, 40_099)));
        assert_eq!(sysctls.ports_to_choose(), Some(89));
        assert!(sysctls.is_reserved(40_019) && !sysctls.is_reserved(40_020));
        assert!(sysctls.govern(7) && !sysctls.govern(8));
        assert_eq!(sysctls.number("tcp_tw_reuse"), None);
    }
}
