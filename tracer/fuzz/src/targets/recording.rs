//! Recordings: what is wrong in them, behind checksums that are right.

use std::{io::Write as _, sync::LazyLock, time::Duration};

use tempfile::NamedTempFile;
use tracer::{
    engine::{Engine, EventBody, Limits},
    filter::{Filter, Gate, Window},
    merge::{Lane, Merge},
    pipeline::Pipeline,
    recording::{
        BlockReader, BlockType, Codec, HEADER, Header, MAGIC, Meta, Next, Progress, Recording,
        Segment, by_host, decode, inspect, recordings, repair,
    },
    shutdown::Shutdown,
    sink::{
        HistKey, HistOptions, HistSink, MergedSink, Output, RenderFindings, ReportSink,
        ReportsSink, Start,
    },
    source::file::FileSource,
};

use super::{Target, sinks::sinks};

/// The stored recording of the first format.
const GOLDEN: &[u8] = include_bytes!("../../../tests/recordings/v1.tdw");

/// A file's blocks: header, and what it holds.
fn blocks(file: &[u8]) -> Vec<(Header, Vec<u8>)> {
    let mut reader = BlockReader::new(file, 0).unwrap();
    let mut blocks = Vec::new();
    while let Next::Block { header, .. } = reader.read().unwrap() {
        blocks.push((header, reader.payload().to_vec()));
    }
    blocks
}

/// The golden one's events as another recording. Losses are left out: each is told on stderr.
fn like_golden(id: u32) -> Vec<u8> {
    let mut events = Vec::new();
    for (header, payload) in blocks(GOLDEN) {
        if header.kind == BlockType::Events {
            decode(&payload, header.count, &mut events).unwrap();
        }
    }
    events.retain(|event| !matches!(event.body, EventBody::Lost(_)));
    let meta = Meta {
        recording: format!("{id:08x}-0000-4000-8000-000000000000"),
        host: format!("host-{id}"),
        ..Meta::default()
    };
    let mut segment = Segment::begin(Vec::new(), 1, &meta, Progress::default()).unwrap();
    for block in events.chunks(50) {
        for event in block {
            segment.push(event).unwrap();
        }
        segment.close_block().unwrap();
    }
    segment.end().unwrap().0
}

/// The same, nothing packed: an edit reaches what is in it.
fn unpacked() -> Vec<u8> {
    let mut file = Vec::new();
    for (header, payload) in blocks(&like_golden(1)) {
        let header = Header {
            codec: Some(Codec::Raw),
            ..header
        };
        file.extend(header.encode());
        file.extend(payload);
    }
    restamp(&mut file);
    file
}

/// Makes lengths and checksums right, from one magic number to the next.
fn restamp(file: &mut [u8]) {
    let starts = |file: &[u8], from: usize| {
        let rest = file.get(from..).unwrap_or_default();
        let found = rest.windows(MAGIC.len()).position(|w| w == MAGIC);
        found.map(|at| from + at)
    };
    let mut at = starts(file, 0);
    while let Some(start) = at {
        at = starts(file, start + HEADER);
        let end = at.unwrap_or(file.len());
        let Some(block) = file.get_mut(start..end).filter(|b| b.len() >= HEADER) else {
            continue;
        };
        let (head, payload) = block.split_at_mut(HEADER);
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        // raw_len, comp_len, payload_crc, and the checksum of all before it.
        head[20..24].copy_from_slice(&length);
        head[24..28].copy_from_slice(&length);
        head[28..32].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
        let crc = crc32c::crc32c(&head[..HEADER - 4]);
        head[HEADER - 4..].copy_from_slice(&crc.to_le_bytes());
    }
}

pub const PAYLOADS: Target = Target {
    name: "payload",
    seeds: || {
        let blocks = blocks(GOLDEN).into_iter();
        blocks.map(|(_, payload)| payload).collect()
    },
    cases: 50_000,
    run: payload,
};

fn payload(bytes: &[u8]) {
    for count in [0, 3, 100, 1_000_000] {
        let mut events = Vec::new();
        if decode(bytes, count, &mut events).is_ok() {
            assert!(
                events.len() <= bytes.len(),
                "an event takes a byte at least"
            );
        }
    }
}

pub const FILES: Target = Target {
    name: "file",
    seeds: || vec![GOLDEN.to_vec(), unpacked()],
    cases: 6_000,
    run: file,
};

fn file(bytes: &[u8]) {
    let Ok(found) = inspect(bytes, |_| Ok(())) else {
        return;
    };
    let mut mended = Vec::new();
    if repair(bytes, &mut mended).is_ok() {
        let again = inspect(mended.as_slice(), |_| Ok(())).unwrap();
        assert_eq!(again.events, found.events, "what is intact stays");
    }
}

fn hist() -> HistOptions {
    HistOptions {
        interval: Some(Duration::from_secs(1)),
        by: Some(HistKey::Process),
        open: true,
        ..HistOptions::default()
    }
}

/// A recording with wrong contents is read to its end, and every view of it is rendered.
pub const CONTENTS: Target = Target {
    name: "recording",
    seeds: || vec![unpacked()],
    cases: 500,
    run: contents,
};

/// Another host's, to be merged with.
static OTHER: LazyLock<NamedTempFile> = LazyLock::new(|| kept(&like_golden(2)));

fn kept(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn contents(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    restamp(&mut bytes);
    let file = kept(&bytes);
    let path = file.path().to_owned();
    let Ok(found) = recordings(std::slice::from_ref(&path)) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut shutdown = Shutdown::new(None).unwrap();
        // Not among the others: made-up events leave too little in it to compare.
        let findings = ReportSink::new(Filter::default(), ReportSink::FINDINGS_TEXT);
        for sink in sinks(hist()).into_iter().chain([Box::new(findings) as _]) {
            let mut source = FileSource::new(found[0].clone(), Filter::default());
            let pipeline = Pipeline {
                source: &mut source,
                engine: Engine::new(Limits::default()),
                gate: Gate::new(Filter::default()),
                sink,
                output: Output::nowhere(),
                stop_after: u64::MAX,
                tap: None,
            };
            let start = Start::default();
            pipeline.run(&start, &mut shutdown).await.unwrap();
        }
        // And with another, as several.
        let both = recordings(&[path, OTHER.path().to_owned()]).unwrap();
        merged(by_host(both), &mut shutdown).await;
    });
}

async fn merged(both: Vec<Recording>, shutdown: &mut Shutdown) {
    let hosts: Vec<usize> = both.iter().map(|r| r.host_number).collect();
    let findings: RenderFindings = ReportsSink::FINDINGS_JSON;
    let filter = Filter::default();
    let sinks: [Box<dyn MergedSink>; 3] = [
        Box::new(HistSink::merged(hist(), both.len())),
        Box::new(ReportsSink::report(
            filter.clone(),
            hosts.clone(),
            ReportSink::HTML,
        )),
        Box::new(ReportsSink::findings(filter, hosts, findings)),
    ];
    for sink in sinks {
        let lanes = both.iter().map(|recording| Lane {
            source: FileSource::new(recording.parts.clone(), Filter::default()),
            start: Start::default(),
            began_ns: recording.began_ns,
        });
        let merge = Merge {
            lanes: lanes.collect(),
            filter: Filter::default(),
            window: Window::default(),
            one_by_one: false,
            sink,
            output: Output::nowhere(),
            stop_after: u64::MAX,
        };
        merge.run(shutdown, |_| {}).await.unwrap();
    }
}
