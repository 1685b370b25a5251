//! What is typed: every option that takes a value, with any text for it.

use clap::Parser as _;
use tracer::cli::Cli;

use super::{Target, inputs};

/// A verb and an option of it.
const OPTIONS: [(&str, &str); 20] = [
    ("trace", "--pid"),
    ("trace", "--comm"),
    ("trace", "--lport"),
    ("trace", "--rport"),
    ("trace", "--laddr"),
    ("trace", "--raddr"),
    ("trace", "--state"),
    ("trace", "--netns"),
    ("trace", "--cgroup"),
    ("trace", "--duration"),
    ("trace", "--ring-size"),
    ("trace", "--stop-after"),
    ("trace", "--format"),
    ("hist", "--interval"),
    ("hist", "--by"),
    ("stuck", "--older-than"),
    ("record", "--rotate-size"),
    ("record", "--keep-for"),
    ("record", "--flight"),
    ("record", "--compress-level"),
];

pub const TYPED: Target = Target {
    name: "typed",
    seeds,
    cases: 300,
    run,
};

fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "30s",
        "1h30m",
        "16M",
        "80,443,8000-9000",
        "10.0.0.0/8",
        "2001:db8::/32,192.0.2.7",
        "::ffff:10.0.0.1",
        "TIME_WAIT,close-wait",
        "2026-11-21 10:30:00",
        "2026-11-21T10:30:00Z",
        "/system.slice/nginx.service",
        "4026531840",
        "-1",
        "1e308",
        "99999999999999999999",
        "",
    ];
    inputs(texts)
}

fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for (verb, option) in OPTIONS {
        let given = format!("{option}={text}");
        if let Err(refused) = Cli::try_parse_from(["tcpdwell", verb, &given]) {
            assert!(!refused.to_string().is_empty());
        }
    }
    let at = format!("--since={text}");
    let _ = Cli::try_parse_from(["tcpdwell", "trace", "--from", "x", &at]);
}
