//! What a run of the tool left behind.

use std::process::{ExitStatus, Output};

use crate::row::{KEYS, Row};

/// A tool that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            status: output.status,
            stdout: output.stdout,
            stderr: output.stderr,
        }
    }
}

/// The line `completeness: ...`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Completeness {
    pub(crate) seen: u64,
    pub(crate) filtered: u64,
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    pub(crate) ring_full: u64,
    /// `None`: the kernel does not say.
    pub(crate) recursion: Option<u64>,
    pub(crate) map_full: u64,
    pub(crate) decode: u64,
    pub(crate) irregular: u64,
    pub(crate) unknown_starts: u64,
}

impl Finished {
    /// What it said on stderr.
    pub(crate) fn diagnostics(&self) -> String {
        String::from_utf8(self.stderr.clone()).expect("stderr is UTF-8")
    }

    /// Fails unless it ended well.
    pub(crate) fn assert_success(&self) {
        assert_eq!(self.status.code(), Some(0), "{}", self.diagnostics());
    }

    /// All transitions, in the order they were printed.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let lines = self.stdout.split(|b| *b == b'\n').filter(|l| !l.is_empty());
        lines.filter_map(Row::parse).collect()
    }

    /// Fails unless every transition has every key.
    pub(crate) fn assert_keys(&self) {
        let lines = self.stdout.split(|b| *b == b'\n').filter(|l| !l.is_empty());
        for line in lines {
            let value: serde_json::Value = serde_json::from_slice(line).unwrap();
            let object = value.as_object().expect("an object a line");
            if object["event"] == "transition" {
                for key in KEYS {
                    assert!(object.contains_key(key), "no {key} in {value}");
                }
                let text = String::from_utf8_lossy(line);
                let dwell = text.split("\"dwell_us\":").nth(1).unwrap_or_default();
                let decimals = dwell
                    .trim_start()
                    .split([',', '}'])
                    .next()
                    .and_then(|n| n.split_once('.'));
                assert!(decimals.is_none_or(|(_, d)| d.len() <= 3), "{text}");
            }
        }
    }

    /// The account, whose identity is checked.
    pub(crate) fn completeness(&self) -> Completeness {
        let text = self.diagnostics();
        let mut lines = text.lines().filter_map(|l| {
            let line = l.strip_prefix("tcpdwell: ").unwrap_or(l);
            line.strip_prefix("completeness: ")
        });
        let line = lines
            .next()
            .unwrap_or_else(|| panic!("no completeness line:\n{text}"));
        assert_eq!(lines.next(), None, "one completeness line");
        let field = |name: &str| {
            line.split([' ', '(', ')', ';'])
                .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
                .unwrap_or_else(|| panic!("no {name} in {line}"))
        };
        let number = |name: &str| -> u64 {
            let text = field(name);
            text.parse()
                .unwrap_or_else(|_| panic!("{name} is {text} in {line}"))
        };
        let recursion = (field("recursion") != "unknown").then(|| number("recursion"));
        let c = Completeness {
            seen: number("seen"),
            filtered: number("filtered"),
            delivered: number("delivered"),
            lost: number("lost"),
            ring_full: number("ring_full"),
            recursion,
            map_full: number("map_full"),
            decode: number("decode"),
            irregular: number("irregular"),
            unknown_starts: number("unknown_starts"),
        };
        assert_eq!(
            c.seen,
            c.filtered + c.delivered + c.ring_full + c.map_full + c.decode,
            "every event is accounted for: {line}"
        );
        assert_eq!(
            c.lost,
            c.ring_full + c.recursion.unwrap_or(0) + c.map_full + c.decode,
            "lost is the sum of its causes: {line}"
        );
        c
    }
}
