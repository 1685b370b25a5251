//! What another sink shows, with pseudonyms.

use std::rc::Rc;

use anyhow::Result;
use bytes::BytesMut;

use super::{Sink, Start};
use crate::{
    anonymize::Pseudonyms,
    engine::{Engine, Update},
    render::completeness::Completeness,
};

/// See the module. For sinks that show only what they are told.
pub struct AnonymousSink {
    inner: Box<dyn Sink>,
    pseudonyms: Rc<Pseudonyms>,
}

impl std::fmt::Debug for AnonymousSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AnonymousSink").finish_non_exhaustive()
    }
}

impl AnonymousSink {
    /// Before this one.
    pub fn new(inner: Box<dyn Sink>, pseudonyms: Rc<Pseudonyms>) -> Self {
        Self { inner, pseudonyms }
    }
}

impl Sink for AnonymousSink {
    fn start(&mut self, start: &Start, out: &mut BytesMut) -> Result<()> {
        let name = |name: &String| self.pseudonyms.name(name);
        let start = Start {
            host: Some(&start.host)
                .filter(|host| !host.is_empty())
                .map_or_else(String::new, name),
            boot_id: start.boot_id.as_ref().map(name),
            ..start.clone()
        };
        self.inner.start(&start, out)
    }

    fn update(&mut self, update: &Update, out: &mut BytesMut) -> Result<()> {
        match update {
            Update::Transition(t) => {
                let shown = Update::Transition(self.pseudonyms.transition(t));
                self.inner.update(&shown, out)
            }
            // A path names who is in it.
            Update::Cgroup(_) => Ok(()),
            Update::Irregular(_)
            | Update::Forgotten(_)
            | Update::Lost { .. }
            | Update::Clock { .. } => self.inner.update(update, out),
        }
    }

    fn end(
        &mut self,
        engine: &Engine,
        completeness: &Completeness,
        out: &mut BytesMut,
    ) -> Result<()> {
        self.inner.end(engine, completeness, out)
    }
}
