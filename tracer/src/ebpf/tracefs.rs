//! tracefs: the `format` file of a tracepoint, and a private mount where there is none.

use std::{collections::HashMap, io, path::Path};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use super::apart::apart;

/// Where it is mounted, here or privately.
const TRACEFS: &str = "/sys/kernel/tracing";
/// Where older set-ups have it.
const TRACEFS_IN_DEBUGFS: &str = "/sys/kernel/debug/tracing";

/// Longest `format` file that is read; the real one has 1.2 kB.
const MAX_FORMAT: usize = 64 * 1024;

/// Where a field of a tracepoint's record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// In bytes from the start of the record.
    pub offset: u32,
    /// In bytes.
    pub size: u32,
}

/// Why a `format` file can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The tracepoint has no such field.
    #[error("the tracepoint has no field '{0}'")]
    NoField(String),
    /// The field is of another size than the programs read.
    #[error("the tracepoint's field '{field}' has {size} bytes, not {expected}")]
    WrongSize {
        /// Its name.
        field: String,
        /// Bytes it has.
        size: u32,
        /// Bytes expected.
        expected: u32,
    },
    /// A line that starts like a field and is none.
    #[error("line {0} of the format file can't be understood")]
    Line(usize),
    /// Longer than any format file is.
    #[error("the format file is too long")]
    TooLong,
}

/// The fields of a `format` file, by name.
///
/// A line is `\tfield:TYPE NAME;\toffset:N;\tsize:N;\tsigned:N;` (kernel/trace/trace_events.c,
/// `f_show`).
pub fn fields(format: &str) -> Result<HashMap<String, Field>, FormatError> {
    if format.len() > MAX_FORMAT {
        return Err(FormatError::TooLong);
    }
    let mut fields = HashMap::new();
    for (number, line) in format.lines().enumerate() {
        let Some(rest) = line.trim_start().strip_prefix("field:") else {
            continue;
        };
        let (name, field) = field(rest).ok_or(FormatError::Line(number + 1))?;
        fields.insert(name, field);
    }
    Ok(fields)
}

fn field(rest: &str) -> Option<(String, Field)> {
    let mut parts = rest.split(';').map(str::trim);
    let declaration = parts.next()?;
    let name = declaration.split_whitespace().next_back()?;
    let name = name.split('[').next()?.trim_start_matches('*');
    let (mut offset, mut size) = (None, None);
    for part in parts {
        if let Some(value) = part.strip_prefix("offset:") {
            offset = value.parse().ok();
        } else if let Some(value) = part.strip_prefix("size:") {
            size = value.parse().ok();
        }
    }
    let field = Field {
        offset: offset?,
        size: size?,
    };
    (!name.is_empty()).then(|| (name.to_owned(), field))
}

/// Whether tracefs is mounted where we (and aya) look for it.
pub fn is_mounted() -> bool {
    [TRACEFS, TRACEFS_IN_DEBUGFS]
        .iter()
        .any(|dir| Path::new(dir).join("events").is_dir())
}

/// Runs `action` where tracefs can be read. Where it is not mounted, that is a thread in a mount
/// namespace of its own, gone with it: nothing is mounted for anybody else.
pub(super) fn with<T: Send>(action: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    if is_mounted() {
        return action();
    }
    apart("tracefs", || {
        mount_privately().context(
            "mounting tracefs in a private mount namespace (needs CAP_SYS_ADMIN; \
             or mount it: mount -t tracefs tracefs /sys/kernel/tracing)",
        )?;
        action()
    })
}

fn mount_privately() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let nothing: Option<&str> = None;
    // First cut the ties: systemd makes every mount shared.
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(nothing, "/", nothing, private, nothing)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("tracefs"), TRACEFS, Some("tracefs"), flags, nothing)?;
    Ok(())
}

/// The `format` file of a tracepoint.
pub(super) fn format(category: &str, name: &str) -> Result<String> {
    let file = format!("events/{category}/{name}/format");
    let paths = [TRACEFS, TRACEFS_IN_DEBUGFS].map(|dir| Path::new(dir).join(&file));
    let path = paths.iter().find(|p| p.exists()).unwrap_or(&paths[0]);
    std::fs::read_to_string(path).with_context(|| format!("reading '{}'", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_a_pointer_an_array_and_a_signed_value() {
        let text = "name: x\n\tfield:const void * skaddr;\toffset:8;\tsize:8;\tsigned:0;\n\
                    \tfield:__u8 saddr_v6[16];\toffset:40;\tsize:16;\tsigned:0;\n\nprint fmt: \"\"";
        let fields = fields(text).unwrap();
        assert_eq!(fields.len(), 2);
        assert_eq!(fields["skaddr"], Field { offset: 8, size: 8 });
        assert_eq!(
            fields["saddr_v6"],
            Field {
                offset: 40,
                size: 16
            }
        );
    }

    #[test]
    fn half_a_line_is_named() {
        let text = "a\n\tfield:int oldstate;\toffset:16;\n";
        assert_eq!(fields(text), Err(FormatError::Line(2)));
        assert_eq!(fields("\tfield:;"), Err(FormatError::Line(1)));
    }
}
