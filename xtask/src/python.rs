//! Python with the packages that exports are read with in tests: an environment of its own in the user's
//! cache folder, made once for each list of packages.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::{apt, paths, process};

/// The packages, under the repository.
const REQUIREMENTS: &str = "tracer/tests/python/requirements.txt";

const IMPORTS: &str =
    "import duckdb, polars; from perfetto.protos.perfetto.trace import perfetto_trace_pb2";

/// The interpreter; why there is none is for a person to read.
pub(crate) fn interpreter(repo: &Path) -> Result<PathBuf> {
    let requirements = repo.join(REQUIREMENTS);
    let list = std::fs::read_to_string(&requirements)
        .with_context(|| format!("read {}", requirements.display()))?;
    let mut hash = format!("{:x}", Sha256::digest(&list));
    hash.truncate(8);
    let place = paths::cache(&format!("python-{hash}"))?;
    let python = place.join("bin/python");
    if python.is_file() {
        return Ok(python);
    }
    eprintln!("xtask: getting the Python packages that exports are read with");
    // Made beside it and moved there when it is complete: another may be doing the same.
    let parent = paths::cache("")?;
    std::fs::create_dir_all(&parent).with_context(|| format!("make {}", parent.display()))?;
    let making = tempfile::Builder::new()
        .prefix("python-making-")
        .tempdir_in(&parent)
        .with_context(|| format!("make a folder in {}", parent.display()))?;
    make(making.path())?;
    let mut install = Command::new(making.path().join("bin/python"));
    install.args(["-m", "pip", "--disable-pip-version-check", "install"]);
    install.args(["--quiet", "--retries", "1", "--timeout", "20"]);
    install.args(["--only-binary", ":all:", "--requirement"]);
    quietly(install.arg(&requirements)).context("the packages are not to be had")?;
    let mut try_them = Command::new(making.path().join("bin/python"));
    quietly(try_them.args(["-c", IMPORTS])).context("the packages don't work here")?;
    if let Err(error) = std::fs::rename(making.path(), &place)
        && !python.is_file()
    {
        return Err(error).with_context(|| format!("move it to {}", place.display()));
    }
    Ok(python)
}

/// An empty environment.
fn make(place: &Path) -> Result<()> {
    let mut has_installed = false;
    loop {
        let made = match process::find_program("python3") {
            Some(python) => {
                let mut make = Command::new(python);
                quietly(make.args(["-m", "venv", "--clear"]).arg(place))
            }
            None => Err(anyhow::anyhow!("there is no python3")),
        };
        // Debian has the module that makes them in a package of its own.
        if made.is_ok() || has_installed || !apt::can_install() {
            return made;
        }
        apt::install(&["python3", "python3-venv"])?;
        has_installed = true;
    }
}

/// Runs it, and passes on what it complains of only if it fails.
fn quietly(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stderr, output.stdout].concat();
    let said = String::from_utf8_lossy(&said);
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    bail!("{}", last.unwrap_or("it failed without a word").trim())
}
