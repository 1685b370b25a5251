//! The rules, asked of one window of time after another: for whoever watches without an end.

use std::time::Duration;

use super::{Diagnosis, Finding};
use crate::{
    engine::{Engine, Mono, Snapshot, Span, StateSet, Transition, Update, Window},
    render::completeness::Completeness,
    report::{Hooks, Report},
};

/// The first answer comes soon; rates want a little longer.
const FIRST: Duration = Duration::from_secs(10);
const NEXT: Duration = Duration::from_secs(20);

/// What a window costs at its end grows with the open sockets: then it comes less often, so that the
/// cost does not grow.
const SOCKETS_PER_SECOND: usize = 4000;

/// What a report has to know that is not in a window.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// Name of the host.
    pub host: String,
    /// `uname -r`.
    pub kernel: String,
    /// Where the events come from.
    pub hooks: Hooks,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Rolling {
    window: Window,
    began: Option<Mono>,
    /// The latest answers.
    latest: Diagnosis,
    /// Of which time; `None`: there was none yet.
    pub span: Option<Span>,
}

/// The answers, without the window that is being counted.
impl Clone for Rolling {
    fn clone(&self) -> Self {
        Self {
            window: Window::default(),
            began: self.began,
            latest: self.latest.clone(),
            span: self.span,
        }
    }
}

impl Rolling {
    /// The latest, with the name of the rule, the worst first.
    pub fn list(&self) -> &[(&'static str, Finding)] {
        &self.latest.findings
    }

    /// How many rules found nothing, and how many could not say.
    pub fn others(&self) -> (usize, usize) {
        (self.latest.ok.len(), self.latest.not_enough_data.len())
    }

    /// When the next answers come.
    pub fn due(&self, open: usize) -> Option<Mono> {
        let length = if self.span.is_some() { NEXT } else { FIRST };
        let seconds = u64::try_from(open / SOCKETS_PER_SECOND).unwrap_or(0);
        Some(self.began?.plus(length.max(Duration::from_secs(seconds))))
    }

    /// Counts what happened; `wanted`: whether a transition is, as far as is known now.
    pub fn update(&mut self, update: &Update, wanted: bool) {
        match update {
            Update::Transition(t) => {
                let began = *self.began.get_or_insert(t.at);
                self.window.transition(t, began, wanted);
            }
            Update::Irregular(irregularity) => self.window.irregular(irregularity),
            Update::Forgotten(conn) => self.window.forget(*conn),
            Update::Clock { .. } | Update::Cgroup(_) | Update::Lost { .. } => {}
        }
    }

    /// Asks the rules, if it is time; whether it was. `wanted`: whether a connection that is open is to be
    /// counted, by its latest change.
    pub fn tick(
        &mut self,
        engine: &Engine,
        now: Mono,
        setting: &Setting,
        completeness: &Completeness,
        wanted: impl Fn(&Transition) -> bool,
    ) -> bool {
        let start = *self.began.get_or_insert(now);
        if self.due(engine.open()).is_none_or(|due| now < due) {
            return false;
        }
        let span = Span { start, end: now };
        let window = std::mem::replace(&mut self.window, Window::new(StateSet::default()));
        let snapshot: Snapshot = window.close(engine, span, wanted);
        let report = Report {
            host: setting.host.clone(),
            kernel: setting.kernel.clone(),
            start: None,
            end: None,
            hooks: setting.hooks.clone(),
            completeness: *completeness,
            snapshot,
            own_cost: None,
            hosts: Vec::new(),
        };
        self.latest = Diagnosis::of(&report);
        self.span = Some(span);
        self.began = Some(now);
        true
    }
}
