//! `top --from` in a terminal: needs no privileges.

use std::process::Command;

use rustix::process::Signal;

use crate::{pty::Pty, story};

fn top(file: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpdwell"));
    command.args(["top", "--from"]).arg(file).env("TZ", "UTC");
    command.env_remove("NO_COLOR");
    command
}

#[test]
fn a_recording_is_played_there_and_back() {
    let file = tempfile::NamedTempFile::new().unwrap();
    story::record(file.path());
    let mut pty = Pty::start(top(file.path()), (100, 30), Command::spawn);
    pty.shows("web-1");
    pty.shows("of 90.0 s");
    // It stands still: what shows is of one moment.
    pty.press(" ");
    pty.shows("PAUSED");
    pty.press("\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C\x1b[C");
    let at = |screen: &str| {
        let line = screen.lines().last()?.to_owned();
        let (left, _) = line.split_once(" of 90.0 s")?;
        left.rsplit(' ').next()?.parse::<f64>().ok()
    };
    pty.until("the middle", |screen| {
        at(screen).is_some_and(|at| (45.0..60.0).contains(&at)) && !screen.contains("seeking")
    });
    // The loss of second 40 lies behind.
    pty.shows("LOST 12 (ring_full 12)");
    let there = at(&pty.screen()).unwrap();
    pty.press("\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D");
    pty.until("36 s before", |screen| {
        at(screen).is_some_and(|at| at < there - 4.0) && !screen.contains("LOST")
    });
    pty.press("+++");
    pty.shows("x8");
    pty.press("/nginx\r");
    pty.shows("only: nginx");
    pty.press("?");
    pty.shows("a twentieth of the recording back");
    pty.resize((70, 20));
    pty.shows("70 x 20 is too small");
    pty.resize((100, 30));
    pty.shows("this help");
    pty.press("q");
    let (status, screen, restored) = pty.wait();
    assert!(status.success() && restored, "{status}: {screen}");
    assert!(screen.contains("completeness: "), "{screen}");
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let file = tempfile::NamedTempFile::new().unwrap();
    story::record(file.path());
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let mut pty = Pty::start(top(file.path()), (80, 24), Command::spawn);
        pty.shows("TIME_WAIT  ");
        assert!(!pty.is_restored(), "the terminal is taken");
        pty.signal(signal);
        let (status, screen, restored) = pty.wait();
        assert!(
            status.success() && restored,
            "{signal:?} {status}: {screen}"
        );
    }
}

#[test]
fn without_colours_there_are_none() {
    let file = tempfile::NamedTempFile::new().unwrap();
    story::record(file.path());
    for (no_color, coloured) in [("1", false), ("", true)] {
        let mut command = top(file.path());
        command.env("NO_COLOR", no_color);
        let mut pty = Pty::start(command, (80, 24), Command::spawn);
        pty.shows("TIME_WAIT  ");
        let has_colours = pty.has_colours();
        pty.press("q");
        let (status, screen, restored) = pty.wait();
        assert!(status.success() && restored, "{screen}");
        assert_eq!(has_colours, coloured, "NO_COLOR={no_color}");
    }
}
