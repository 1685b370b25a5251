//! The dashboard's figures as a sink without a screen, and that they are those of the recording.

use std::{cell::RefCell, rc::Rc};

use anyhow::Result;
use bytes::BytesMut;
use tracer::{
    engine::{ClosedFirst, DurationHistogram, Engine, Limits, Mono, TcpState, Update},
    filter::{Filter, Gate},
    pipeline::Pipeline,
    recording::recordings,
    shutdown::Shutdown,
    sink::{Output, Sink, Start},
    source::file::FileSource,
    top::{Model, Narrow},
};

use crate::story;

/// The figures, the engine at the end, and where they stood.
pub(crate) struct Told {
    pub(crate) model: Model,
    pub(crate) engine: Engine,
}

struct Figures {
    model: Rc<RefCell<Model>>,
    latest: Mono,
}

impl Sink for Figures {
    fn start(&mut self, start: &Start, _out: &mut BytesMut) -> Result<()> {
        self.model.borrow_mut().start(start);
        Ok(())
    }

    fn update(&mut self, update: &Update, _out: &mut BytesMut) -> Result<()> {
        if let Update::Clock { at, .. } = update {
            self.latest = *at;
        }
        self.model.borrow_mut().update(update);
        Ok(())
    }

    fn tick(&mut self, engine: &Engine, _out: &mut BytesMut) -> Result<()> {
        self.model.borrow_mut().tick(engine, self.latest);
        Ok(())
    }
}

/// Plays the story to its end.
pub(crate) fn told(narrow: Narrow) -> Told {
    let file = tempfile::NamedTempFile::new().unwrap();
    story::record(file.path());
    let mut parts = recordings(&[file.path().to_owned()]).unwrap();
    let mut source = FileSource::new(parts.remove(0), Filter::default());
    let mut model = Model::new(Filter::default());
    model.narrow = narrow;
    let model = Rc::new(RefCell::new(model));
    let start = Start {
        host: source.meta().host.clone(),
        boot_id: None,
        kernel: source.meta().kernel.clone(),
        state: source.meta().hooks.state.clone(),
        time_wait: source.meta().hooks.time_wait.clone(),
        snapshot: source.meta().hooks.snapshot.clone(),
        owner: source.meta().hooks.owner.clone(),
    };
    let mut engine = Engine::new(Limits::default());
    engine.watch_close_waits();
    let pipeline = Pipeline {
        source: &mut source,
        engine,
        gate: Gate::new(Filter::default()),
        sink: Box::new(Figures {
            model: Rc::clone(&model),
            latest: Mono(0),
        }),
        output: Output::nowhere(),
        stop_after: u64::MAX,
        tap: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let outcome = runtime.block_on(async {
        let mut shutdown = Shutdown::new(None).unwrap();
        pipeline.run(&start, &mut shutdown).await.unwrap()
    });
    let model = model.borrow().clone();
    Told {
        model,
        engine: outcome.engine,
    }
}

#[test]
fn the_figures_are_those_of_the_engine() {
    let Told { model, engine } = told(Narrow::All);
    let stats = engine.stats();
    assert_eq!(model.completeness.lost.ring_full, 12);
    let mut open = [0; TcpState::COUNT];
    for socket in engine.open_sockets(model.now) {
        open[socket.last.to.index()] += 1;
    }
    for state in TcpState::ALL {
        assert_eq!(engine.open_in(state), open[state.index()], "{state}");
        if state != TcpState::Close {
            let entered = stats.state(state).entered;
            assert_eq!(model.entered[state.index()].total(), entered, "{state}");
        }
        let measured = stats.state(state).dwell.as_ref();
        let counted = model.dwells[state.index()].as_deref();
        let counted = counted.map(DurationHistogram::count);
        let measured = measured.map(DurationHistogram::count);
        assert_eq!(counted, measured, "{state}");
    }
    let time_wait = stats.time_wait();
    assert_eq!(model.time_wait.entered.total(), time_wait.entered);
    let ended: u64 = time_wait.ended.values().sum();
    assert_eq!(model.time_wait.left.total(), ended);
    assert!(ended > 500 && time_wait.entered > ended);
    for groups in &model.groups {
        for first in ClosedFirst::ALL {
            let counted = groups
                .rows()
                .map(|(row, _)| u64::from(row.total.closed[first as usize]));
            let (_, all) = stats.closed_first().find(|(f, _)| *f == first).unwrap();
            assert_eq!(counted.sum::<u64>(), all, "{}", first.name());
        }
        let made = groups
            .rows()
            .map(|(row, _)| u64::from(row.total.time_waits));
        assert_eq!(made.sum::<u64>(), time_wait.entered);
    }
}

#[test]
fn a_filter_shows_its_part() {
    let all = told(Narrow::All).model;
    let some = told(Narrow::text("LEAKY")).model;
    let close_wait = TcpState::CloseWait.index();
    // An accepted connection's owner is known by the time it is in CLOSE_WAIT.
    assert_eq!(some.open_now[close_wait], 30);
    assert_eq!(some.open_now[TcpState::TimeWait.index()], 0);
    assert!(all.open_now[TcpState::TimeWait.index()] > 1000);
    let by_port = told(Narrow::text(":5432")).model;
    assert_eq!(by_port.opened.total(), 8 * 90);
}
