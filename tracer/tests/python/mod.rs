//! Asking the programs that exports are made for: Python packages, which `cargo xtask test` sets up.

use std::{env, ffi::OsStr, path::Path, process::Command};

/// Runs a script that lies beside this file; what it says of what it found. `None`: there is no Python
/// with the packages (said already).
pub(crate) fn run<S: AsRef<OsStr>>(
    test: &str,
    script: &str,
    arguments: impl IntoIterator<Item = S>,
) -> Option<String> {
    let Some(python) = env::var_os("TCPDWELL_PYTHON") else {
        eprintln!("skipped: {test}: needs Python packages: run it by `cargo xtask test`");
        return None;
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python");
    let mut command = Command::new(python);
    command
        .arg("-B")
        .arg(path.join(script))
        .args(arguments)
        .env("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "upb");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{test}: {script}: {said}{why}");
    eprintln!("{test}: {said}");
    Some(said.into_owned())
}

/// The queries that are shipped.
#[cfg(feature = "parquet")]
pub(crate) fn sql() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sql")
}
