//! Holds what the tool printed against what was done.

use std::collections::{BTreeMap, HashMap};

use crate::{
    ledger::{End, Key, Ledger, Side, Step},
    row::Row,
    skip::is_scaled_down,
};

/// `bpf_ktime_get_ns` reads the clock's fast copy, which may be off by very little while the clock
/// is being adjusted.
const CLOCK_SLACK: u64 = 100_000;

/// How long the tool keeps an opening back until its tuple is known (`engine::time`).
const OPENING_HOLD: u64 = 100_000_000;

/// `TCP_TIMEWAIT_LEN`, include/net/tcp.h; the timer's clock ticks.
pub(crate) const TIME_WAIT: u64 = 59_900_000_000;

/// What came of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Transitions that happened and were not printed.
    pub(crate) missing: u64,
    /// The same of those that may come after the test.
    pub(crate) late_missing: u64,
    /// Ends whose transitions were all printed.
    pub(crate) complete: u64,
    /// Ends of which something was printed, but not all.
    pub(crate) partial: u64,
    /// Children of a handshake that had one already: the kernel makes a second when segments race,
    /// and drops it at once.
    pub(crate) dropped: u64,
    /// Openings printed without a whole tuple, because what followed was lost: nobody can say which
    /// of the missing they are.
    pub(crate) halves: u64,
}

/// Compares; panics on anything printed that did not happen. What is missing is for the caller to
/// judge. A row that contradicts the ledger is never tolerated, however much was lost.
pub(crate) fn compare(ledger: &Ledger, rows: &[&Row]) -> Verdict {
    matched(ledger, rows).verdict
}

/// A verdict, and what it rests on.
pub(crate) struct Matched {
    pub(crate) verdict: Verdict,
    /// Which of each end's steps were printed.
    pub(crate) found: Vec<Vec<bool>>,
    /// The end that each `conn` is; those without a tuple are none.
    pub(crate) end_of: HashMap<u64, usize>,
}

/// Compares, as [`compare`].
pub(crate) fn matched(ledger: &Ledger, rows: &[&Row]) -> Matched {
    let mut chains: BTreeMap<u64, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        chains.entry(row.conn).or_default().push(row);
    }
    let mut by_key: HashMap<Key, Vec<usize>> = HashMap::new();
    for (i, end) in ledger.ends.iter().enumerate() {
        by_key.entry(end.key).or_default().push(i);
    }
    let mut found: Vec<Vec<bool>> = ledger
        .ends
        .iter()
        .map(|e| vec![false; e.steps.len()])
        .collect();
    let mut verdict = Verdict::default();
    let mut end_of = HashMap::new();
    for chain in chains.values_mut() {
        chain.sort_by_key(|row| row.mono_ns);
        check_dwells(chain);
        if chain.iter().all(|row| row.key().is_none()) {
            assert!(chain.len() == 1 && opens(chain[0]), "{chain:#?}");
            verdict.halves += 1;
            continue;
        }
        if is_dropped(chain) {
            verdict.dropped += 1;
            continue;
        }
        let i = find(ledger, &by_key, chain);
        end_of.insert(chain[0].conn, i);
        let mut end = ledger.ends[i].clone();
        // The kernel chose the same ports for a later connection: its SYN ended this one's TIME_WAIT.
        let taken_again = by_key[&end.key].last() != Some(&i);
        if taken_again && end.side == Side::Passive && end.fate.end_reason == Some("purged") {
            end.fate.end_reason = Some("syn_recycled");
        }
        mark(&end, chain, &mut found[i]);
    }
    for (end, found) in ledger.ends.iter().zip(&found) {
        let lacks = |late| {
            let steps = end.steps.iter().zip(found);
            steps.filter(|(s, f)| s.late == late && !**f).count()
        };
        let missing = lacks(false);
        verdict.missing += missing as u64;
        verdict.late_missing += lacks(true) as u64;
        verdict.complete += u64::from(missing == 0);
        verdict.partial += u64::from(missing > 0 && found.contains(&true));
    }
    verdict.missing -= verdict.halves;
    Matched {
        verdict,
        found,
        end_of,
    }
}

/// The first ends of which something was not printed, with all that was printed of their tuples.
fn lacking(ledger: &Ledger, found: &[Vec<bool>], rows: &[&Row]) -> String {
    let lacking = ledger.ends.iter().zip(found);
    let lacking = lacking.filter(|(_, found)| found.contains(&false)).take(3);
    let mut text = String::new();
    for (end, found) in lacking {
        let printed: Vec<_> = rows.iter().filter(|r| r.key() == Some(end.key)).collect();
        text += &format!("{end:#?}\nprinted: {found:?}\n{printed:#?}\n");
    }
    text
}

/// A second child of one handshake: told as what it is, and never as a connection.
fn is_dropped(chain: &[&Row]) -> bool {
    let [opened, closed] = chain else {
        return false;
    };
    opens(opened)
        && opened.to == "SYN_RECV"
        && closed.from == "SYN_RECV"
        && closed.to == "CLOSE"
        && closed.end_reason.as_deref() == Some("abandoned")
        && closed.closed_first.is_none()
}

/// Wants to know of every end who closed it first, and why it ended.
pub(crate) fn every_fate_is_known(rows: &[&Row]) {
    let waits = rows.iter().filter(|row| row.from == "TIME_WAIT");
    let (hazards, waits): (Vec<&&Row>, Vec<&&Row>) =
        waits.partition(|row| row.end_reason.as_deref() == Some("reset"));
    // A FIN that is sent again, because its answer took too long, finds TIME_WAIT, whose answer finds nobody
    // any more, which is answered by a RST: RFC 1337. Where each instruction is emulated that is no rarity.
    let rarity = if is_scaled_down() { 8 } else { 100 };
    assert!(hazards.len() * rarity <= waits.len(), "{hazards:#?}");
    for row in rows {
        if row.to != "CLOSE" || row.is_listener() {
            continue;
        }
        let connected = row.from != "SYN_SENT" && row.from != "SYN_RECV";
        assert_eq!(
            row.closed_first.as_deref().is_some_and(|f| f != "unknown"),
            connected,
            "{row:#?}"
        );
        assert_ne!(row.end_reason.as_deref(), Some("unknown"), "{row:#?}");
    }
}

/// Compares, and wants everything: one `conn` per end, every role, every owner.
pub(crate) fn exact(ledger: &Ledger, rows: &[&Row]) {
    let Matched { verdict, found, .. } = matched(ledger, rows);
    assert!(
        verdict.missing + verdict.halves == 0,
        "{verdict:?}: for example {}",
        lacking(ledger, &found, rows)
    );
    assert_eq!(
        rows.len() as u64 + verdict.late_missing - 2 * verdict.dropped,
        ledger.transitions() as u64,
        "nothing more than what happened"
    );
    let mut conns: Vec<u64> = rows.iter().map(|row| row.conn).collect();
    conns.sort_unstable();
    conns.dedup();
    let dropped = usize::try_from(verdict.dropped).unwrap();
    assert!(dropped * 100 <= ledger.ends.len(), "{verdict:?}");
    assert_eq!(
        conns.len() - dropped,
        ledger.ends.len(),
        "a conn for each end"
    );
    for row in rows {
        assert!(
            row.role != "unknown" || row.is_listener(),
            "role of {row:#?}"
        );
        assert!(
            row.key().is_some() || was_slow(row, rows),
            "tuple of {row:#?}"
        );
        let opening = opens(row);
        assert_eq!(row.dwell_ns().is_none(), opening, "dwell of {row:#?}");
        // The FIN that a minisock waited for, where neither hook nor stamp tells.
        let by_the_timer = row.from == "TIME_WAIT" || row.to == "TIME_WAIT";
        assert!(row.exact || by_the_timer, "{row:#?}");
    }
}

/// Every dwell is the time between two printed transitions, and missing where one of them is. (The
/// end of a TIME_WAIT whose beginning was not delivered may still know that.)
fn check_dwells(chain: &[&Row]) {
    let mut cookie = None;
    for (i, row) in chain.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| chain[i]);
        let expected = before
            .filter(|before| before.to == row.from && !opens(row))
            .map(|before| row.mono_ns - before.mono_ns);
        let stamped = row.from == "TIME_WAIT" && expected.is_none();
        // A look has found the minisock in TIME_WAIT: since when, its stamp does not tell.
        let late = row.to == "TIME_WAIT" && !row.exact && row.dwell_ns().is_none();
        let known = late || row.dwell_ns() == expected;
        assert!(stamped || known, "dwell in {chain:#?}");
        if row.cookie.is_some() {
            assert!(
                cookie.is_none() || cookie == row.cookie,
                "cookies in {chain:#?}"
            );
            cookie = row.cookie;
        }
    }
}

/// Whether it is an opening that was told as it was known, because what completes it took so long.
fn was_slow(row: &Row, rows: &[&Row]) -> bool {
    let mut later = rows.iter().filter(|r| r.conn == row.conn).skip(1);
    let next = later.next().map(|next| next.mono_ns);
    opens(row) && next.is_some_and(|next| next + CLOCK_SLACK >= row.mono_ns + OPENING_HOLD)
}

fn opens(row: &Row) -> bool {
    matches!(
        (row.from.as_str(), row.to.as_str()),
        ("CLOSE", "SYN_SENT" | "LISTEN") | ("LISTEN", "SYN_RECV")
    )
}

/// The end that a chain belongs to. Tuples are reused in time: the first row's time decides, and what may
/// come at any time after is the latest one's.
fn find(ledger: &Ledger, by_key: &HashMap<Key, Vec<usize>>, chain: &[&Row]) -> usize {
    let row = chain.iter().find(|row| row.key().is_some()).unwrap();
    let key = row.key().unwrap();
    let candidates = by_key
        .get(&key)
        .or_else(|| by_key.get(&Key { lport: 0, ..key }))
        .unwrap_or_else(|| panic!("nobody made {chain:#?}"));
    let fits = |i: &&usize| {
        ledger.ends[**i]
            .steps
            .iter()
            .any(|step| step.from == row.from && step.to == row.to && within(step, row))
    };
    *candidates.iter().rev().find(fits).unwrap_or_else(|| {
        let ends: Vec<&End> = candidates.iter().map(|i| &ledger.ends[*i]).collect();
        panic!("{chain:#?} is not among {ends:#?}")
    })
}

/// Ticks off the end's steps that the chain shows; every row must be one, in order.
fn mark(end: &End, chain: &[&Row], found: &mut [bool]) {
    let mut next = 0;
    for row in chain {
        let place = (next..end.steps.len()).find(|i| {
            let step = &end.steps[*i];
            step.from == row.from && step.to == row.to
        });
        let Some(place) = place else {
            panic!("{row:#?} has no place in {end:#?} after {next} steps");
        };
        assert!(!found[place], "twice: {chain:#?}");
        assert!(
            within(&end.steps[place], row),
            "time of {row:#?} in {end:#?}"
        );
        check_facts(end, row);
        check_fate(end, row);
        found[place] = true;
        next = place + 1;
    }
}

fn within(step: &Step, row: &Row) -> bool {
    row.mono_ns + CLOCK_SLACK >= step.earliest
        && row.mono_ns <= step.latest.saturating_add(CLOCK_SLACK)
}

/// Who closed first, and why it ended: as the ledger says, or not known (yet).
fn check_fate(end: &End, row: &Row) {
    let first = row.closed_first.as_deref();
    let told = first.is_none() || first == Some("unknown") || first == end.fate.closed_first;
    assert!(told, "closed first: {row:#?} of {end:#?}");
    let reason = row.end_reason.as_deref();
    if row.to == "CLOSE" {
        let unknown = reason == Some("unknown");
        // The workload took longer than a TIME_WAIT lasts.
        let over = reason == Some("expired") && row.dwell_ns().is_some_and(|ns| ns >= TIME_WAIT);
        // A slow machine repeats an acknowledgement to a socket that is gone by then, and the RST
        // that answers it hits TIME_WAIT exactly (RFC 1337): true, and nobody's plan.
        let hazard = row.from == "TIME_WAIT" && reason == Some("reset");
        assert!(
            unknown || hazard || over || reason == end.fate.end_reason,
            "end: {row:#?} of {end:#?}"
        );
    } else {
        assert_eq!(reason, None, "{row:#?}");
    }
}

fn check_facts(end: &End, row: &Row) {
    let role = match end.side {
        Side::Active => "active_open",
        Side::Passive => "passive_open",
        Side::Listener => "unknown",
    };
    assert!(
        row.role == role || row.role == "unknown",
        "{row:#?} of {end:#?}"
    );
    assert!(
        row.netns.is_none_or(|n| n == end.netns),
        "{row:#?} of {end:#?}"
    );
    assert!(
        row.pid.is_none_or(|pid| pid == end.pid),
        "{row:#?} of {end:#?}"
    );
    assert_eq!(row.pid.is_none(), row.owner_source == "unknown", "{row:#?}");
    let v4 = end.key.laddr.is_ipv4();
    assert_eq!(row.family, if v4 { 4 } else { 6 }, "{row:#?}");
    if end.side == Side::Listener {
        assert!(row.rport.is_none() && row.raddr.is_none(), "{row:#?}");
    }
}
