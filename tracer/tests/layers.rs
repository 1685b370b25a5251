//! Who may use whom: the direction of dependencies, held fast.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A folder or file of `src`, and which others of the crate it may name. What is not listed may use
/// everything (`command`).
const MAY_USE: &[(&str, &[&str])] = &[
    ("engine", &["engine"]),
    ("anonymize.rs", &["engine"]),
    ("stack.rs", &["engine"]),
    ("decode.rs", &["engine", "stack"]),
    ("clock.rs", &["engine"]),
    ("error.rs", &[]),
    ("cost.rs", &["clock", "engine"]),
    ("logging.rs", &[]),
    ("shutdown.rs", &[]),
    ("filter.rs", &["engine"]),
    (
        "ebpf",
        &[
            "ebpf", "decode", "engine", "error", "filter", "source", "stack",
        ],
    ),
    (
        "source",
        &[
            "source",
            "clock",
            "decode",
            "ebpf",
            "engine",
            "enrich",
            "filter",
            "recording",
        ],
    ),
    (
        "enrich",
        &["enrich", "clock", "decode", "ebpf", "engine", "filter"],
    ),
    ("recording", &["recording", "clock", "engine", "logging"]),
    ("render", &["render", "engine", "source"]),
    ("diagnose", &["diagnose", "engine", "render", "report"]),
    ("report", &["report", "cost", "engine", "render", "source"]),
    (
        "sink",
        &[
            "sink",
            "anonymize",
            "cost",
            "diagnose",
            "engine",
            "filter",
            "logging",
            "render",
            "report",
        ],
    ),
    (
        "top",
        &[
            "top", "clock", "cost", "diagnose", "engine", "filter", "logging", "render", "report",
            "sink", "source",
        ],
    ),
    (
        "pipeline.rs",
        &[
            "engine",
            "filter",
            "logging",
            "recording",
            "render",
            "shutdown",
            "sink",
            "source",
        ],
    ),
    (
        "merge.rs",
        &["engine", "filter", "render", "shutdown", "sink", "source"],
    ),
    (
        "cli",
        &["cli", "ebpf", "engine", "error", "filter", "recording"],
    ),
];

/// The engine is pure: neither these crates nor a clock.
const NOT_IN_ENGINE: &[&str] = &[
    "tokio", "aya", "nix", "procfs", "std::fs", "std::io", "Instant",
];

fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let entries = fs::read_dir(path).unwrap();
    entries.flat_map(|e| files(&e.unwrap().path())).collect()
}

/// The modules of this crate that a file names.
fn named(text: &str) -> Vec<String> {
    let mut named = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let list = match rest.strip_prefix('{') {
            Some(group) => top_level(group),
            None => vec![rest],
        };
        named.extend(list.into_iter().map(|item| {
            item.trim_start()
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect::<String>()
        }));
    }
    named.retain(|name| !name.is_empty());
    named
}

/// The items of a `use` group, up to its closing brace.
fn top_level(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut items) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                items.push(&group[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items
}

#[test]
fn nobody_reaches_up() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut checked = 0;
    for (part, allowed) in MAY_USE {
        for file in files(&src.join(part)) {
            let text = fs::read_to_string(&file).unwrap();
            for name in named(&text) {
                assert!(
                    allowed.contains(&name.as_str()),
                    "{} uses crate::{name}, and may use {allowed:?}",
                    file.display()
                );
            }
            checked += 1;
        }
    }
    assert!(checked > 30, "only {checked} files were found");
}

#[test]
fn the_engine_is_pure() {
    let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine");
    for file in files(&engine) {
        let text = fs::read_to_string(&file).unwrap();
        for line in text.lines().filter(|l| !l.trim_start().starts_with("//")) {
            for word in NOT_IN_ENGINE {
                assert!(!line.contains(word), "{}: {line}", file.display());
            }
        }
    }
}

#[test]
fn groups_are_taken_apart() {
    let text = "use crate::{a::{b, c}, d, e::f};\nuse crate::g::h;";
    assert_eq!(named(text), ["a", "d", "e", "g"]);
}
