//! The bytes between kernel and tool, held fast: a change here is a change of the contract.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::mem::{offset_of, size_of};

use tracer_common::{
    address::{AF_INET, mapped},
    counters::{COUNTERS, Counters},
    filter::{Cidr, FILTER_WORDS, FilterConfig},
    record::{
        Aborted, FLAG_TWIN, HELD_READ, KIND_ABORTED, KIND_INTO_TIMEWAIT, KIND_PROCESS_SEEN,
        KIND_SOCKET_HELD, KIND_STATE_CHANGE, KIND_STATE_CHANGE_V4, KIND_TIMEWAIT_END,
        KIND_TIMEWAIT_REARMED, NotARecord, ProcessFacts, ProcessSeen, Record, STACK_FRAMES,
        SocketHeld, StateChange, StateChangeV4, room,
    },
    timewait::{END_FRAMES, IntoTimewait, OUTCOME_MADE, TimewaitEnd, TimewaitRearmed},
};

/// What the ring buffer hands over: the record, and what was there before behind it.
fn decode(record: &[u8]) -> Result<Record, NotARecord> {
    let room = (record.len() + 8).next_multiple_of(64) - 8;
    let mut entry = record.to_vec();
    entry.resize(room, 0xaa);
    Record::decode(&entry)
}

/// As the kernel programs write it on a little-endian machine.
fn golden_state_change() -> Vec<u8> {
    let mut bytes = vec![1, 1, 5, 7];
    bytes.extend(2u16.to_ne_bytes());
    bytes.extend(8080u16.to_ne_bytes());
    bytes.extend(40_000u16.to_ne_bytes());
    bytes.extend(104u16.to_ne_bytes());
    bytes.extend(4321u32.to_ne_bytes());
    bytes.extend(123_456_789_012u64.to_ne_bytes());
    bytes.extend(0xffff_8881_0000_1000u64.to_ne_bytes());
    bytes.extend(77u64.to_ne_bytes());
    bytes.extend(4_026_531_840u32.to_ne_bytes());
    bytes.extend(6u32.to_ne_bytes());
    bytes.extend(mapped([10, 0, 0, 1]));
    bytes.extend(mapped([10, 0, 0, 2]));
    bytes
}

fn state_change() -> StateChange {
    StateChange {
        kind: KIND_STATE_CHANGE,
        flags: FLAG_TWIN,
        oldstate: 5,
        newstate: 7,
        family: AF_INET,
        sport: 8080,
        dport: 40_000,
        err: 104,
        tgid: 4321,
        ts_ns: 123_456_789_012,
        sk: 0xffff_8881_0000_1000,
        cookie: 77,
        netns: 4_026_531_840,
        unread: 6,
        saddr: mapped([10, 0, 0, 1]),
        daddr: mapped([10, 0, 0, 2]),
    }
}

#[test]
fn a_state_change_reads_back() {
    let bytes = golden_state_change();
    assert_eq!(bytes.len(), size_of::<StateChange>());
    assert_eq!(decode(&bytes), Ok(Record::StateChange(state_change())));
}

#[test]
fn the_short_form_says_the_same() {
    let long = golden_state_change();
    let mut short = vec![KIND_STATE_CHANGE_V4, long[1], long[2], long[3]];
    // Ports and error, the process, then all up to the addresses.
    short.extend(&long[6..10]);
    short.extend(&long[10..12]);
    short.extend([0; 2]);
    short.extend(&long[12..48]);
    short.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    assert_eq!(short.len(), size_of::<StateChangeV4>());
    assert_eq!(decode(&short), decode(&long));
}

#[test]
fn a_process_reads_back() {
    let mut bytes = vec![2, 0, 0, 0];
    bytes.extend(4321u32.to_ne_bytes());
    bytes.extend(99u64.to_ne_bytes());
    bytes.extend(5u64.to_ne_bytes());
    bytes.extend(b"\x1b[31mevil\xff\0\0\0\0\0\0");
    bytes.extend(1000u32.to_ne_bytes());
    bytes.extend([0; 4]);
    let expected = ProcessSeen {
        kind: KIND_PROCESS_SEEN,
        reserved: [0; 3],
        tgid: 4321,
        ts_ns: 99,
        facts: ProcessFacts {
            cgroup: 5,
            comm: *b"\x1b[31mevil\xff\0\0\0\0\0\0",
            uid: 1000,
            reserved: 0,
        },
    };
    assert_eq!(decode(&bytes), Ok(Record::ProcessSeen(expected)));
}

#[test]
fn a_change_into_timewait_reads_back() {
    let mut bytes = golden_state_change();
    bytes[0] = KIND_INTO_TIMEWAIT;
    bytes.extend(0xffff_8881_0000_2000u64.to_ne_bytes());
    bytes.extend([OUTCOME_MADE, 6, 0, 0, 0, 0, 0, 0]);
    let expected = IntoTimewait {
        change: StateChange {
            kind: KIND_INTO_TIMEWAIT,
            ..state_change()
        },
        tw: 0xffff_8881_0000_2000,
        outcome: OUTCOME_MADE,
        substate: 6,
        reserved: 0,
        padding: 0,
    };
    assert_eq!(decode(&bytes), Ok(Record::IntoTimewait(expected)));
}

#[test]
fn an_aborted_socket_reads_back() {
    let mut bytes = golden_state_change();
    bytes[0] = KIND_ABORTED;
    let mut stack = [0; STACK_FRAMES];
    stack[1] = 0xffff_ffff_8100_0000;
    bytes.extend(stack.iter().flat_map(|frame: &u64| frame.to_ne_bytes()));
    let expected = Aborted {
        change: StateChange {
            kind: KIND_ABORTED,
            ..state_change()
        },
        stack,
    };
    assert_eq!(decode(&bytes), Ok(Record::Aborted(expected)));
}

#[test]
fn the_end_of_a_minisock_reads_back() {
    let mut bytes = vec![4, 6];
    for word in [2u16, 80, 40_000] {
        bytes.extend(word.to_ne_bytes());
    }
    for word in [99u64, 0xffff_8881_0000_2000, 77] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(4_026_531_840u32.to_ne_bytes());
    bytes.extend((-3i32).to_ne_bytes());
    bytes.extend(5_740_499u32.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(mapped([10, 0, 0, 1]));
    bytes.extend(mapped([10, 0, 0, 2]));
    let mut stack = [0; END_FRAMES];
    stack[7] = 0xffff_ffff_8100_0000;
    bytes.extend(stack.iter().flat_map(|frame: &u64| frame.to_ne_bytes()));
    let expected = TimewaitEnd {
        kind: KIND_TIMEWAIT_END,
        substate: 6,
        family: AF_INET,
        sport: 80,
        dport: 40_000,
        ts_ns: 99,
        tw: 0xffff_8881_0000_2000,
        cookie: 77,
        netns: 4_026_531_840,
        remaining: -3,
        entry_stamp: 5_740_499,
        reserved: 0,
        saddr: mapped([10, 0, 0, 1]),
        daddr: mapped([10, 0, 0, 2]),
        stack,
    };
    assert_eq!(decode(&bytes), Ok(Record::TimewaitEnd(expected)));
}

#[test]
fn a_timer_set_anew_and_a_holder_read_back() {
    let mut bytes = vec![KIND_TIMEWAIT_REARMED, 6, 0, 0, 0, 0, 0, 0];
    let words = [99u64, 0xffff_8881_0000_2000, 77];
    bytes.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    let rearmed = TimewaitRearmed {
        kind: KIND_TIMEWAIT_REARMED,
        substate: 6,
        reserved: [0; 6],
        ts_ns: 99,
        tw: 0xffff_8881_0000_2000,
        cookie: 77,
    };
    assert_eq!(decode(&bytes), Ok(Record::TimewaitRearmed(rearmed)));
    bytes[..2].copy_from_slice(&[KIND_SOCKET_HELD, HELD_READ]);
    bytes[4..8].copy_from_slice(&4321u32.to_ne_bytes());
    let held = SocketHeld {
        kind: KIND_SOCKET_HELD,
        how: HELD_READ,
        reserved: 0,
        tgid: 4321,
        ts_ns: 99,
        sk: 0xffff_8881_0000_2000,
        cookie: 77,
    };
    assert_eq!(decode(&bytes), Ok(Record::SocketHeld(held)));
}

#[test]
fn a_record_fills_its_cache_lines() {
    assert_eq!(room::<StateChangeV4>(), 64 - 8);
    assert_eq!(room::<StateChange>(), 2 * 64 - 8);
    assert_eq!(room::<IntoTimewait>(), 2 * 64 - 8);
    assert_eq!(room::<TimewaitEnd>(), 3 * 64 - 8);
    assert_eq!(room::<SocketHeld>(), 64 - 8);
}

#[test]
fn every_other_length_and_kind_is_refused() {
    let mut bytes = golden_state_change();
    bytes.resize(room::<StateChange>(), 0);
    assert_eq!(Record::decode(&[]), Err(NotARecord::Empty));
    for length in 1..bytes.len() {
        let refused = NotARecord::WrongLength { kind: 1, length };
        assert_eq!(Record::decode(&bytes[..length]), Err(refused));
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(Record::decode(&longer).is_err());
    for kind in (9..=255).chain([0]) {
        let mut other = bytes.clone();
        other[0] = kind;
        assert_eq!(Record::decode(&other), Err(NotARecord::UnknownKind(kind)));
    }
}

#[test]
fn counters_come_in_the_order_of_the_fields() {
    let mut words = [0; COUNTERS];
    for (i, word) in words.iter_mut().enumerate() {
        *word = i as u64 + 1;
    }
    let counters = Counters::from_words(words);
    assert_eq!(counters.seen, offset_of!(Counters, seen) as u64 / 8 + 1);
    assert_eq!(
        counters.ring_full,
        offset_of!(Counters, ring_full) as u64 / 8 + 1
    );
    assert_eq!(
        counters.twin_caught,
        offset_of!(Counters, twin_caught) as u64 / 8 + 1
    );
    assert_eq!(
        counters.witness_runs,
        offset_of!(Counters, witness_runs) as u64 / 8 + 1
    );
    let mut sum = counters;
    sum.add(&counters);
    assert_eq!(sum.map_full, 2 * counters.map_full);
}

#[test]
fn the_filter_is_laid_out_as_the_kernel_reads_it() {
    let mut filter = FilterConfig {
        criteria: 0x0102_0304,
        laddr_count: 1,
        raddr_count: 2,
        netns_count: 3,
        ..FilterConfig::default()
    };
    filter.netns[15] = 0xaabb_ccdd;
    filter.laddrs[0] = Cidr::new(&mapped([10, 0, 0, 0]), 104);
    filter.raddrs[15].mask[1] = 42;
    filter.lports[1023] = 43;
    filter.rports[0] = 44;
    let words = filter.words();
    assert_eq!(words.len(), FILTER_WORDS);
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
    let u32_at = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!(u32_at(offset_of!(FilterConfig, criteria)), 0x0102_0304);
    assert_eq!(u32_at(offset_of!(FilterConfig, laddr_count)), 1);
    assert_eq!(u32_at(offset_of!(FilterConfig, raddr_count)), 2);
    assert_eq!(u32_at(offset_of!(FilterConfig, netns_count)), 3);
    assert_eq!(u32_at(offset_of!(FilterConfig, netns) + 60), 0xaabb_ccdd);
    let laddr = offset_of!(FilterConfig, laddrs);
    assert_eq!(
        u64_at(laddr + offset_of!(Cidr, network) + 8),
        0x0000_ffff_0a00_0000
    );
    assert_eq!(u64_at(laddr + offset_of!(Cidr, mask)), u64::MAX);
    let raddr = offset_of!(FilterConfig, raddrs) + 15 * size_of::<Cidr>();
    assert_eq!(u64_at(raddr + offset_of!(Cidr, mask) + 8), 42);
    assert_eq!(u64_at(offset_of!(FilterConfig, lports) + 1023 * 8), 43);
    assert_eq!(u64_at(offset_of!(FilterConfig, rports)), 44);
}
