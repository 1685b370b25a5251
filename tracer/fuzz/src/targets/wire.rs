//! What comes out of the ring buffer: decoded, and told to an engine.

use tracer::{
    decode::Decoder,
    engine::{Engine, Limits},
};
use tracer_common::record::{
    Aborted, KIND_ABORTED, KIND_INTO_TIMEWAIT, KIND_PROCESS_SEEN, KIND_SOCKET_HELD,
    KIND_STATE_CHANGE, KIND_STATE_CHANGE_V4, KIND_TIMEWAIT_END, KIND_TIMEWAIT_REARMED, ProcessSeen,
    SocketHeld, StateChange, StateChangeV4, room,
};
use tracer_common::timewait::{IntoTimewait, TimewaitEnd, TimewaitRearmed};

use super::Target;

pub const RECORDS: Target = Target {
    name: "wire",
    seeds,
    cases: 50_000,
    run,
};

/// Kinds of records, and how long each is.
const KINDS: [(u8, usize); 8] = [
    (KIND_STATE_CHANGE, room::<StateChange>()),
    (KIND_PROCESS_SEEN, room::<ProcessSeen>()),
    (KIND_INTO_TIMEWAIT, room::<IntoTimewait>()),
    (KIND_TIMEWAIT_END, room::<TimewaitEnd>()),
    (KIND_TIMEWAIT_REARMED, room::<TimewaitRearmed>()),
    (KIND_SOCKET_HELD, room::<SocketHeld>()),
    (KIND_STATE_CHANGE_V4, room::<StateChangeV4>()),
    (KIND_ABORTED, room::<Aborted>()),
];

/// Two of each in a row: the second meets what the first has led to.
fn seeds() -> Vec<Vec<u8>> {
    let seeds = KINDS.map(|(kind, size)| {
        let mut one = vec![0; size];
        one[0] = kind;
        [one.clone(), one].concat()
    });
    seeds.to_vec()
}

fn run(bytes: &[u8]) {
    for sampled in [false, true] {
        let decoder = Decoder {
            hz: Some(250),
            sampled,
            ..Decoder::default()
        };
        let mut engine = Engine::new(Limits {
            connections: 64,
            processes: 64,
        });
        let mut updates = Vec::new();
        let kind = bytes.first().copied().unwrap_or(0);
        let size = KINDS.iter().find(|(k, _)| *k == kind);
        for record in bytes.chunks(size.map_or(64, |(_, size)| *size)) {
            if let Ok(event) = decoder.event(record) {
                engine.handle_event(&event, &mut updates);
            }
        }
        engine.finish(&mut updates);
        let all = engine.stats().state(tracer::engine::TcpState::Close);
        assert!(all.entered <= 2 * bytes.len() as u64);
    }
}
