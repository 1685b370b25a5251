//! Holds what the tool printed against what was done.

use std::collections::{BTreeMap, HashMap};

use crate::{
    ledger::{End, Key, Ledger, Side, Step},
    row::Row,
};

/// `bpf_ktime_get_ns` reads the clock's fast copy, which may be off by very little while the clock
/// is being adjusted.
const CLOCK_SLACK: u64 = 100_000;

/// What came of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Transitions that happened and were not printed.
    pub(crate) missing: u64,
    /// Ends whose transitions were all printed.
    pub(crate) complete: u64,
    /// Ends of which something was printed, but not all.
    pub(crate) partial: u64,
    /// Openings printed without a whole tuple, because what followed was lost: nobody can say which
    /// of the missing they are.
    pub(crate) halves: u64,
}

/// Compares; panics on anything printed that did not happen. What is missing is for the caller to
/// judge. A row that contradicts the ledger is never tolerated, however much was lost.
pub(crate) fn compare(ledger: &Ledger, rows: &[&Row]) -> Verdict {
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
    for chain in chains.values_mut() {
        chain.sort_by_key(|row| row.mono_ns);
        check_dwells(chain);
        if chain.iter().all(|row| row.key().is_none()) {
            assert!(chain.len() == 1 && opens(chain[0]), "{chain:#?}");
            verdict.halves += 1;
            continue;
        }
        let i = find(ledger, &by_key, chain);
        mark(&ledger.ends[i], chain, &mut found[i]);
    }
    for found in &found {
        let missing = found.iter().filter(|f| !**f).count();
        verdict.missing += missing as u64;
        verdict.complete += u64::from(missing == 0);
        verdict.partial += u64::from(missing > 0 && missing < found.len());
    }
    verdict.missing -= verdict.halves;
    verdict
}

/// Compares, and wants everything: one `conn` per end, every role, every owner.
pub(crate) fn exact(ledger: &Ledger, rows: &[&Row]) {
    let verdict = compare(ledger, rows);
    if verdict.missing + verdict.halves > 0 {
        let mut seen: HashMap<Key, Vec<&Row>> = HashMap::new();
        for row in rows {
            if let Some(key) = row.key() {
                seen.entry(key).or_default().push(row);
            }
        }
        let lacking = ledger.ends.iter().find(|end| {
            let rows = seen.get(&end.key).or_else(|| {
                seen.get(&Key {
                    lport: 0,
                    ..end.key
                })
            });
            rows.map_or(0, Vec::len) < end.steps.len()
        });
        panic!(
            "{verdict:?}: for example {lacking:#?}: {:#?}",
            lacking.map(|e| seen.get(&e.key))
        );
    }
    assert_eq!(
        rows.len(),
        ledger.transitions(),
        "nothing more than what happened"
    );
    let mut conns: Vec<u64> = rows.iter().map(|row| row.conn).collect();
    conns.sort_unstable();
    conns.dedup();
    assert_eq!(conns.len(), ledger.ends.len(), "a conn for each end");
    for row in rows {
        assert!(
            row.role != "unknown" || row.is_listener(),
            "role of {row:#?}"
        );
        assert!(row.key().is_some(), "tuple of {row:#?}");
        let opening = opens(row);
        assert_eq!(row.dwell_ns().is_none(), opening, "dwell of {row:#?}");
        assert!(row.exact, "{row:#?}");
    }
}

/// Every dwell is the time between two printed transitions, and missing where one of them is.
fn check_dwells(chain: &[&Row]) {
    let mut cookie = None;
    for (i, row) in chain.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| chain[i]);
        let expected = before
            .filter(|before| before.to == row.from && !opens(row))
            .map(|before| row.mono_ns - before.mono_ns);
        assert_eq!(row.dwell_ns(), expected, "dwell in {chain:#?}");
        if row.cookie.is_some() {
            assert!(
                cookie.is_none() || cookie == row.cookie,
                "cookies in {chain:#?}"
            );
            cookie = row.cookie;
        }
    }
}

fn opens(row: &Row) -> bool {
    matches!(
        (row.from.as_str(), row.to.as_str()),
        ("CLOSE", "SYN_SENT" | "LISTEN") | ("LISTEN", "SYN_RECV")
    )
}

/// The end that a chain belongs to. Tuples are reused in time: the first row's time decides.
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
    *candidates.iter().find(fits).unwrap_or_else(|| {
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
        assert!(!found[place], "twice: {row:#?}");
        assert!(
            within(&end.steps[place], row),
            "time of {row:#?} in {end:#?}"
        );
        check_facts(end, row);
        found[place] = true;
        next = place + 1;
    }
}

fn within(step: &Step, row: &Row) -> bool {
    row.mono_ns + CLOCK_SLACK >= step.earliest
        && row.mono_ns <= step.latest.saturating_add(CLOCK_SLACK)
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
