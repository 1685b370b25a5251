//! `top`: a dashboard that is left open during an incident.
//!
//! Events change the [`Model`], keys change the [`Ui`], and `view` draws the two: a pure function, so that
//! screens can be compared as text. [`Dashboard`] puts them together as a sink of the pipeline; `screen`
//! is the only part that touches the terminal.

mod dashboard;
mod keys;
mod listed;
mod model;
mod narrow;
mod screen;
mod ui;
mod view;

pub use self::{
    dashboard::{Dashboard, Options, ParseFilter, Wish},
    keys::{Action, action},
    listed::{Listed, Subject, listed},
    model::{Groups, History, Model, Series, Tally},
    narrow::Narrow,
    screen::Screen,
    ui::{Effect, Page, Panel, Typing, Ui},
    view::{Position, Theme, View, draw},
};
