//! How long connections stayed in each state: a table of the run, one line a state.

use std::fmt::Write as _;

use crate::engine::{DurationHistogram, Stats, TcpState};

/// Lines of the table, heading first. States that nobody entered or left are not in it; a `-` is a
/// state of which no whole stay was seen.
pub fn table(stats: &Stats) -> Vec<String> {
    let mut lines = vec![format!(
        "{:<12} {:>9} {:>9} {:>11} {:>11} {:>11}",
        "STATE", "ENTERED", "LEFT", "P50_MS", "P99_MS", "MAX_MS"
    )];
    for state in TcpState::ALL {
        let account = stats.state(state);
        if account.entered == 0 && account.left == 0 {
            continue;
        }
        let mut line = format!("{state:<12} {:>9} {:>9}", account.entered, account.left);
        let dwell = account.dwell.as_ref();
        for figure in [
            dwell.and_then(|d| d.quantile_us(0.50)),
            dwell.and_then(|d| d.quantile_us(0.99)),
            dwell.and_then(DurationHistogram::max_us),
        ] {
            // Writing to a String can't fail.
            let _ = match figure {
                Some(us) => write!(line, " {:>7}.{:03}", us / 1000, us % 1000),
                None => write!(line, " {:>11}", "-"),
            };
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Engine, Event, EventBody, FourTuple, Limits, Mono, SockId, StateChange};

    /// The table of one connection; `unwanted`: by its filter, as it turns out when it is established.
    fn of_one(unwanted: bool) -> String {
        let mut engine = Engine::new(Limits::default());
        let mut updates = Vec::new();
        let changes = [
            (0, TcpState::Close, TcpState::SynSent),
            (1_500_000, TcpState::SynSent, TcpState::Established),
        ];
        for (at, from, to) in changes {
            let change = StateChange {
                sock: SockId(1),
                cookie: 1,
                from,
                to,
                tuple: FourTuple::default(),
                netns: 1,
                pid: 0,
                twin: false,
                unwanted: unwanted && to == TcpState::Established,
                evidence: None,
                minisock: None,
            };
            let event = Event {
                at: Mono(at),
                body: EventBody::StateChange(change),
            };
            engine.handle_event(&event, &mut updates);
        }
        table(engine.stats()).join("\n")
    }

    #[test]
    fn one_connection() {
        let expected = "\
STATE          ENTERED      LEFT      P50_MS      P99_MS      MAX_MS
ESTABLISHED          1         0           -           -           -
SYN_SENT             1         1       1.500       1.500       1.500
CLOSE                0         1           -           -           -";
        assert_eq!(of_one(false), expected);
    }

    #[test]
    fn what_turns_out_not_to_be_wanted_is_not_in_it() {
        assert_eq!(of_one(true).lines().count(), 1, "the heading");
    }
}
