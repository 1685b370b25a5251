//! What the person at the keyboard looks at: which panel, which row, which page. Keys change it; the
//! figures are none of its business.

use std::cmp::Reverse;

use super::{
    keys::Action,
    listed::{Listed, Subject},
    model::{By, Model, Tally, Wait},
};
use crate::{
    engine::{GroupKey, TcpState},
    report::LISTED_STATES,
};

/// The states in the order of a connection's life, as they are listed. CLOSE is none to be in.
pub const STATES: &[TcpState; 10] = {
    let [states @ .., _close] = &LISTED_STATES;
    states
};

/// A part of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Panel {
    /// How many are in each state.
    #[default]
    States,
    /// TIME_WAIT.
    TimeWait,
    /// Who closed first.
    ClosedFirst,
    /// The oldest CLOSE_WAITs.
    Stuck,
    /// How long stays in the selected state were.
    Histogram,
    /// What the rules say.
    Findings,
}

impl Panel {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::States,
        Self::TimeWait,
        Self::ClosedFirst,
        Self::Stuck,
        Self::Histogram,
        Self::Findings,
    ];
}

/// What covers the panels.
#[derive(Clone, Debug)]
pub enum Page {
    /// The keys.
    Help,
    /// Connections.
    List(Subject),
    /// What a connection did. With the latest that was told of it, if its steps are not remembered.
    Timeline(Box<Listed>),
    /// A finding's figures and advice: the one in this place.
    Finding(usize),
}

/// What rows of groups are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Closed in the latest ticks.
    #[default]
    Recent,
    /// All that were closed.
    Total,
    /// TIME_WAITs begun in the latest ticks.
    TimeWaits,
}

/// A filter while it is typed.
#[derive(Clone, Debug, Default)]
pub struct Typing {
    /// So far.
    pub text: String,
    /// What is wrong with it.
    pub error: Option<String>,
}

/// What remains to be done about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// End.
    Quit,
    /// Look for these connections.
    List(Subject),
    /// Take up what was typed; empty: no filter.
    Narrow(String),
    /// Count anew.
    Reset,
    /// Stand still, or go on.
    Pause,
    /// So many twentieths of the recording on.
    Seek(i8),
    /// Twice as fast so often.
    Speed(i8),
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Ui {
    /// The panel that keys go to.
    pub focus: Panel,
    /// The one in the place where there is room for one of several.
    pub lower: Option<Panel>,
    /// What the groups are told apart by.
    pub by: By,
    /// What they are sorted by.
    pub sort: Sort,
    /// The stuck ones by their cause, not by their age.
    pub stuck_by_cause: bool,
    /// What covers the panels, the top last.
    pub pages: Vec<Page>,
    /// The connections of the page that lists some.
    pub listed: Vec<Listed>,
    /// A filter while it is typed.
    pub typing: Option<Typing>,
    /// A recording is played.
    pub is_playback: bool,
    /// By panel.
    selected: [usize; Panel::ALL.len()],
    /// In the list.
    row: usize,
    /// First line of a page of text.
    pub scroll: usize,
}

impl Ui {
    /// Looks at the panels, and the busiest of the states.
    pub fn new(is_playback: bool) -> Self {
        let mut ui = Self {
            is_playback,
            ..Self::default()
        };
        let busiest = STATES.iter().position(|s| *s == TcpState::TimeWait);
        ui.selected[Panel::States as usize] = busiest.unwrap_or(0);
        ui
    }

    /// The selected row of a panel that has so many.
    pub fn selected(&self, panel: Panel, rows: usize) -> usize {
        self.selected[panel as usize].min(rows.saturating_sub(1))
    }

    /// The selected row of the list.
    pub fn selected_listed(&self) -> usize {
        self.row.min(self.listed.len().saturating_sub(1))
    }

    /// The selected state.
    pub fn state(&self) -> TcpState {
        STATES[self.selected(Panel::States, STATES.len())]
    }

    /// The panel in the place for one of several.
    pub fn lower(&self) -> Panel {
        self.lower.unwrap_or(Panel::ClosedFirst)
    }

    /// Does what a key asks for; what remains is to be done elsewhere.
    pub fn act(&mut self, action: Action, model: &Model) -> Effect {
        match action {
            Action::Quit => return Effect::Quit,
            Action::Help => {
                self.scroll = 0;
                self.pages.push(Page::Help);
            }
            Action::Up => self.step(-1, model),
            Action::Down => self.step(1, model),
            Action::PageUp => self.step(-10, model),
            Action::PageDown => self.step(10, model),
            Action::Next => self.turn(1),
            Action::Previous => self.turn(Panel::ALL.len() - 1),
            Action::Enter => return self.enter(model),
            Action::Back if self.pages.pop().is_none() && model.narrow.typed().is_some() => {
                return Effect::Narrow(String::new());
            }
            Action::Back => {}
            Action::Sort if self.focus == Panel::Stuck => {
                self.stuck_by_cause = !self.stuck_by_cause;
            }
            Action::Sort => {
                self.sort = match self.sort {
                    Sort::Recent => Sort::Total,
                    Sort::Total => Sort::TimeWaits,
                    Sort::TimeWaits => Sort::Recent,
                }
            }
            Action::Group => {
                let at = By::ALL.iter().position(|by| *by == self.by).unwrap_or(0);
                self.by = By::ALL[(at + 1) % By::ALL.len()];
            }
            Action::Filter => {
                let text = model.narrow.typed().unwrap_or_default().to_owned();
                self.typing = Some(Typing { text, error: None });
            }
            Action::Reset => return Effect::Reset,
            Action::Pause => return Effect::Pause,
            Action::Earlier => return Effect::Seek(-1),
            Action::Later => return Effect::Seek(1),
            Action::Faster => return Effect::Speed(1),
            Action::Slower => return Effect::Speed(-1),
        }
        Effect::None
    }

    fn turn(&mut self, by: usize) {
        if self.pages.is_empty() {
            let at = (self.focus as usize + by) % Panel::ALL.len();
            self.focus = Panel::ALL[at];
            if at >= Panel::ClosedFirst as usize {
                self.lower = Some(self.focus);
            }
        }
    }

    fn step(&mut self, by: isize, model: &Model) {
        match self.pages.last() {
            None => {
                let panel = match self.focus {
                    // Its rows are those of the states.
                    Panel::Histogram => Panel::States,
                    panel => panel,
                };
                let rows = self.rows(panel, model);
                let at = self.selected(panel, rows);
                self.selected[panel as usize] = moved(at, by, rows);
            }
            Some(Page::List(_)) => self.row = moved(self.selected_listed(), by, self.listed.len()),
            Some(_) => self.scroll = self.scroll.saturating_add_signed(by),
        }
    }

    fn rows(&self, panel: Panel, model: &Model) -> usize {
        match panel {
            Panel::States | Panel::Histogram => STATES.len(),
            Panel::TimeWait | Panel::ClosedFirst => sorted(model, self, panel).len(),
            Panel::Stuck => model.waits.oldest.len(),
            Panel::Findings => model.findings.list().len(),
        }
    }

    fn enter(&mut self, model: &Model) -> Effect {
        self.scroll = 0;
        match self.pages.last() {
            Some(Page::List(_)) => {
                if let Some(listed) = self.listed.get(self.selected_listed()) {
                    self.pages.push(Page::Timeline(Box::new(listed.clone())));
                }
                return Effect::None;
            }
            Some(_) => return Effect::None,
            None => {}
        }
        let panel = self.focus;
        let at = self.selected(panel, self.rows(panel, model));
        match panel {
            Panel::States | Panel::Histogram => return self.list(Subject::State(self.state())),
            Panel::TimeWait | Panel::ClosedFirst => {
                let key = sorted(model, self, panel).get(at).map(|(key, ..)| *key);
                if let Some(key) = key {
                    return self.list(Subject::Row(self.by, key));
                }
            }
            Panel::Stuck => {
                if let Some(wait) = waits(model, self).get(at) {
                    self.pages.push(Page::Timeline(Box::new(Listed {
                        last: wait.open.last,
                        age: wait.age(model.now),
                        age_is_exact: wait.open.age_is_exact,
                    })));
                }
            }
            Panel::Findings if at < model.findings.list().len() => {
                self.pages.push(Page::Finding(at));
            }
            Panel::Findings => {}
        }
        Effect::None
    }

    fn list(&mut self, subject: Subject) -> Effect {
        self.row = 0;
        self.pages.push(Page::List(subject));
        Effect::List(subject)
    }
}

fn moved(at: usize, by: isize, rows: usize) -> usize {
    at.saturating_add_signed(by).min(rows.saturating_sub(1))
}

/// The rows of the groups as a panel has them: key, all, and the latest ticks'.
pub fn sorted(model: &Model, ui: &Ui, panel: Panel) -> Vec<(GroupKey, Tally, Tally)> {
    let groups = &model.groups[ui.by as usize];
    let rows = groups
        .rows()
        .map(|(row, recent)| (row.key, row.total, recent));
    let mut rows: Vec<_> = rows.collect();
    if panel == Panel::TimeWait {
        rows.retain(|(_, total, _)| total.time_waits > 0);
        rows.sort_by_key(|(_, total, recent)| Reverse((recent.time_waits, total.time_waits)));
        return rows;
    }
    rows.retain(|(_, total, _)| total.all_closed() > 0);
    rows.sort_by_key(|(_, total, recent)| {
        let (now, all) = (recent.all_closed(), total.all_closed());
        Reverse(match ui.sort {
            Sort::Recent => (now, all),
            Sort::Total => (all, now),
            Sort::TimeWaits => (u64::from(recent.time_waits), u64::from(total.time_waits)),
        })
    });
    rows
}

/// The stuck sockets as they are sorted.
pub fn waits<'a>(model: &'a Model, ui: &Ui) -> Vec<&'a Wait> {
    let mut waits: Vec<_> = model.waits.oldest.iter().collect();
    if ui.stuck_by_cause {
        waits.sort_by_key(|wait| (wait.cause.is_none(), wait.cause));
    }
    waits
}
