//! The answers, one sentence each: who closes first, how long TIME_WAIT lasted, what is stuck.

use super::{Report, rows};
use crate::{
    engine::{ClosedFirst, DurationHistogram, GroupKey, GroupRow, Groups, TcpState},
    render::{duration::human, escape},
};

/// The sentences, as plain text without anything that steers a terminal.
pub(super) fn sentences(report: &Report) -> Vec<String> {
    let mut said = vec![closed_first(report)];
    said.push(time_wait(report));
    said.push(close_wait(report));
    said.extend(failed(report));
    said
}

fn closed_first(report: &Report) -> String {
    let totals = &report.snapshot.totals;
    let closed = totals.connections.closed;
    if closed == 0 {
        return "No connection was closed.".to_owned();
    }
    let by = |first: ClosedFirst| totals.closed_first[first as usize];
    let mut order: Vec<_> = ClosedFirst::ALL.into_iter().map(|f| (f, by(f))).collect();
    order.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let (first, count) = order[0];
    let several = report.hosts.len() > 1;
    let who = match first {
        ClosedFirst::Local if several => "These hosts close first".to_owned(),
        ClosedFirst::LocalReset if several => "These hosts end by reset".to_owned(),
        ClosedFirst::Local => "This host closes first".to_owned(),
        ClosedFirst::Remote => "The peers close first".to_owned(),
        ClosedFirst::LocalReset => "This host ends by reset".to_owned(),
        ClosedFirst::RemoteReset => "The peers end by reset".to_owned(),
        ClosedFirst::Simultaneous => "Both sides close at once".to_owned(),
        ClosedFirst::Timeout => "Connections die by timeout".to_owned(),
        ClosedFirst::Unknown => "Who closes first is not known".to_owned(),
    };
    let mostly = top(&report.snapshot.groups.process, |row| {
        row.closed_first[first as usize]
    });
    let mostly = match mostly {
        Some((name, most)) if count > 0 => format!(", most of all {name} ({most})"),
        _ => String::new(),
    };
    format!(
        "{who} in {count} of {closed} ({}){mostly}.",
        percent(count, closed)
    )
}

fn time_wait(report: &Report) -> String {
    if !report.measures(TcpState::TimeWait) {
        return "TIME_WAIT was not measured.".to_owned();
    }
    let figures = report.snapshot.state(TcpState::TimeWait);
    if figures.found + figures.entered + figures.entered_unseen == 0 {
        return "No TIME_WAIT.".to_owned();
    }
    let lasted = figures.dwell.as_deref().map_or_else(
        || "none has been seen from begin to end".to_owned(),
        |dwell: &DurationHistogram| {
            let at = |us: Option<u64>| us.map_or_else(|| "-".to_owned(), human);
            format!(
                "lasted {} in the median, {} at most",
                at(dwell.quantile_us(0.5)),
                at(dwell.max_us())
            )
        },
    );
    format!(
        "TIME_WAIT: {} now, {} entered ({}); {lasted}.",
        figures.open,
        figures.entered,
        rate(report, figures.entered)
    )
}

fn close_wait(report: &Report) -> String {
    let waiting = &report.snapshot.close_wait;
    let figures = report.snapshot.state(TcpState::CloseWait);
    if waiting.open == 0 {
        return format!(
            "No socket is in CLOSE_WAIT ({} came and went).",
            figures.left
        );
    }
    let mut oldest = waiting.oldest.iter().map(|w| &w.open);
    let oldest = oldest.find(|open| open.age.is_some());
    let oldest = oldest.map_or_else(String::new, |open| {
        let age = open.age.and_then(|a| u64::try_from(a.as_micros()).ok());
        let at_least = if open.age_is_exact { "" } else { "at least " };
        format!(
            ", the oldest for {at_least}{}",
            age.map_or_else(String::new, human)
        )
    });
    let holder = top(&report.snapshot.groups.process, |row| {
        row.state(TcpState::CloseWait).map_or(0, |f| f.open)
    });
    let holder = holder.map_or_else(String::new, |(name, n)| format!("; {name} holds {n}"));
    format!(
        "CLOSE_WAIT: {} now{oldest}{holder}; {} came, {} went.",
        waiting.open, figures.entered, figures.left
    )
}

fn failed(report: &Report) -> Option<String> {
    let failed = report.snapshot.totals.connections.failed;
    if failed.total() == 0 {
        return None;
    }
    let remote = top(&report.snapshot.groups.remote, |row| row.failed.total());
    let remote = match remote {
        Some((name, n)) if n == failed.total() => format!(", all with {name}"),
        Some((name, n)) => format!(", {n} of them with {name}"),
        None => String::new(),
    };
    let what = match failed.total() {
        1 => "1 connect or handshake".to_owned(),
        several => format!("{several} connects or handshakes"),
    };
    Some(format!("{what} failed{remote}."))
}

/// The key with the most of something, if any has a key and any of it.
pub(super) fn top(groups: &Groups, figure: impl Fn(&GroupRow) -> u64) -> Option<(String, u64)> {
    let rows = groups.rows().into_iter();
    let named = rows.filter(|(key, row)| rows::key(key).is_some() && figure(row) > 0);
    let (key, row) = named.max_by_key(|(_, row)| figure(row))?;
    Some((name(&key, row), figure(row)))
}

fn name(key: &GroupKey, row: &GroupRow) -> String {
    let text = rows::key(key).unwrap_or_default();
    let text = escape::text(text.as_bytes()).into_owned();
    match (key, row.pid) {
        (GroupKey::Process(_), pid) if pid != 0 && pid != GroupRow::SEVERAL => {
            format!("{text} (pid {pid})")
        }
        _ => text,
    }
}

fn rate(report: &Report, count: u64) -> String {
    report
        .per_second(count)
        .map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}/s"))
}

/// Whole percents; never 100 % or 0 % of what is not all or nothing.
fn percent(part: u64, whole: u64) -> String {
    let parts = u128::from(part) * 100;
    match parts.checked_div(u128::from(whole)) {
        None => "-".to_owned(),
        Some(0) if part > 0 => "under 1 %".to_owned(),
        Some(percent) => format!("{percent} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn percents_do_not_round_up() {
        assert_eq!(percent(999, 1000), "99 %");
        assert_eq!(percent(1, 1000), "under 1 %");
        assert_eq!(percent(0, 1000), "0 %");
        assert_eq!(percent(0, 0), "-");
    }
}
