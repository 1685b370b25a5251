//! What each value may be. A refusal says what is allowed; clap names the option.

use std::{fs, net::IpAddr, os::unix::fs::MetadataExt as _, str::FromStr, time::Duration};

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, FsType, NSFS_MAGIC, statfs};
use parse_size::Config;
use tracer_common::filter::Cidr;

/// Smallest ring buffer: the kernel takes whole pages.
const MIN_RING: u64 = 4096;
/// Largest: its size is an int in the kernel's bookkeeping.
const MAX_RING: u64 = 1 << 30;

/// Bytes of the ring buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSize(pub u32);

/// `--ring-size`.
pub(super) fn ring_size(text: &str) -> Result<RingSize, String> {
    let allowed = "a power of two from 4K to 1G, for example 16M";
    let bytes = Config::new()
        .with_binary()
        .parse_size(text)
        .map_err(|_| format!("not a size: must be {allowed}"))?;
    if !bytes.is_power_of_two() || !(MIN_RING..=MAX_RING).contains(&bytes) {
        return Err(format!("must be {allowed}"));
    }
    u32::try_from(bytes)
        .map(RingSize)
        .map_err(|_| format!("must be {allowed}"))
}

/// `--since`, `--until`: a moment, or a time of day of this host's zone.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    let local = || {
        let local: DateTime = text.parse().ok()?;
        let zoned = local.to_zoned(TimeZone::system()).ok()?;
        Some(zoned.timestamp())
    };
    text.parse().ok().or_else(local).ok_or_else(|| {
        "not a time: must be like '2026-11-21 10:30:00' (of this host's zone) or \
         2026-11-21T10:30:00Z"
            .to_owned()
    })
}

/// `--rotate-size`, `--keep-size`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let allowed = "must be a number of bytes, at least 64K, for example 100M or 2G";
    match Config::new().with_binary().parse_size(text) {
        Ok(bytes) if bytes >= 65_536 => Ok(bytes),
        _ => Err(allowed.to_owned()),
    }
}

/// `--duration`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let allowed = "must be more than zero, for example 30s, 5m or 1h30m";
    let duration = if let Ok(seconds) = text.parse::<f64>() {
        match Duration::try_from_secs_f64(seconds) {
            Ok(duration) => duration,
            Err(_) if seconds > 0.0 => {
                return Err(format!("too long: must be at most {} seconds", u64::MAX));
            }
            Err(_) => return Err(allowed.to_owned()),
        }
    } else {
        let parsed =
            SignedDuration::from_str(text).map_err(|_| format!("not a duration: {allowed}"))?;
        Duration::try_from(parsed).map_err(|_| allowed.to_owned())?
    };
    if duration.is_zero() {
        return Err(allowed.to_owned());
    }
    Ok(duration)
}

/// `--older-than`: a duration, or none.
pub(super) fn age(text: &str) -> Result<Duration, String> {
    match text {
        "0" | "0s" => Ok(Duration::ZERO),
        _ => duration(text).map_err(|_| "must be like 5s, 10m or 1h30m, or 0".to_owned()),
    }
}

/// `--lport`, `--rport`: one port.
pub(super) fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("not a port: must be 1 to 65535 (several: 80,443)".to_owned()),
        Ok(port) => Ok(port),
    }
}

/// `--laddr`, `--raddr`: an address or a block.
pub(super) fn cidr(text: &str) -> Result<Cidr, String> {
    let block = text
        .parse::<IpNet>()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    match block {
        Some(IpNet::V4(block)) => {
            let address = tracer_common::address::mapped(block.network().octets());
            Ok(Cidr::new(&address, block.prefix_len() + 96))
        }
        Some(IpNet::V6(block)) => Ok(Cidr::new(&block.network().octets(), block.prefix_len())),
        None => Err(
            "not an address or block: must be like 10.0.0.0/8 (0 to 32) or 2001:db8::/32 (0 to 128)"
                .to_owned(),
        ),
    }
}

/// `--netns`: a network namespace, by number or by what stands for it.
pub(super) fn netns(text: &str) -> Result<u32, String> {
    if let Ok(inode) = text.parse() {
        return Ok(inode);
    }
    if let Some(inode) = text.strip_prefix("net:[").and_then(|t| t.strip_suffix(']')) {
        return inode
            .parse()
            .map_err(|_| "must be like net:[4026531840]".to_owned());
    }
    let path = if text.contains('/') {
        text.to_owned()
    } else {
        format!("/run/netns/{text}")
    };
    let allowed = "must be a number, a name of 'ip netns', or a path such as /proc/PID/ns/net";
    let metadata = fs::metadata(&path).map_err(|error| format!("'{path}': {error}; {allowed}"))?;
    let another = || format!("'{path}' is no network namespace; {allowed}");
    // A link in /proc says of what kind it is.
    let is_of_another_kind = fs::read_link(&path).is_ok_and(|to| {
        let to = to.to_string_lossy();
        to.contains(":[") && !to.starts_with("net:[")
    });
    if !lies_on(&path, NSFS_MAGIC) || is_of_another_kind {
        return Err(another());
    }
    u32::try_from(metadata.ino()).map_err(|_| another())
}

/// Whether it is of this kind of filesystem.
fn lies_on(path: &str, kind: FsType) -> bool {
    statfs(path).is_ok_and(|fs| fs.filesystem_type() == kind)
}

/// `--pid`: one process.
pub(super) fn pid(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("not a pid: must be a number from 1 on (several: 80,81)".to_owned()),
        Ok(pid) => Ok(pid),
    }
}

/// `--comm`: a name as the kernel keeps it.
pub(super) fn comm(text: &str) -> Result<String, String> {
    match text.len() {
        1..=15 => Ok(text.to_owned()),
        _ => Err("must be 1 to 15 bytes: of longer names the kernel keeps the first 15".to_owned()),
    }
}

/// `--stop-after`, `--count`: so many.
pub(super) fn how_many<N: FromStr + PartialEq + From<u8>>(text: &str) -> Result<N, String> {
    let several = text.parse().ok().filter(|n| *n != N::from(0));
    several.ok_or_else(|| format!("must be a number from 1 to {}", max(size_of::<N>())))
}

/// Of numbers with so many bytes.
fn max(bytes: usize) -> u64 {
    u64::MAX >> (64 - 8 * bytes.clamp(1, 8))
}

/// `--interval`: the tool takes stock once a second.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        short if short < Duration::from_secs(1) => Err("must be at least 1s".to_owned()),
        interval => Ok(interval),
    }
}

/// `--look-every`: the same, or never.
pub(super) fn interval_or_none(text: &str) -> Result<Duration, String> {
    match text {
        "0" | "0s" => Ok(Duration::ZERO),
        _ => interval(text).map_err(|why| why + ", or 0"),
    }
}

/// A cgroup v2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Inode of its directory.
    pub id: u64,
    /// Its path from the root of the hierarchy, if it was given as a directory.
    pub path: Option<String>,
}

/// `--cgroup`: a cgroup v2, by id or by its directory.
pub(super) fn cgroup(text: &str) -> Result<Cgroup, String> {
    if let Ok(id) = text.parse() {
        return Ok(Cgroup { id, path: None });
    }
    match fs::metadata(text) {
        Ok(metadata) if metadata.is_dir() && lies_on(text, CGROUP2_SUPER_MAGIC) => {
            let path = fs::canonicalize(text).map_err(|error| error.to_string())?;
            // The directory above which no hierarchy goes on holds its root.
            let root = path
                .ancestors()
                .take_while(|dir| dir.join("cgroup.controllers").exists())
                .last();
            let below = root.and_then(|root| path.strip_prefix(root).ok());
            Ok(Cgroup {
                id: metadata.ino(),
                path: below.map(|below| format!("/{}", below.display())),
            })
        }
        Ok(_) => Err(
            "not a cgroup v2: must be its directory, such as /sys/fs/cgroup/system.slice, or its id"
                .to_owned(),
        ),
        Err(error) => Err(format!(
            "{error}; must be a cgroup's directory, such as /sys/fs/cgroup/system.slice, or its id"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_sizes() {
        assert_eq!(ring_size("16M"), Ok(RingSize(16 << 20)));
        assert_eq!(ring_size("64k"), Ok(RingSize(65_536)));
        assert_eq!(ring_size("65536"), Ok(RingSize(65_536)));
        for bad in ["3", "0", "-1", "x", "2G", "48K", ""] {
            assert!(
                ring_size(bad).unwrap_err().contains("power of two"),
                "{bad}"
            );
        }
    }

    #[test]
    fn moments() {
        let utc = moment("2026-11-21T10:30:00Z").unwrap();
        assert_eq!(utc.to_string(), "2026-11-21T10:30:00Z");
        assert!(moment("2026-11-21 10:30").is_ok());
        for bad in ["10:30", "yesterday", "", "2026-13-01"] {
            assert!(moment(bad).unwrap_err().contains("must be like"), "{bad}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for long in ["1e400", "inf", "99999999999999999999"] {
            assert!(duration(long).unwrap_err().contains("at most"), "{long}");
        }
        for bad in ["0", "0s", "-5", "-5s", "soon", "", "nan"] {
            assert!(
                duration(bad).unwrap_err().contains("more than zero"),
                "{bad}"
            );
        }
    }

    #[test]
    fn counts_and_names() {
        assert_eq!(how_many("7"), Ok(7_u64));
        let (small, large) = (
            how_many::<u32>("0"),
            how_many::<u64>("99999999999999999999"),
        );
        assert!(small.unwrap_err().ends_with("from 1 to 4294967295"));
        assert!(
            large
                .unwrap_err()
                .ends_with("from 1 to 18446744073709551615")
        );
        assert_eq!(pid("1"), Ok(1));
        for bad in ["0", "abc", "-1", ""] {
            assert!(pid(bad).unwrap_err().contains("from 1 on"), "{bad}");
        }
        assert_eq!(comm("nginx: worker p"), Ok("nginx: worker p".to_owned()));
        for bad in ["", "nginx: worker process"] {
            assert!(comm(bad).unwrap_err().contains("1 to 15 bytes"), "{bad}");
        }
    }

    #[test]
    fn a_cgroup_is_one_of_version_2() {
        assert!(cgroup("7").is_ok());
        for bad in ["/proc", "/etc", "/etc/passwd", "/nowhere"] {
            assert!(cgroup(bad).unwrap_err().contains("must be"), "{bad}");
        }
    }

    #[test]
    fn blocks() {
        let ten = cidr("10.0.0.0/8").unwrap();
        let word = |a: [u8; 4]| tracer_common::address::words(&tracer_common::address::mapped(a));
        assert!(ten.contains(word([10, 255, 0, 1])));
        assert!(!ten.contains(word([11, 0, 0, 1])));
        assert!(cidr("0.0.0.0/0").unwrap().contains(word([1, 2, 3, 4])));
        assert_eq!(cidr("::ffff:10.0.0.0/104"), cidr("10.0.0.0/8"));
        assert_eq!(cidr("10.1.2.3"), cidr("10.1.2.3/32"));
        for bad in ["10.0.0.0/33", "10.0.0", "::/129", "", "host"] {
            assert!(cidr(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ports_and_namespaces() {
        assert_eq!(port("65535"), Ok(65_535));
        for bad in ["0", "70000", "-1", "http"] {
            assert!(port(bad).is_err(), "{bad}");
        }
        assert_eq!(netns("net:[4026531840]"), Ok(4_026_531_840));
        assert!(netns("/proc/self/ns/net").unwrap() > 0);
        for bad in ["no-such-namespace", "", "/tmp", "/proc/self/ns/mnt"] {
            assert!(netns(bad).unwrap_err().contains("must be"), "{bad}");
        }
    }
}
