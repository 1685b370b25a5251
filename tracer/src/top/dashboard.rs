//! The dashboard as a sink: it takes in what happens, asks the keyboard, and draws.

use std::{
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::{Context as _, Result};
use bytes::BytesMut;
use crossterm::event::{Event as Input, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use jiff::tz::TimeZone;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{
    keys::action,
    listed::listed,
    model::Model,
    narrow::Narrow,
    screen::Screen,
    ui::{Effect, Page, Typing, Ui},
    view::{self, Position, Theme, View},
};
use crate::{
    clock,
    cost::Meter,
    engine::{Account, Engine, Mono, Update},
    filter::Filter,
    render::completeness::Completeness,
    sink::{Sink, Start},
    source::paced::Playback,
};

/// Ticks come a little early or late.
const EARLY: Duration = Duration::from_millis(100);

/// A recording's place is drawn so often.
const FRAME: Duration = Duration::from_millis(200);

/// Makes a filter of the words of options.
pub type ParseFilter = Box<dyn Fn(&str) -> Result<Filter, String>>;

/// What is typed at the start.
pub struct Options {
    /// How often it is drawn.
    pub interval: Duration,
    /// Which connections are counted.
    pub filter: Filter,
    /// For filters that are typed later.
    pub parse: ParseFilter,
    /// Whether there are colours.
    pub has_colours: bool,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// It is enough.
    #[default]
    Quit,
    /// The recording is to be read anew, up to there.
    Restart(Mono),
}

/// See the module.
pub struct Dashboard {
    options: Options,
    model: Model,
    /// What is looked at while the figures stand still.
    frozen: Option<Box<Model>>,
    ui: Ui,
    zone: TimeZone,
    screen: Option<Screen>,
    playback: Option<Rc<Playback>>,
    timer: Option<Interval>,
    meter: Meter,
    inputs: Vec<Input>,
    latest: Mono,
    drawn: Option<Mono>,
    wish: Wish,
}

impl std::fmt::Debug for Dashboard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dashboard").finish_non_exhaustive()
    }
}

impl Dashboard {
    /// Of the running kernel, or of a recording that is played.
    pub fn new(options: Options, playback: Option<Rc<Playback>>) -> Self {
        Self {
            model: Model::new(options.filter.clone()),
            options,
            frozen: None,
            ui: Ui::new(playback.is_some()),
            zone: TimeZone::system(),
            screen: None,
            playback,
            timer: None,
            meter: Meter::start(),
            inputs: Vec::new(),
            latest: Mono(0),
            drawn: None,
            wish: Wish::Quit,
        }
    }

    /// Why the run ended.
    pub const fn wish(&self) -> Wish {
        self.wish
    }

    fn draw(&mut self) -> Result<()> {
        let Some(screen) = &mut self.screen else {
            return Ok(());
        };
        let playback = self.playback.as_deref();
        let view = View {
            model: self.frozen.as_deref().unwrap_or(&self.model),
            ui: &self.ui,
            theme: Theme {
                has_colours: self.options.has_colours,
            },
            zone: &self.zone,
            position: playback.map(position),
            is_paused: self.frozen.is_some() || playback.is_some_and(Playback::is_paused),
        };
        self.drawn = Some(clock::monotonic());
        screen.draw(|frame| view::draw(frame, &view))
    }

    /// Draws if it was not drawn for so long.
    fn draw_if_due(&mut self, every: Duration) -> Result<()> {
        let now = clock::monotonic();
        if self
            .drawn
            .is_none_or(|drawn| now.since(drawn) + EARLY >= every)
        {
            self.draw()?;
        }
        Ok(())
    }

    /// Whether to go on.
    fn key(&mut self, key: &KeyEvent, engine: &Engine) -> bool {
        let is_interrupt =
            key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        let effect = if let Some(typing) = self.ui.typing.as_mut().filter(|_| !is_interrupt) {
            match typed(typing, key) {
                Typed::On => Effect::None,
                Typed::Done(text) => Effect::Narrow(text),
                Typed::GivenUp => {
                    self.ui.typing = None;
                    Effect::None
                }
            }
        } else {
            let model = self.frozen.as_deref().unwrap_or(&self.model);
            match action(key, self.ui.is_playback) {
                Some(action) => self.ui.act(action, model),
                None => Effect::None,
            }
        };
        self.take_effect(effect, engine)
    }

    fn take_effect(&mut self, effect: Effect, engine: &Engine) -> bool {
        match effect {
            Effect::None => {}
            Effect::Quit => {
                self.wish = Wish::Quit;
                return false;
            }
            Effect::List(subject) => {
                self.ui.listed = listed(&mut self.model, engine, subject);
            }
            Effect::Narrow(text) => match self.narrow(&text) {
                Ok(narrow) => {
                    self.ui.typing = None;
                    return self.restart(narrow, engine);
                }
                Err(error) => {
                    self.ui.typing = Some(Typing {
                        text,
                        error: Some(error),
                    });
                }
            },
            Effect::Reset => {
                let narrow = self.model.narrow.clone();
                self.model.restart(narrow);
                self.model.take_census(engine);
            }
            Effect::Pause => match &self.playback {
                Some(playback) => playback.pause(),
                None if self.frozen.take().is_some() => {}
                None => self.frozen = Some(Box::new(self.model.clone())),
            },
            Effect::Speed(by) => {
                if let Some(playback) = &self.playback {
                    playback.accelerate(by);
                }
            }
            Effect::Seek(by) => return self.seek(by),
        }
        true
    }

    fn narrow(&self, text: &str) -> Result<Narrow, String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Narrow::All);
        }
        if !text.starts_with('-') {
            return Ok(Narrow::text(text));
        }
        let filter = (self.options.parse)(text)?;
        Ok(Narrow::Options {
            typed: text.to_owned(),
            filter: Box::new(filter),
        })
    }

    /// Counts anew: a recording from its beginning up to here, the running kernel from here on.
    fn restart(&mut self, narrow: Narrow, engine: &Engine) -> bool {
        self.model.restart(narrow);
        self.model.take_census(engine);
        self.frozen = None;
        let Some(playback) = &self.playback else {
            return true;
        };
        self.wish = Wish::Restart(playback.at());
        false
    }

    fn seek(&mut self, twentieths: i8) -> bool {
        let Some(playback) = &self.playback else {
            return true;
        };
        let step =
            playback.end().since(playback.begin()) / 20 * u32::from(twentieths.unsigned_abs());
        if twentieths > 0 {
            playback.seek(playback.at().plus(step));
            return true;
        }
        self.wish = Wish::Restart(playback.at().minus(step));
        false
    }
}

fn position(playback: &Playback) -> Position {
    Position {
        begin: playback.begin(),
        end: playback.end(),
        at: playback.at(),
        speed: playback.speed(),
        is_seeking: playback.is_seeking(),
    }
}

/// Where typing stands after a key.
enum Typed {
    On,
    Done(String),
    GivenUp,
}

/// Takes a key into the text that is typed.
fn typed(typing: &mut Typing, key: &KeyEvent) -> Typed {
    typing.error = None;
    match key.code {
        KeyCode::Esc => return Typed::GivenUp,
        KeyCode::Enter => return Typed::Done(std::mem::take(&mut typing.text)),
        KeyCode::Backspace => {
            typing.text.pop();
        }
        KeyCode::Char(_) if key.modifiers.contains(KeyModifiers::CONTROL) => {}
        KeyCode::Char(c) => typing.text.push(c),
        _ => {}
    }
    Typed::On
}

impl Sink for Dashboard {
    fn start(&mut self, start: &Start, _out: &mut BytesMut) -> Result<()> {
        self.wish = Wish::Quit;
        // A recording that is read anew is counted anew.
        let narrow = std::mem::take(&mut self.model.narrow);
        self.model = Model::new(self.options.filter.clone());
        self.model.narrow = narrow;
        self.model.start(start);
        if self.playback.is_some() {
            let mut timer = interval(FRAME);
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
            self.timer = Some(timer);
        }
        if self.screen.is_none() {
            self.screen = Some(Screen::enter()?);
        }
        self.draw()
    }

    fn update(&mut self, update: &Update, _out: &mut BytesMut) -> Result<()> {
        if let Update::Clock { at, .. } = update {
            self.latest = *at;
        }
        self.model.update(update);
        Ok(())
    }

    fn account(&mut self, account: &Account) {
        if self.playback.is_none() {
            self.model.account(account);
        }
    }

    fn tick(&mut self, engine: &Engine, _out: &mut BytesMut) -> Result<()> {
        self.model.tick(engine, self.latest);
        self.model.cost = self.meter.look();
        if let Some(Page::List(subject)) = self.ui.pages.last()
            && self.frozen.is_none()
            && self.model.is_census()
        {
            self.ui.listed = listed(&mut self.model, engine, *subject);
        }
        if self.playback.is_some() {
            self.draw_if_due(FRAME)
        } else {
            self.draw_if_due(self.options.interval)
        }
    }

    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if let Some(screen) = &mut self.screen {
            while let Poll::Ready(event) = screen.poll(cx) {
                match event {
                    Some(event) => self.inputs.push(event.context("reading the keyboard")?),
                    None => return Poll::Ready(Err(anyhow::anyhow!("the terminal is gone"))),
                }
            }
        }
        let timer = self.timer.as_mut();
        let is_due = timer.is_some_and(|timer| timer.poll_tick(cx).is_ready());
        if is_due || !self.inputs.is_empty() {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    fn input(&mut self, engine: &Engine) -> Result<bool> {
        for input in std::mem::take(&mut self.inputs) {
            if let Input::Key(key) = input
                && key.kind != KeyEventKind::Release
                && !self.key(&key, engine)
            {
                return Ok(false);
            }
        }
        self.draw()?;
        Ok(true)
    }

    fn end(
        &mut self,
        _engine: &Engine,
        _completeness: &Completeness,
        _out: &mut BytesMut,
    ) -> Result<()> {
        if self.wish == Wish::Quit {
            self.screen = None;
        }
        Ok(())
    }
}
