//! The kernel we stand on: release, lockdown, BTF.

use std::{fs, io::ErrorKind, path::Path};

use procfs::sys::kernel::Version;

/// Where the kernel shows its type information.
pub(super) const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// `/sys/kernel/security/lockdown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lockdown {
    /// Not built in, or securityfs is not mounted.
    Unknown,
    /// Off.
    None,
    /// Forbids changing the running kernel; tracing works.
    Integrity,
    /// Forbids reading the kernel's memory: `bpf_probe_read_kernel` is refused.
    Confidentiality,
}

impl Lockdown {
    /// The stable token.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::None => "none",
            Self::Integrity => "integrity",
            Self::Confidentiality => "confidentiality",
        }
    }

    /// From the text of that file: the mode that holds is in brackets.
    pub fn parse(text: &str) -> Self {
        match text.split(['[', ']']).nth(1) {
            Some("none") => Self::None,
            Some("integrity") => Self::Integrity,
            Some("confidentiality") => Self::Confidentiality,
            _ => Self::Unknown,
        }
    }
}

/// What is known of the kernel before anything is loaded.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// See [`Lockdown`].
    pub lockdown: Lockdown,
    /// The kernel's BTF, or why there is none.
    pub btf: Result<Vec<u8>, String>,
    version: Option<Version>,
}

impl Kernel {
    /// Looks.
    pub fn look() -> Self {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
        Self {
            release: release.trim().to_owned(),
            lockdown: Lockdown::parse(&lockdown),
            btf: read_btf(),
            version: Version::current().ok(),
        }
    }

    /// Whether it is certain that this kernel is older than the BPF ring buffer (5.8).
    pub fn is_too_old(&self) -> bool {
        self.version.is_some_and(|v| v < Version::new(5, 8, 0))
    }

    /// Whether a task may be preempted in the middle of a tracepoint's programs (7.0), as far as is known.
    pub(super) fn preempts_tracepoints(&self) -> bool {
        self.version.is_none_or(|v| v >= Version::new(7, 0, 0))
    }
}

fn read_btf() -> Result<Vec<u8>, String> {
    match fs::read(Path::new(BTF_PATH)) {
        Ok(bytes) if bytes.is_empty() => Err(format!("{BTF_PATH} is empty")),
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err("the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)".to_owned())
        }
        Err(error) => Err(format!("reading {BTF_PATH}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracepoints_are_preempted_where_nobody_knows_better() {
        let preempts = |version| {
            Kernel {
                release: String::new(),
                lockdown: Lockdown::Unknown,
                btf: Err(String::new()),
                version,
            }
            .preempts_tracepoints()
        };
        assert!(!preempts(Some(Version::new(6, 19, 14))));
        assert!(preempts(Some(Version::new(7, 0, 0))));
        assert!(preempts(None));
    }

    #[test]
    fn the_chosen_mode_is_in_brackets() {
        assert_eq!(
            Lockdown::parse("[none] integrity confidentiality\n"),
            Lockdown::None
        );
        assert_eq!(
            Lockdown::parse("none integrity [confidentiality]\n"),
            Lockdown::Confidentiality
        );
        assert_eq!(Lockdown::parse(""), Lockdown::Unknown);
    }
}
