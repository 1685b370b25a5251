//! The screen as text, at three sizes: what it shows of the story, and what keys show of it.
//! `TCPDWELL_BLESS=1` writes them anew.

use std::{fs, path::Path};

use jiff::tz::TimeZone;
use ratatui::{Terminal, backend::TestBackend};
use tracer::{
    cost::{OwnCost, ProgramCost},
    engine::Mono,
    top::{Action, Effect, Model, Narrow, Position, Theme, Typing, Ui, View, draw, listed},
};

use crate::{
    figures::{Told, told},
    story::BEGIN,
};

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

fn screen(model: &Model, ui: &Ui, (width, height): (u16, u16)) -> String {
    let position = ui.is_playback.then_some(Position {
        begin: Mono(BEGIN),
        end: Mono(BEGIN + 90_000_000_000),
        at: Mono(BEGIN + 60_000_000_000),
        speed: 2,
        is_seeking: false,
    });
    let view = View {
        model,
        ui,
        theme: Theme { has_colours: true },
        zone: &TimeZone::UTC,
        position,
        is_paused: ui.is_playback,
    };
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, &view)).unwrap();
    let buffer = terminal.backend().buffer();
    let lines = buffer.content().chunks(usize::from(width));
    let lines = lines.map(|line| {
        line.iter()
            .map(ratatui::buffer::Cell::symbol)
            .collect::<String>()
    });
    lines
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect()
}

fn compare(name: &str, (width, height): (u16, u16), drawn: &str) {
    assert!(
        !drawn.contains('\u{1b}') && !drawn.contains('\u{202e}'),
        "{name}"
    );
    let file = format!("tests/screens/{name}-{width}x{height}.txt");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("TCPDWELL_BLESS").is_some() {
        fs::write(&path, drawn).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        drawn == expected,
        "{} differs (TCPDWELL_BLESS=1 takes it over):\n{drawn}",
        path.display()
    );
}

fn with_cost(mut told: Told) -> Told {
    told.model.cost = Some(OwnCost {
        cpu_percent: 0.8,
        resident_bytes: Some(31 << 20),
        programs: Some(ProgramCost {
            ns_per_run: 212.0,
            cpu_percent: 0.04,
        }),
        is_counted: true,
    });
    told
}

fn act(told: &mut Told, ui: &mut Ui, actions: &[Action]) {
    for action in actions {
        if let Effect::List(subject) = ui.act(*action, &told.model) {
            ui.listed = listed(&mut told.model, &told.engine, subject);
        }
    }
}

#[test]
fn all_panels() {
    let told = with_cost(told(Narrow::All));
    for size in SIZES {
        let ui = Ui::new(false);
        compare("panels", size, &screen(&told.model, &ui, size));
    }
}

#[test]
fn keys_lead_everywhere() {
    use Action::{Down, Enter, Group, Help, Next, Previous, Sort};
    let mut told = with_cost(told(Narrow::All));
    let pages: [(&str, &[Action]); 8] = [
        ("remotes", &[Next, Next, Group, Group, Sort]),
        ("stuck", &[Previous, Previous, Previous, Down]),
        ("timeline", &[Previous, Previous, Previous, Enter]),
        ("histogram", &[Previous, Previous]),
        ("findings", &[Previous]),
        ("finding", &[Previous, Enter]),
        ("sockets", &[Enter, Down, Down]),
        ("help", &[Help]),
    ];
    for (name, actions) in pages {
        let mut ui = Ui::new(false);
        act(&mut told, &mut ui, actions);
        compare(name, SIZES[0], &screen(&told.model, &ui, SIZES[0]));
    }
}

#[test]
fn a_recording_has_a_slider_and_a_filter_its_line() {
    let told = told(Narrow::text("nginx"));
    let mut ui = Ui::new(true);
    compare("playback", SIZES[0], &screen(&told.model, &ui, SIZES[0]));
    ui.typing = Some(Typing {
        text: "-L http".to_owned(),
        error: Some("not a port".to_owned()),
    });
    let drawn = screen(&told.model, &ui, SIZES[0]);
    assert!(
        drawn.ends_with("show only: -L http  not a port\n"),
        "{drawn}"
    );
}

#[test]
fn every_size_is_drawn() {
    let mut told = told(Narrow::All);
    let small = screen(&told.model, &Ui::new(false), (79, 24));
    assert!(
        small.starts_with("79 x 24 is too small:\n80 x 24 are needed\n"),
        "{small}"
    );
    let pages: [&[Action]; 4] = [
        &[],
        &[Action::Help],
        &[Action::Enter],
        &[Action::Enter, Action::Enter],
    ];
    for actions in pages {
        let mut ui = Ui::new(true);
        act(&mut told, &mut ui, actions);
        for width in (1..240).step_by(7) {
            for height in (1..80).step_by(5) {
                screen(&told.model, &ui, (width, height));
            }
        }
    }
}
