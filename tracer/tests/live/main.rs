//! Live tests: the real binary on the real kernel, against a workload whose every fact is known.
//!
//! Each test opens its connections in network namespaces of its own and judges only its own rows.
//! They need root (see `skip.rs`). What they read from the environment:
//!
//! - `TCPDWELL_BIN`: the binary under test, instead of the one cargo built;
//! - `TCPDWELL_LIVE`: 1: not being root is a failure, not a skip; 0: all are skipped;
//! - `TCPDWELL_SCALE`: how much work, 1.0 unless set (a slow guest takes 0.2);
//! - `TCPDWELL_SOAK_SECONDS`: how long the soak lasts that is run by hand (see `test_soak.rs`).
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that cannot go on says so and stops"
)]

mod child;
mod clock;
mod compare;
mod destroy;
mod hidden;
mod ledger;
mod lives;
mod lives_by_hand;
mod netlink;
mod netns;
mod observed;
mod peer;
#[path = "../pty/mod.rs"]
mod pty;
mod row;
mod skip;
mod small;
mod spawn;
mod steady;
mod storm;
mod tables;
mod tool;
mod wire;
mod workload;

mod test_aggregate;
mod test_backlog;
mod test_clock_steps;
mod test_crowd;
mod test_diagnose;
mod test_diagnose_nginx;
mod test_diagnose_waits;
mod test_disks;
mod test_ends;
mod test_exact;
mod test_export;
mod test_filters;
mod test_hist;
mod test_hostile_comm;
mod test_kills;
mod test_leak;
mod test_lives;
mod test_not_root;
mod test_older;
mod test_owners;
mod test_privileges;
mod test_readers;
mod test_record;
mod test_report;
mod test_report_html;
mod test_sampling;
mod test_signals;
mod test_soak;
mod test_stalls;
mod test_storm;
mod test_stuck;
mod test_stuck_holders;
mod test_stuck_past;
mod test_top;
mod test_two_tools;
mod test_without_btf;

#[path = "../python/mod.rs"]
mod python;
