//! Perfetto: a track for each connection, with a slice for each state, below its process and host.
//!
//! A connection is written when it has ended: only then is it known whose it is. Perfetto sorts.

mod proto;

use std::{net::SocketAddr, rc::Rc};

use anyhow::Result;
use bytes::BytesMut;
use hashbrown::HashMap;
use prost::Message as _;

use self::proto::{
    CHRONOLOGICAL, Clock, ClockSnapshot, DebugAnnotation, REALTIME, SEQUENCE_BEGINS, SLICE_BEGIN,
    SLICE_END, Trace, TracePacket, TrackDescriptor, TrackEvent,
};
use super::{Sink, Start, row::comm, whole::Whole};
use crate::{
    anonymize::Pseudonyms,
    engine::{
        ClosedFirst, EndReason, Endpoint, Engine, Life, Mono, Outcome, ProcessName, Role, Stay,
        Transition, Update,
    },
    filter::Filter,
    render::completeness::Completeness,
};

/// Processes with a track of their own; connections of more stand below the host.
const MAX_PROCESSES: usize = 65_536;

/// See the module.
#[derive(Debug)]
pub struct PerfettoSink {
    whole: Whole,
    /// Which recording, from 1: a sequence of packets for each.
    sequence: u32,
    next_uuid: u64,
    host: u64,
    processes: HashMap<(u32, ProcessName), u64>,
    /// The clock of the timeline was told.
    has_clock: bool,
}

impl PerfettoSink {
    /// `sequence`: from 1, another for each recording of a trace.
    pub fn new(sequence: u32, filter: Filter, pseudonyms: Option<Rc<Pseudonyms>>) -> Self {
        // Room for a million million tracks each.
        let first = u64::from(sequence) << 40;
        Self {
            whole: Whole::new(filter, pseudonyms),
            sequence,
            next_uuid: first + 1,
            host: first,
            processes: HashMap::new(),
            has_clock: false,
        }
    }

    fn packet(&self) -> TracePacket {
        TracePacket {
            trusted_packet_sequence_id: Some(self.sequence),
            ..TracePacket::default()
        }
    }

    /// The packet that says what times are of: the time of day.
    fn clock(&self, wall_ns: i64) -> TracePacket {
        TracePacket {
            clock_snapshot: Some(ClockSnapshot {
                clocks: vec![Clock {
                    clock_id: Some(REALTIME),
                    timestamp: u64::try_from(wall_ns).ok(),
                }],
                primary_trace_clock: Some(REALTIME),
            }),
            ..self.packet()
        }
    }

    /// The packet that makes a track.
    fn track(&self, uuid: u64, name: String, parent: Option<u64>) -> TracePacket {
        TracePacket {
            track_descriptor: Some(TrackDescriptor {
                uuid: Some(uuid),
                name: Some(name),
                parent_uuid: parent,
                child_ordering: Some(CHRONOLOGICAL),
            }),
            ..self.packet()
        }
    }

    fn uuid(&mut self) -> u64 {
        let uuid = self.next_uuid;
        self.next_uuid += 1;
        uuid
    }

    /// The track that the owner's connections stand below.
    fn process(&mut self, t: &Transition, packets: &mut Vec<TracePacket>) -> u64 {
        let pid = t.owner.pid;
        let key = (pid, t.process.map_or(ProcessName::default(), |p| p.name));
        if let Some(uuid) = self.processes.get(&key) {
            return *uuid;
        }
        if self.processes.len() >= MAX_PROCESSES {
            return self.host;
        }
        let name = match (comm(t.process.as_ref()), pid) {
            (_, 0) => "owner unknown".to_owned(),
            (Some(comm), pid) => format!("{comm} (pid {pid})"),
            (None, pid) => format!("pid {pid}"),
        };
        let uuid = self.uuid();
        packets.push(self.track(uuid, name, Some(self.host)));
        self.processes.insert(key, uuid);
        uuid
    }

    fn connection(&mut self, whole: &Whole, life: &Life, out: &mut BytesMut) -> Result<()> {
        let mut packets = Vec::with_capacity(2 + 2 * life.stays.len());
        let process = self.process(&life.last, &mut packets);
        let uuid = self.uuid();
        packets.push(self.track(uuid, name(&life.last), Some(process)));
        let mut slice = |at: Mono, event: TrackEvent| {
            // What no clock was read for keeps the kernel's time.
            let wall_ns = whole.wall_ns(at).and_then(|ns| u64::try_from(ns).ok());
            packets.push(TracePacket {
                timestamp: Some(wall_ns.unwrap_or(at.0)),
                timestamp_clock_id: Some(REALTIME),
                track_event: Some(TrackEvent {
                    track_uuid: Some(uuid),
                    ..event
                }),
                ..self.packet()
            });
        };
        let count = life.stays.len();
        let mut now = Mono(0);
        for (i, stay) in life.stays.iter().enumerate() {
            let mut facts = Vec::new();
            if i == 0 {
                facts.extend(identity(whole, &life.last));
            }
            facts.extend(stay_facts(stay));
            if i + 1 == count {
                facts.extend(ending(life));
            }
            now = now.max(stay.from);
            let begins = TrackEvent {
                r#type: Some(SLICE_BEGIN),
                categories: vec!["tcp".to_owned()],
                name: Some(stay.state.name().to_owned()),
                debug_annotations: facts,
                ..TrackEvent::default()
            };
            slice(now, begins);
            let until = match life.stays.get(i + 1) {
                Some(next) => next.from,
                // A slice without an end goes on to the end of the trace.
                None if matches!(life.outcome, Outcome::Open { .. }) => break,
                None => life.until,
            };
            now = now.max(until);
            let ends = TrackEvent {
                r#type: Some(SLICE_END),
                ..TrackEvent::default()
            };
            slice(now, ends);
        }
        Trace { packet: packets }.encode(out)?;
        Ok(())
    }
}

/// Who talks to whom; the number tells those of the same ends apart.
fn name(t: &Transition) -> String {
    let end = |end: &Endpoint| SocketAddr::new(end.ip(), end.port).to_string();
    let (local, remote) = (end(&t.tuple.local), end(&t.tuple.remote));
    let direction = match t.role {
        Role::ActiveOpen => "->",
        Role::PassiveOpen => "<-",
        Role::Unknown => "--",
    };
    match t.conn {
        Some(conn) => format!("{local} {direction} {remote} #{}", conn.0),
        None => format!("{local} {direction} {remote}"),
    }
}

fn number(name: &str, value: u64) -> DebugAnnotation {
    DebugAnnotation {
        uint_value: Some(value),
        ..fact(name)
    }
}

fn text(name: &str, value: impl Into<String>) -> DebugAnnotation {
    DebugAnnotation {
        string_value: Some(value.into()),
        ..fact(name)
    }
}

fn fact(name: &str) -> DebugAnnotation {
    DebugAnnotation {
        name: Some(name.to_owned()),
        ..DebugAnnotation::default()
    }
}

/// What is known of a connection, with its first state.
fn identity(whole: &Whole, t: &Transition) -> Vec<DebugAnnotation> {
    let mut facts = vec![
        text("role", t.role.name()),
        text("owner_source", t.owner.source.name()),
    ];
    if t.cookie != 0 {
        facts.push(number("cookie", t.cookie));
    }
    if t.netns != 0 {
        facts.push(number("netns", t.netns.into()));
    }
    if let Some(path) = whole.cgroup(t) {
        facts.push(text("cgroup", &*path));
    }
    facts
}

/// What of a stay was not seen.
fn stay_facts(stay: &Stay) -> Option<DebugAnnotation> {
    (!stay.is_entry_known).then(|| DebugAnnotation {
        bool_value: Some(true),
        ..fact("entry_not_seen")
    })
}

/// What became of a connection, with its last state.
fn ending(life: &Life) -> Vec<DebugAnnotation> {
    let first = life.course.closed_first.map(ClosedFirst::name);
    let reason = life.course.end_reason.map(EndReason::name);
    let lost = (life.outcome == Outcome::Lost).then_some("unseen");
    let facts = [
        ("closed_first", first),
        ("end_reason", reason),
        ("end", lost),
    ];
    let known = facts
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    known.map(|(name, value)| text(name, value)).collect()
}

impl Sink for PerfettoSink {
    fn start(&mut self, start: &Start, out: &mut BytesMut) -> Result<()> {
        let host = self.whole.name(&start.host);
        let name = if host.is_empty() {
            "host unknown".to_owned()
        } else {
            host
        };
        let track = TracePacket {
            sequence_flags: Some(SEQUENCE_BEGINS),
            ..self.track(self.host, name, None)
        };
        let packet = vec![track];
        Trace { packet }.encode(out)?;
        Ok(())
    }

    fn update(&mut self, update: &Update, out: &mut BytesMut) -> Result<()> {
        if let Update::Clock { wall_ns, .. } = update
            && !self.has_clock
        {
            self.has_clock = true;
            let packet = vec![self.clock(*wall_ns)];
            Trace { packet }.encode(out)?;
        }
        let Some(life) = self.whole.update(update) else {
            return Ok(());
        };
        let whole = std::mem::take(&mut self.whole);
        let written = self.connection(&whole, &life, out);
        self.whole = whole;
        written
    }

    fn end(
        &mut self,
        engine: &Engine,
        _completeness: &Completeness,
        out: &mut BytesMut,
    ) -> Result<()> {
        let mut whole = std::mem::take(&mut self.whole);
        whole.close(engine, |whole, life| self.connection(whole, &life, out))
    }
}
