//! Figures and names as the panels write them.

use jiff::tz::TimeZone;

use super::View;
use crate::{
    engine::{Endpoint, GroupKey, Mono, Transition},
    render::escape,
    sink::known_address,
};

/// A count in seven columns at most.
pub fn count(n: u64) -> String {
    match n {
        0..10_000_000 => n.to_string(),
        10_000_000..10_000_000_000 => format!("{}M", n / 1_000_000),
        _ => format!("{}G", n / 1_000_000_000),
    }
}

/// The same of a count in memory.
pub fn size(n: usize) -> String {
    count(u64::try_from(n).unwrap_or(u64::MAX))
}

/// A rate, `-` if it is not known.
pub fn rate(per_second: Option<f64>) -> String {
    match per_second {
        None => "-".to_owned(),
        Some(rate) if rate < 1000.0 => format!("{rate:.1}"),
        Some(rate) => format!("{rate:.0}"),
    }
}

/// A key of a group, safe for a terminal.
pub fn key(key: &GroupKey) -> String {
    match key {
        GroupKey::Process(name) => escape::text(name.bytes()).into_owned(),
        GroupKey::Port(port) => port.to_string(),
        GroupKey::PerhapsPort(port) => format!("{port}?"),
        GroupKey::Address(address) => std::net::Ipv6Addr::from_octets(*address)
            .to_canonical()
            .to_string(),
        GroupKey::ActiveOpen => "(connects)".to_owned(),
        GroupKey::PassiveOpen => "(accepted)".to_owned(),
        GroupKey::Unknown => "-".to_owned(),
        GroupKey::Other => "(others)".to_owned(),
    }
}

/// An owner's id, `-` if nobody is known.
pub fn pid(t: &Transition) -> String {
    if t.owner.pid == 0 {
        "-".to_owned()
    } else {
        t.owner.pid.to_string()
    }
}

/// An owner's name, safe for a terminal.
pub fn name(t: &Transition) -> String {
    t.process.as_ref().map_or_else(
        || "-".to_owned(),
        |p| escape::text(p.name.bytes()).into_owned(),
    )
}

/// Address and port.
pub fn end(end: &Endpoint) -> String {
    let port = end.port().map_or_else(|| "-".to_owned(), |p| p.to_string());
    match known_address(end) {
        Some(std::net::IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
        Some(ip) => format!("{ip}:{port}"),
        None => format!("-:{port}"),
    }
}

/// The time of day, to the second or to the microsecond; `-` if it is not known.
pub fn time(view: &View<'_>, at: Mono, fine: bool) -> String {
    let zone: TimeZone = view.zone.clone();
    view.model.clock.at(at).map_or_else(
        || "-".to_owned(),
        |ts| {
            let ts = ts.to_zoned(zone);
            let form = if fine { "%H:%M:%S%.6f" } else { "%H:%M:%S" };
            ts.strftime(form).to_string()
        },
    )
}

/// One bar for each value, the highest as high as they come.
pub fn sparkline(values: impl Iterator<Item = u64> + Clone) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.clone().max().unwrap_or(0);
    let bar = |value: u64| match (value, most) {
        (0, _) | (_, 0) => ' ',
        _ => {
            let eighths = u128::from(value) * 8 / u128::from(most);
            let at = usize::try_from(eighths).unwrap_or(8).clamp(1, 8);
            BARS[at - 1]
        }
    };
    values.map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        for (n, text) in [(0, "0"), (9_999_999, "9999999"), (12_345_678, "12M")] {
            assert_eq!(count(n), text);
        }
        assert!(count(u64::MAX).ends_with('G'));
        assert_eq!(rate(None), "-");
        assert_eq!(rate(Some(999.94)), "999.9");
        assert_eq!(rate(Some(10_021.7)), "10022");
    }

    #[test]
    fn what_is_there_shows() {
        assert_eq!(sparkline([0, 1, 500, 1000].into_iter()), " ▁▄█");
        assert_eq!(sparkline([0, 0].into_iter()), "  ");
    }
}
