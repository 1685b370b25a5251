//! Makes the names in the object independent of where it is built. Cargo tells rustc apart crates of one name by
//! a hash that covers the absolute path of local crates, the core library among them; it ends up in every
//! mangled symbol and decides the order of functions. So xtask puts itself between the two, as rustc's wrapper,
//! and gives each crate an identity made of its name and version alone.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context, Result};

/// Set for the wrapper only: how xtask knows that it was started as one.
const MARK: &str = "TCPDWELL_XTASK_WRAPS_RUSTC";

const METADATA: &[u8] = b"metadata=";

/// Makes `cargo` call rustc through this program.
pub(super) fn stabilise(cargo: &mut Command) -> Result<()> {
    let itself = std::env::current_exe().context("find the path of xtask itself")?;
    cargo.env("RUSTC_WRAPPER", itself).env(MARK, "1");
    Ok(())
}

/// Becomes rustc when started as its wrapper; otherwise returns None at once.
pub(crate) fn wrap_rustc() -> Option<anyhow::Error> {
    std::env::var_os(MARK)?;
    let variable = |name| std::env::var(name).unwrap_or_default();
    let identity = format!(
        "{}@{}",
        variable("CARGO_PKG_NAME"),
        variable("CARGO_PKG_VERSION")
    );
    let mut arguments = std::env::args_os().skip(1);
    let rustc = arguments.next()?;
    let arguments = arguments.map(|argument| with_identity(argument, &identity));
    let error = Command::new(&rustc).args(arguments).exec();
    Some(anyhow::Error::new(error).context(format!("start {}", rustc.display())))
}

/// Cargo writes `-C metadata=HASH`; the hash in file names is another argument and stays.
fn with_identity(argument: OsString, identity: &str) -> OsString {
    if argument.as_encoded_bytes().starts_with(METADATA) {
        let mut stable = OsString::from("metadata=");
        stable.push(OsStr::new(identity));
        return stable;
    }
    argument
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_crate_identity_is_replaced() {
        let replaced = |argument: &str| with_identity(argument.into(), "a@1");
        assert_eq!(replaced("metadata=0123abcd"), "metadata=a@1");
        assert_eq!(
            replaced("extra-filename=-0123abcd"),
            "extra-filename=-0123abcd"
        );
        assert_eq!(
            replaced("--emit=dep-info,metadata,link"),
            "--emit=dep-info,metadata,link"
        );
    }
}
