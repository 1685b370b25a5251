//! Whatever happens to a file: no panic, nothing wrong is taken for right, all that is intact is read.

use std::{collections::BTreeMap, fs, io::Write as _, process::Command};

use tempfile::NamedTempFile;
use tracer::{
    engine::{Event, EventBody, LostCount},
    filter::Filter,
    recording::{
        BlockReader, BlockType, Header, Next, Progress, Segment, decode, inspect, recordings,
        repair,
    },
    source::{EventSource as _, file::FileSource},
};

use crate::made::{self, Dice};

const EVENTS: usize = 240;
const PER_BLOCK: usize = 20;

/// What a file holds: intact blocks of events by number.
fn blocks(file: &[u8]) -> BTreeMap<(u32, u64), Vec<Event>> {
    let mut reader = BlockReader::new(file, 0).unwrap();
    let mut blocks = BTreeMap::new();
    loop {
        match reader.read() {
            Ok(Next::Block { header, .. }) if header.kind == BlockType::Events => {
                let mut events = Vec::new();
                if decode(reader.payload(), header.count, &mut events).is_ok() {
                    blocks.insert((header.recording, header.seq), events);
                }
            }
            Ok(Next::End) | Err(_) => return blocks,
            Ok(_) => {}
        }
    }
}

/// Where each block begins and ends.
fn places(file: &[u8]) -> Vec<(usize, usize, Header)> {
    let mut reader = BlockReader::new(file, 0).unwrap();
    let mut places = Vec::new();
    while let Next::Block { offset, header } = reader.read().unwrap() {
        let offset = usize::try_from(offset).unwrap();
        places.push((offset, offset + reader.block().len(), header));
    }
    places
}

fn made() -> Vec<u8> {
    made::recording(1, &made::events(EVENTS), PER_BLOCK)
}

#[test]
fn cut_at_every_byte() {
    let whole = made();
    let all = blocks(&whole);
    assert_eq!(all.len(), EVENTS / PER_BLOCK);
    let places = places(&whole);
    for cut in 0..whole.len() {
        let read = blocks(&whole[..cut]);
        let ended = |(_, end, header): &&(usize, usize, Header)| {
            *end <= cut && header.kind == BlockType::Events
        };
        assert_eq!(read.len(), places.iter().filter(ended).count(), "{cut}");
        assert!(
            read.iter().all(|(seq, events)| all[seq] == *events),
            "{cut}"
        );
    }
}

#[test]
fn ten_thousand_flipped_bits() {
    let whole = made();
    let all = blocks(&whole);
    let mut dice = Dice(9);
    for _ in 0..10_000 {
        let bit = dice.below(whole.len() * 8);
        let mut file = whole.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        let read = blocks(&file);
        // One block is hit, whichever it is, and no other.
        assert!(
            read.len() + 1 >= all.len(),
            "bit {bit}: {} left",
            read.len()
        );
        assert!(
            read.iter().all(|(seq, events)| all[seq] == *events),
            "{bit}"
        );
        let found = inspect(&file[..], |_| Ok(())).unwrap();
        assert!(
            found.damaged_bytes > 0 && !found.is_intact(),
            "bit {bit} was not noticed"
        );
    }
}

#[test]
fn zeros_and_noise_behind_are_told() {
    let whole = made();
    let mut dice = Dice(3);
    let noise: Vec<u8> = (0..70_000).map(|_| dice.byte()).collect();
    for tail in [vec![0; 65_536], noise] {
        let file = [&whole[..], &tail].concat();
        assert_eq!(blocks(&file), blocks(&whole));
        let found = inspect(&file[..], |_| Ok(())).unwrap();
        assert_eq!(found.damaged_bytes, tail.len() as u64);
    }
}

/// All that a source tells of a file, and whether it finds it damaged.
fn read(file: &[u8]) -> (Vec<Event>, bool) {
    let mut temporary = NamedTempFile::new().unwrap();
    temporary.write_all(file).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut events = Vec::new();
    let mut is_damaged = false;
    for parts in recordings(&[temporary.path().to_owned()]).unwrap() {
        let mut source = FileSource::new(parts, Filter::default());
        while runtime
            .block_on(source.next_batch(None, &mut events))
            .unwrap()
        {}
        is_damaged |= source.is_damaged();
    }
    (events, is_damaged)
}

fn told_lost(events: &[Event]) -> u64 {
    let lost = events.iter().filter_map(|event| match event.body {
        EventBody::Lost(lost) => Some(lost),
        _ => None,
    });
    // What was recorded may say anything; the source speaks of recordings only.
    let own = |lost: &LostCount| {
        let recording = lost.recording;
        *lost
            == LostCount {
                recording,
                ..LostCount::default()
            }
    };
    lost.filter(own).map(|lost| lost.recording).sum()
}

#[test]
fn an_intact_file_gives_back_every_event() {
    let (events, is_damaged) = read(&made());
    assert_eq!(events, made::events(EVENTS));
    assert!(!is_damaged);
}

#[test]
fn what_is_missing_in_the_middle_is_counted() {
    let whole = made();
    let places = places(&whole);
    let (from, to) = (places[4].0, places[6].1);
    let file = [&whole[..from], &whole[to..]].concat();
    let (events, is_damaged) = read(&file);
    assert!(is_damaged);
    assert_eq!(told_lost(&events), 3 * PER_BLOCK as u64);
    let before = 3 * PER_BLOCK;
    let all = made::events(EVENTS);
    assert_eq!(events[..before], all[..before]);
    assert_eq!(events[before + 1..], all[before + 3 * PER_BLOCK..]);
    let found = inspect(&file[..], |_| Ok(())).unwrap();
    assert_eq!((found.damaged_bytes, found.missing_blocks), (0, 3));
}

#[test]
fn what_a_slow_disk_cost_is_told_where_it_is_missing() {
    let events = made::events(40);
    let mut segment = Segment::begin(Vec::new(), 1, &made::meta(1), Progress::default()).unwrap();
    for event in &events[..15] {
        segment.push(event).unwrap();
    }
    segment.drop_events(7).unwrap();
    for event in &events[22..] {
        segment.push(event).unwrap();
    }
    let (file, progress) = segment.end().unwrap();
    assert_eq!((progress.events, progress.dropped), (40, 7));
    let (told, is_damaged) = read(&file);
    assert_eq!(told[..15], events[..15]);
    assert!(matches!(told[15].body, EventBody::Lost(lost) if lost.recording == 7));
    assert_eq!(told[16..], events[22..]);
    assert!(!is_damaged, "nothing happened to the file");
    let found = inspect(&file[..], |_| Ok(())).unwrap();
    assert_eq!((found.dropped, found.events), (7, 33));
    assert!(found.is_intact());
}

#[test]
fn a_missing_file_is_told_as_what_it_had() {
    let events = made::events(120);
    let directory = tempfile::tempdir().unwrap();
    let mut meta = made::meta(1);
    let mut progress = Progress::default();
    let mut paths = Vec::new();
    for part in events.chunks(40) {
        let mut segment = Segment::begin(Vec::new(), 1, &meta, progress).unwrap();
        for event in part {
            segment.push(event).unwrap();
        }
        let (file, after) = segment.end().unwrap();
        progress = after;
        meta.segment += 1;
        paths.push(directory.path().join(format!("{}.tdw", meta.segment)));
        fs::write(paths.last().unwrap(), file).unwrap();
    }
    let missing = inspect(&*fs::read(&paths[1]).unwrap(), |_| Ok(())).unwrap();
    let read = Command::new(env!("CARGO_BIN_EXE_tcpdwell"))
        .args(["trace", "--from"])
        .args([&paths[0], &paths[2]])
        .output()
        .unwrap();
    let said = String::from_utf8(read.stderr).unwrap();
    let gap = format!(": {} block(s) with 40 event(s), of ", missing.blocks);
    assert!(missing.blocks > 0 && said.contains(&gap), "{gap}: {said}");
}

#[test]
fn two_glued_together_are_two() {
    let (first, second) = (made::events(60), made::events(EVENTS));
    let one = made::recording(1, &first, PER_BLOCK);
    let file = [&one[..], &made::recording(2, &second, PER_BLOCK)].concat();
    assert_eq!(blocks(&file).len(), 3 + EVENTS / PER_BLOCK);
    let (events, is_damaged) = read(&file);
    assert_eq!(events, [first.clone(), second.clone()].concat());
    assert!(!is_damaged);
    assert!(inspect(&file[..], |_| Ok(())).unwrap().is_intact());
    // Without the second's first block they are two all the same.
    let meta = &places(&file)[5];
    let file = [&file[..meta.0], &file[meta.1..]].concat();
    let (events, is_damaged) = read(&file);
    assert_eq!(events, [first, second].concat());
    assert!(is_damaged);
}

#[test]
fn the_same_twice_is_read_once() {
    let whole = made();
    let (events, is_damaged) = read(&[&whole[..], &whole].concat());
    assert_eq!(events, made::events(EVENTS));
    assert!(is_damaged);
}

#[test]
fn a_newer_version_is_refused_and_a_newer_block_skipped() {
    let whole = made();
    let places = places(&whole);
    let mangled = |change: fn(&mut Header)| {
        let (start, _, mut header) = places[3];
        change(&mut header);
        let mut file = whole.clone();
        file[start..start + tracer::recording::HEADER].copy_from_slice(&header.encode());
        file
    };
    let newer = mangled(|header| header.version = 2);
    let error = inspect(&newer[..], |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("version 2"), "{error}");
    for file in [
        mangled(|header| header.kind = BlockType::Other(77)),
        mangled(|header| header.flags = 1),
    ] {
        assert_eq!(blocks(&file).len() + 1, blocks(&whole).len());
        assert!(inspect(&file[..], |_| Ok(())).unwrap().is_intact());
    }
}

#[test]
fn repair_keeps_what_is_intact() {
    let whole = made();
    let places = places(&whole);
    let mut file = whole.clone();
    file[places[2].0 + 80] ^= 4;
    file.extend([1; 99]);
    let mut repaired = Vec::new();
    let found = repair(&file[..], &mut repaired).unwrap();
    let hit = (places[2].1 - places[2].0) as u64;
    assert_eq!(found.damaged_bytes, hit + 99);
    assert_eq!(blocks(&repaired), blocks(&file));
    let found = inspect(&repaired[..], |_| Ok(())).unwrap();
    assert_eq!((found.damaged_bytes, found.missing_blocks), (0, 1));
    assert!(repair(&[0; 500][..], &mut Vec::new()).is_err());
}

#[test]
fn no_file_of_noise_makes_it_panic() {
    let mut dice = Dice(5);
    let whole = made();
    for _ in 0..200 {
        let mut file = whole.clone();
        for _ in 0..40 {
            let at = dice.below(file.len());
            file[at] = dice.byte();
        }
        let all = blocks(&whole);
        assert!(
            blocks(&file)
                .iter()
                .all(|(seq, events)| all[seq] == *events)
        );
    }
    assert!(fs::read("/dev/null").is_ok_and(|nothing| blocks(&nothing).is_empty()));
}
