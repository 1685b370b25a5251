//! Files of every format version, with what they say: they are never made anew.

use std::{fs, path::Path};

use tracer::{
    engine::{Engine, Limits},
    filter::{Filter, Gate},
    pipeline::Pipeline,
    recording::{inspect, recordings},
    shutdown::Shutdown,
    sink::{JsonSink, Output, Start},
    source::file::FileSource,
};

/// All that there have been.
const VERSIONS: &[&str] = &["v1"];

#[test]
fn every_version_is_read_as_ever() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for version in VERSIONS {
        let path = directory.join(version).with_extension("tdw");
        if std::env::var_os("TCPDWELL_BLESS").is_some() && !path.exists() {
            fs::write(
                &path,
                crate::made::recording(1, &crate::made::events(300), 100),
            )
            .unwrap();
        }
        let found = inspect(&*fs::read(&path).unwrap(), |_| Ok(())).unwrap();
        assert!(found.is_intact());
        assert_eq!((found.blocks, found.events), (5, 300));
        let mut parts = recordings(&[path]).unwrap();
        let mut source = FileSource::new(parts.remove(0), Filter::default());
        assert_eq!(source.meta().host, "host-1");
        let told = tempfile::NamedTempFile::new().unwrap();
        let pipeline = Pipeline {
            source: &mut source,
            engine: Engine::new(Limits::default()),
            gate: Gate::new(Filter::default()),
            sink: Box::new(JsonSink::default()),
            output: Output::open(Some(told.path())).unwrap(),
            stop_after: u64::MAX,
            tap: None,
        };
        runtime.block_on(async {
            let mut shutdown = Shutdown::new(None).unwrap();
            let start = Start::default();
            pipeline.run(&start, &mut shutdown).await.unwrap();
        });
        let said = fs::read_to_string(told.path()).unwrap();
        let expected = directory.join(version).with_extension("ndjson");
        if std::env::var_os("TCPDWELL_BLESS").is_some() {
            fs::write(&expected, &said).unwrap();
        }
        assert_eq!(said, fs::read_to_string(&expected).unwrap(), "{version}");
    }
}
