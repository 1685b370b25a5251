//! `hist` of a recording against figures that are worked out by another way: from the rows of `trace`.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::Value;
use tempfile::TempDir;
use tracer::engine::{Event, Mono, TcpState};

use crate::made::{self, Dice};

/// What two significant digits may be off by.
const ERROR: f64 = 0.01;

const CONNECTIONS: u64 = 3000;

/// Connections whose dwells are of every size from 0.5 µs to hours, all sizes as often.
fn events() -> Vec<Event> {
    let mut dice = Dice(7);
    let mut dwell = || {
        let octave = dice.below(34);
        500_u64 + (1 << (octave + 8)) + dice.below(1 << (octave + 8)) as u64
    };
    let life = [
        (TcpState::Close, TcpState::SynSent),
        (TcpState::SynSent, TcpState::Established),
        (TcpState::Established, TcpState::CloseWait),
        (TcpState::CloseWait, TcpState::LastAck),
        (TcpState::LastAck, TcpState::Close),
    ];
    let mut events = Vec::new();
    for sock in 1..=CONNECTIONS {
        let mut at = 1_000_000_000 + sock * 1_000_000;
        for (from, to) in life {
            events.push(made::change(Mono(at), sock, from, to));
            at += dwell();
        }
    }
    events.sort_by_key(|event| event.at);
    events
}

fn said(arguments: &[&str], path: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpdwell"));
    let output = command.args(arguments).arg("--from").arg(path);
    let output = output.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whole microseconds in each state, sorted.
fn dwells(rows: &str) -> BTreeMap<String, Vec<u64>> {
    let mut dwells: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for line in rows.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        if let Some(us) = row["dwell_us"].as_f64() {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "whole microseconds are what is counted"
            )]
            let us = us as u64;
            let state = row["from"].as_str().unwrap();
            dwells.entry(state.to_owned()).or_default().push(us);
        }
    }
    for list in dwells.values_mut() {
        list.sort_unstable();
    }
    dwells
}

/// The smallest that so many per mille are not above.
fn quantile(sorted: &[u64], per_mille: usize) -> u64 {
    let rank = (sorted.len() * per_mille).div_ceil(1000);
    sorted[rank.max(1) - 1]
}

/// `name=` of the line of figures.
fn figure(figures: &str, name: &str) -> u64 {
    let words = figures.split_whitespace();
    let mut values = words.filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    values.next().unwrap().parse().unwrap()
}

#[test]
fn a_histogram_counts_what_the_rows_say() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("1.tdw");
    fs::write(&path, made::recording(1, &events(), 1000)).unwrap();
    let dwells = dwells(&said(&["trace", "--format", "ndjson"], &path));
    let states: Vec<_> = dwells.keys().map(String::as_str).collect();
    assert_eq!(
        states,
        ["CLOSE_WAIT", "ESTABLISHED", "LAST_ACK", "SYN_SENT"]
    );
    let drawn = said(&["hist"], &path);
    assert_eq!(drawn.matches("state = ").count(), states.len(), "{drawn}");
    for (state, sorted) in &dwells {
        assert_eq!(sorted.len() as u64, CONNECTIONS, "{state}");
        let part = drawn.split(&format!("state = {state}\n")).nth(1).unwrap();
        let part = part.split("\n\n").next().unwrap();
        let figures = part.lines().find(|l| l.contains("count=")).unwrap();
        let sum: u128 = sorted.iter().map(|us| u128::from(*us)).sum();
        let exact = [
            ("count", sorted.len() as u128),
            ("min", u128::from(sorted[0])),
            ("mean", sum / sorted.len() as u128),
            ("max", u128::from(sorted[sorted.len() - 1])),
        ];
        for (name, value) in exact {
            assert_eq!(u128::from(figure(figures, name)), value, "{name}: {part}");
        }
        for (name, per_mille) in [("p50", 500), ("p90", 900), ("p99", 990), ("p99.9", 999)] {
            let (told, exact) = (figure(figures, name), quantile(sorted, per_mille));
            #[expect(clippy::cast_precision_loss, reason = "hours in microseconds")]
            let allowed = ERROR * exact as f64;
            #[expect(clippy::cast_precision_loss, reason = "hours in microseconds")]
            let off = told.abs_diff(exact) as f64;
            assert!(off <= allowed, "{state} {name}: {told}, and it is {exact}");
        }
        let mut rows = 0;
        for row in part.lines().filter(|line| line.contains(" -> ")) {
            let (range, rest) = row.split_once(" : ").unwrap();
            let (low, high) = range.split_once(" -> ").unwrap();
            let bounds: [u64; 2] = [low, high].map(|us| us.trim().parse().unwrap());
            let count: usize = rest.split_whitespace().next().unwrap().parse().unwrap();
            let within = sorted
                .iter()
                .filter(|us| (bounds[0]..=bounds[1]).contains(us));
            assert_eq!(count, within.count(), "{state}: {row}");
            rows += 1;
        }
        assert!(rows > 20, "{part}");
    }
}
