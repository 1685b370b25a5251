//! `cargo xtask fuzz`: looks for inputs that a parser can't bear, led by what code they reach.
//!
//! The targets are those of `tracer/fuzz`, which cargo-fuzz builds, too. Here stable Rust does, by the flags
//! that cargo-fuzz gives without a sanitizer: the tool's own code is safe Rust, so what is looked for is
//! panics, overflows, loops without an end and too much memory, and libFuzzer sees all of these.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{apt, cargo, paths, process};

/// libFuzzer is C++, and comes as source.
pub(crate) const NEEDED: [(&str, &str); 1] = [("c++", "g++")];

/// Coverage as libFuzzer wants it, of all that is built for the target.
const FLAGS: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg",
    "fuzzing",
];

/// A target is told by it to write its seeds (see `tracer/fuzz/src/lib.rs`).
const SEEDS: &str = "TCPDWELL_FUZZ_SEEDS";

/// One input takes longer only in a loop without an end, seconds.
const LONGEST: u32 = 20;
/// What all may take, MiB.
const MEMORY: u32 = 2048;
/// What the stored corpus of a target may take, bytes.
const STORED: u64 = 64 * 1024;

#[derive(Debug, Args)]
pub(crate) struct FuzzArgs {
    /// Only these targets (default: all of them)
    #[arg(value_name = "TARGET")]
    pub(crate) targets: Vec<String>,
    /// How long each is looked at
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub(crate) seconds: u32,
    /// Put what reaches more code into the stored corpus, tracer/fuzz/corpus
    #[arg(long)]
    pub(crate) keep: bool,
}

pub(crate) fn execute(args: &FuzzArgs) -> Result<ExitCode> {
    apt::ensure_programs(&NEEDED)?;
    let repo = paths::repository()?;
    let package = repo.join("tracer/fuzz");
    let names = chosen(&targets(&package)?, &args.targets)?;
    let place = paths::target_dir(&repo).join("fuzz");
    let messages = build(&package, &place)?;
    let mut failed = Vec::new();
    for name in &names {
        let binary = cargo::executable(&messages, name)
            .with_context(|| format!("cargo built no executable named {name}"))?;
        let target = Target::prepare(name, binary, &package, &place)?;
        match target.look(args.seconds)? {
            Ok(summary) => println!("{name}: {summary}"),
            Err(why) => {
                println!("{name}: {why}");
                failed.push(name.as_str());
            }
        }
        if args.keep {
            target.keep()?;
        }
    }
    if !failed.is_empty() {
        bail!(
            "inputs were found that can't be borne: {}",
            failed.join(", ")
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The targets that there are, by the package's binaries.
fn targets(package: &Path) -> Result<Vec<String>> {
    let manifest = package.join("Cargo.toml");
    let text =
        fs::read_to_string(&manifest).with_context(|| format!("read {}", manifest.display()))?;
    let manifest: toml::Table = text.parse().context("parse tracer/fuzz/Cargo.toml")?;
    let binaries = manifest.get("bin").and_then(toml::Value::as_array);
    let names = binaries.into_iter().flatten().filter_map(|binary| {
        let name = binary.get("name")?.as_str()?;
        Some(name.to_owned())
    });
    Ok(names.collect())
}

fn chosen(all: &[String], wanted: &[String]) -> Result<Vec<String>> {
    if let Some(unknown) = wanted.iter().find(|name| !all.contains(name)) {
        bail!(
            "no target is called {unknown}: there are {}",
            all.join(", ")
        );
    }
    let is_wanted = |name: &&String| wanted.is_empty() || wanted.contains(name);
    Ok(all.iter().filter(is_wanted).cloned().collect())
}

/// Builds all targets; what cargo said of it.
fn build(package: &Path, place: &Path) -> Result<String> {
    let mut cargo = cargo::command(package);
    // With a target, even the host's, build scripts and macros are built without coverage.
    cargo.args(["build", "--release", "--bins", "--target", "host-tuple"]);
    cargo.arg("--target-dir").arg(place);
    cargo.arg("--message-format=json-render-diagnostics");
    cargo.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    process::output(&mut cargo)
}

/// A target that is ready to be run.
struct Target {
    binary: PathBuf,
    /// The stored inputs.
    corpus: PathBuf,
    /// What the code makes of itself.
    seeds: PathBuf,
    /// What was found in all runs on this machine.
    found: PathBuf,
    /// What can't be borne.
    artifacts: PathBuf,
    log: PathBuf,
}

impl Target {
    fn prepare(name: &str, binary: PathBuf, package: &Path, place: &Path) -> Result<Self> {
        let folder = |kind: &str| {
            let folder = place.join(kind).join(name);
            fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
            Ok::<_, anyhow::Error>(folder)
        };
        let target = Self {
            binary,
            corpus: package.join("corpus").join(name),
            seeds: folder("seeds")?,
            found: folder("found")?,
            artifacts: folder("artifacts")?,
            log: place.join(format!("{name}.log")),
        };
        fs::create_dir_all(&target.corpus).context("make the stored corpus")?;
        // It complains that there is no sanitizer.
        process::quiet_output(Command::new(&target.binary).env(SEEDS, &target.seeds))?;
        Ok(target)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .arg(format!("-rss_limit_mb={MEMORY}"))
            .arg(format!("-timeout={LONGEST}"))
            .arg(format!("-artifact_prefix={}/", self.artifacts.display()));
        command
    }

    /// Looks for so long; what came of it, or what was found.
    fn look(&self, seconds: u32) -> Result<Result<String, String>> {
        let mut command = self.command();
        command
            .arg(format!("-max_total_time={seconds}"))
            .arg("-print_final_stats=1")
            .args([&self.found, &self.corpus, &self.seeds]);
        let succeeded = self.logged(&mut command)?;
        let said = fs::read(&self.log).with_context(|| format!("read {}", self.log.display()))?;
        let said = String::from_utf8_lossy(&said);
        if succeeded {
            return Ok(Ok(summary(&said)));
        }
        let (binary, log) = (self.binary.display(), self.log.display());
        Ok(Err(format!(
            "failed, see {log}\n  {}\n  to see it again: {binary} INPUT; then put INPUT into {}",
            complaints(&said).join("\n  "),
            self.corpus.display()
        )))
    }

    /// Adds to the stored corpus what reaches code that nothing of it does: the smallest, as many as there is
    /// room for.
    fn keep(&self) -> Result<()> {
        let known = tempfile::tempdir().context("make a folder")?;
        let (mut before, mut stored) = (Vec::new(), 0);
        for folder in [&self.seeds, &self.corpus] {
            for file in files(folder)? {
                before.push(copy(&file, known.path())?);
                stored += if folder == &self.corpus {
                    size(&file)?
                } else {
                    0
                };
            }
        }
        let mut merge = self.command();
        // Code that is reached, not how often.
        merge.args(["-merge=1", "-use_counters=0"]);
        if !self.logged(merge.arg(known.path()).arg(&self.found))? {
            bail!("merging failed, see {}", self.log.display());
        }
        let mut news = Vec::new();
        for file in files(known.path())? {
            if !before.contains(&file) {
                news.push((size(&file)?, file));
            }
        }
        news.sort();
        for (size, file) in news {
            stored += size;
            if stored > STORED {
                break;
            }
            copy(&file, &self.corpus)?;
        }
        Ok(())
    }

    /// Runs it, with all that it says in the log; whether it succeeded.
    fn logged(&self, command: &mut Command) -> Result<bool> {
        let log =
            fs::File::create(&self.log).with_context(|| format!("make {}", self.log.display()))?;
        let status = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the log")?)
            .stderr(log)
            .status()
            .with_context(|| format!("start {}", self.binary.display()))?;
        Ok(status.success())
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    xtask::files::files_under(folder)
}

fn size(file: &Path) -> Result<u64> {
    let metadata = fs::metadata(file).with_context(|| format!("look at {}", file.display()))?;
    Ok(metadata.len())
}

/// Where the copy is.
fn copy(file: &Path, to: &Path) -> Result<PathBuf> {
    let copy = to.join(file.file_name().context("a file has a name")?);
    fs::copy(file, &copy).with_context(|| format!("copy {}", file.display()))?;
    Ok(copy)
}

/// What went wrong, and where the input is, without the stacks between.
fn complaints(said: &str) -> Vec<&str> {
    let mut is_panic = false;
    let tells = |line: &&str| {
        // The line after says why.
        let why = std::mem::replace(&mut is_panic, line.contains(" panicked at "));
        why || is_panic || line.contains("ERROR: libFuzzer") || line.contains("Test unit written")
    };
    said.lines().filter(tells).collect()
}

/// How many inputs were tried, and how much code they reach, by what libFuzzer says at the end.
fn summary(said: &str) -> String {
    let stat = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name));
        line.map_or("?", str::trim).to_owned()
    };
    let reached = said.lines().rev().find_map(|line| {
        let (_, rest) = line.split_once(" cov: ")?;
        rest.split_whitespace().next()
    });
    format!(
        "{} inputs, {} places reached, {} inputs that reach more, {} MiB at most",
        stat("stat::number_of_executed_units:"),
        reached.unwrap_or("?"),
        stat("stat::new_units_added:"),
        stat("stat::peak_rss_mb:"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_are_those_of_the_manifest() {
        let package = paths::repository().unwrap().join("tracer/fuzz");
        let all = targets(&package).unwrap();
        assert!(all.contains(&"wire".to_owned()), "{all:?}");
        assert_eq!(chosen(&all, &[]).unwrap(), all);
        let wire = ["wire".to_owned()];
        assert_eq!(chosen(&all, &wire).unwrap(), wire);
        let error = chosen(&all, &["wires".to_owned()]).unwrap_err().to_string();
        assert!(
            error.contains("wires") && error.contains("recording"),
            "{error}"
        );
    }

    #[test]
    fn a_failure_says_what_and_with_which_input() {
        let said = concat!(
            "#2\tINITED cov: 57 ft: 58 corp: 1/1b exec/s: 0 rss: 40Mb\n",
            "thread '<unnamed>' (7) panicked at src/a.rs:1:2:\n",
            "attempt to subtract with overflow\n",
            "stack backtrace:\n",
            "==7== ERROR: libFuzzer: deadly signal\n",
            "    #0 0x1 in main\n",
            "artifact_prefix='a/'; Test unit written to a/crash-1\n",
        );
        let said = complaints(said);
        assert_eq!(said.len(), 4, "{said:?}");
        assert_eq!(said[1], "attempt to subtract with overflow");
        assert!(said[3].ends_with("a/crash-1"));
    }

    #[test]
    fn the_end_of_a_run_is_summed_up() {
        let said = concat!(
            "#2\tINITED cov: 57 ft: 58 corp: 1/1b exec/s: 0 rss: 40Mb\n",
            "#90\tDONE   cov: 119 ft: 140 corp: 9/99b lim: 4096 exec/s: 45 rss: 41Mb\n",
            "Done 90 runs in 2 second(s)\n",
            "stat::number_of_executed_units: 90\n",
            "stat::new_units_added:          8\n",
            "stat::peak_rss_mb:              41\n",
        );
        assert_eq!(
            summary(said),
            "90 inputs, 119 places reached, 8 inputs that reach more, 41 MiB at most"
        );
    }
}
