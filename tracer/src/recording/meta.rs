//! What a recording stands on: the first block of every file of it, as JSON.

use serde::{Deserialize, Serialize};

/// The name of the META block's shape.
pub const META_SCHEMA: &str = "tcpdwell.recording/1";

/// See the module. What an older tool did not write is empty or `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Meta {
    /// [`META_SCHEMA`].
    pub schema: String,
    /// Which recording: random, the same in all its files; its first eight hex digits are in every
    /// block's header.
    pub recording: String,
    /// Files of the recording before this one.
    pub segment: u64,
    /// Name of the host.
    pub host: String,
    /// `/etc/machine-id`.
    pub machine_id: Option<String>,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: Option<String>,
    /// `uname -r`.
    pub kernel: String,
    /// Version of the tool that wrote it.
    pub tool: String,
    /// As it was typed: the filters are there.
    pub command_line: Vec<String>,
    /// Whether some connections were left out on purpose.
    pub filtered: bool,
    /// Where the events come from.
    pub hooks: Hooks,
    /// Both clocks at the beginning; `Clock` events repeat that.
    pub clock: ClockPair,
}

/// The rung of each ladder that was in use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hooks {
    /// Where state changes come from.
    pub state: String,
    /// Where the lives of TIME_WAIT sockets come from.
    pub time_wait: String,
    /// How older sockets are found.
    pub snapshot: String,
    /// How owners are told.
    pub owner: String,
}

/// What two clocks showed at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClockPair {
    /// `CLOCK_MONOTONIC`, ns.
    pub mono_ns: u64,
    /// `CLOCK_REALTIME`, ns since 1970.
    pub wall_ns: i64,
}

impl Meta {
    /// The number that every block's header carries.
    pub fn tag(&self) -> u32 {
        let digits = self.recording.get(..8);
        digits
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .unwrap_or_default()
    }
}
