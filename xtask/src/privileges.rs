//! What this process may do: whether the live tests can run here, and what they lack if not.

use std::path::Path;

use anyhow::{Context, Result};

/// What loading the programs and building network namespaces takes, with its bit in the capability mask.
const LIVE: [(&str, u32); 4] = [
    ("CAP_NET_ADMIN", 12),
    ("CAP_SYS_ADMIN", 21),
    ("CAP_PERFMON", 38),
    ("CAP_BPF", 39),
];

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The capabilities that the live tests need and this process does not have.
pub(crate) fn missing_for_live_tests() -> Result<Vec<&'static str>> {
    let path = Path::new("/proc/self/status");
    let status =
        std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let mask = effective(&status).context("/proc/self/status has no CapEff line")?;
    Ok(missing(mask))
}

fn effective(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn missing(mask: u64) -> Vec<&'static str> {
    LIVE.iter()
        .filter(|(_, bit)| mask >> bit & 1 == 0)
        .map(|(name, _)| *name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_set_is_read() {
        assert_eq!(
            effective("CapPrm:\t1\nCapEff:\t000001ffffffffff\n"),
            Some(0x1ff_ffff_ffff)
        );
        assert_eq!(effective("CapPrm:\t1\n"), None);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(missing(u64::MAX), Vec::<&str>::new());
        assert_eq!(missing(1 << 12 | 1 << 38 | 1 << 39), ["CAP_SYS_ADMIN"]);
        assert_eq!(missing(0).len(), 4);
    }
}
