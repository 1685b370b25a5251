//! Recordings: the engine's input as a file. `docs/recording-format.md` beside this crate specifies it.
//!
//! Self-delimiting blocks, each with checksums of its header and of its payload, appended one after
//! another: what is intact can be read, whatever happened to the rest.

mod block;
mod bytes;
mod codes;
mod events;
mod files;
mod flows;
mod header;
mod inspect;
mod ledger;
mod looks;
mod meta;
mod origin;
mod part;
mod rare;
mod reader;
mod recorder;
mod sections;
mod segment;
mod syncer;
mod target;
mod worker;

pub use self::{
    block::{Label, Packer, Unpacker},
    bytes::Corrupt,
    events::{Decoded, EventsEncoder, decode},
    files::{Files, Rotation},
    header::{BlockType, Codec, HEADER, Header, MAGIC, MAX_COUNT, MAX_PAYLOAD, NoHeader, VERSION},
    inspect::{Inspection, inspect, repair},
    ledger::{Ledger, account_since},
    meta::{ClockPair, Hooks, META_SCHEMA, Meta},
    origin::{Recording, by_host},
    part::{Part, parts, recordings},
    reader::{BlockReader, Next, ReadError},
    recorder::{Gauge, Recorder, Summary},
    segment::{BLOCK_EVENTS, Progress, Segment},
    target::Target,
};
