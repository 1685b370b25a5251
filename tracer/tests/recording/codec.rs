//! What goes into a block comes out of it, in order; what can't be one is refused.

use proptest::prelude::*;
use tracer::{
    engine::{Account, Event, EventBody, Mono, Sysctl},
    recording::{
        BlockType, Decoded, EventsEncoder, HEADER, Header, Label, Ledger, Packer, Unpacker, decode,
    },
};

use crate::any;

fn payload(events: &[Event], ledger: &Ledger) -> Vec<u8> {
    let mut encoder = EventsEncoder::default();
    let mut payload = Vec::new();
    // What an encoder wrote before must not show.
    for event in events {
        encoder.push(event);
    }
    encoder.finish(&Ledger::default(), &mut payload);
    payload.clear();
    for event in events {
        encoder.push(event);
    }
    encoder.finish(ledger, &mut payload);
    payload
}

fn count(events: &[Event]) -> u32 {
    u32::try_from(events.len()).unwrap()
}

proptest! {
    #[test]
    fn events_come_back_in_order(events in any::events(), before: u64) {
        let ledger = Ledger {
            events_before: before,
            account: Some(Account { skipped: before, ..Account::default() }),
        };
        let payload = payload(&events, &ledger);
        let mut read = Vec::new();
        let decoded = decode(&payload, count(&events), &mut read);
        prop_assert_eq!(decoded, Ok(Decoded { ledger, unknown: 0 }));
        prop_assert_eq!(read, events);
    }

    #[test]
    fn no_payload_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), count in 0..100u32) {
        let mut events = Vec::new();
        if decode(&bytes, count, &mut events).is_err() {
            prop_assert!(events.is_empty());
        }
    }

    #[test]
    fn no_mangled_payload_makes_it_panic(
        events in any::events(),
        at in any::<prop::sample::Index>(),
        to in any::<u8>(),
    ) {
        let mut bytes = payload(&events, &Ledger::default());
        prop_assume!(!bytes.is_empty());
        let at = at.index(bytes.len());
        bytes[at] = to;
        let mut read = Vec::new();
        let _ = decode(&bytes, count(&events), &mut read);
        prop_assert!(read.len() <= events.len());
    }

    #[test]
    fn blocks_come_back(payload in prop::collection::vec(any::<u8>(), 0..3000), seq: u64) {
        let label = Label {
            kind: BlockType::Events,
            seq,
            count: 3,
            span: (seq, seq),
            lost_before: 0,
            recording: 1,
        };
        let mut block = Vec::new();
        Packer::new(1).unwrap().pack(&label, &payload, &mut block).unwrap();
        let (header, packed) = block.split_first_chunk::<HEADER>().unwrap();
        let header = Header::decode(header).unwrap();
        prop_assert_eq!(header.seq, seq);
        let mut unpacked = Vec::new();
        let mut unpacker = Unpacker::new().unwrap();
        unpacker.unpack(&header, packed, &mut unpacked).unwrap();
        prop_assert_eq!(unpacked, payload);
    }
}

#[test]
fn a_text_is_no_longer_than_the_kernel_makes_them() {
    let setting = |length: usize| Event {
        at: Mono(1),
        body: EventBody::Sysctl(Sysctl {
            netns: 0,
            name: "net.ipv4.ip_local_reserved_ports".into(),
            value: "1".repeat(length).into(),
        }),
    };
    let read = |length| {
        let mut events = Vec::new();
        let payload = payload(&[setting(length)], &Ledger::default());
        decode(&payload, 1, &mut events).map(|_| events.len())
    };
    assert_eq!(read(4096).ok(), Some(1));
    assert!(read(4097).is_err());
}

#[test]
fn an_event_of_a_newer_tool_is_left_out() {
    // Sections 2 (kinds: rare), 3 (times: 5), 13 (rare: number 99, two bytes).
    let payload = [2, 1, 4, 3, 1, 10, 13, 4, 99, 2, 7, 7];
    let mut events = Vec::new();
    let decoded = decode(&payload, 1, &mut events).unwrap();
    assert_eq!((decoded.unknown, events.len()), (1, 0));
}
