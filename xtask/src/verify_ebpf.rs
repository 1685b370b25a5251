//! `cargo xtask verify-ebpf`: proof that the committed object is what the sources say. Code is compared as
//! disassembly, so that a difference can be read.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use xtask::provenance::{OBJECT_PATH, Provenance, sha256, source_sha256};

use crate::build_ebpf::compile;
use crate::cli::ToolchainArgs;
use crate::toolchain::Toolchain;
use crate::{paths, process};

/// Lines of difference to print: enough to see where, not a wall.
const SHOWN: usize = 60;

/// The sections beside code that decide what a loaded program does.
const DATA: [&str; 6] = [".rodata", ".data", ".bss", ".maps", "maps", "license"];

pub(crate) fn execute(args: &ToolchainArgs) -> Result<ExitCode> {
    let repo = paths::repository()?;
    let recorded = Provenance::read(&repo)?;
    let committed_path = repo.join(OBJECT_PATH);
    let committed = std::fs::read(&committed_path)
        .with_context(|| format!("read {}", committed_path.display()))?;
    let mut problems = Vec::new();
    if sha256(&committed) != recorded.object_sha256 {
        problems.push("the object is not the one that PROVENANCE.toml describes".to_owned());
    }
    if source_sha256(&repo)? != recorded.source_sha256 {
        problems.push("the sources changed after the object was built".to_owned());
    }

    let toolchain = Toolchain::find(args.toolchain_dir.as_deref())?;
    let scratch = tempfile::tempdir().context("create a scratch folder")?;
    let (rebuilt, now) = compile(&repo, &toolchain, scratch.path())?;
    if rebuilt == committed {
        println!("{OBJECT_PATH}: rebuilt, every byte the same");
    } else {
        let rebuilt_path = scratch.path().join("rebuilt.o");
        std::fs::write(&rebuilt_path, &rebuilt)
            .with_context(|| format!("write {}", rebuilt_path.display()))?;
        problems.extend(compare(&toolchain, &committed_path, &rebuilt_path)?);
        problems.extend(other_toolchain(&recorded, &now));
    }
    if problems.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!(
        "{}\n`cargo xtask build-ebpf` rebuilds the object",
        problems.join("\n")
    );
}

/// What differs between two objects that are not the same bytes, if it matters.
fn compare(toolchain: &Toolchain, committed: &Path, rebuilt: &Path) -> Result<Option<String>> {
    let Ok(objdump) = toolchain.llvm_tool("llvm-objdump") else {
        return Ok(Some(
            "the rebuilt object differs (no llvm-objdump here to say where)".into(),
        ));
    };
    let (before, after) = (listing(&objdump, committed)?, listing(&objdump, rebuilt)?);
    if before == after {
        println!("{OBJECT_PATH}: code and data are the same; only BTF or line information differs");
        return Ok(None);
    }
    println!("{}", difference(&before, &after)?);
    Ok(Some(
        "the rebuilt object differs in code or data, see above".into(),
    ))
}

/// Code with relocations, then data; without the lines that name the file.
fn listing(objdump: &Path, object: &Path) -> Result<String> {
    let mut code = Command::new(objdump);
    let mut text = process::output(code.args(["-d", "-r", "--no-show-raw-insn"]).arg(object))?;
    let mut data = Command::new(objdump);
    for section in DATA {
        data.args(["-j", section]);
    }
    // objdump warns of every section that is not there.
    text.push_str(&process::quiet_output(data.arg("-s").arg(object))?);
    Ok(without_file_name(&text))
}

fn without_file_name(listing: &str) -> String {
    listing
        .lines()
        .filter(|line| !line.contains("file format "))
        .flat_map(|line| [line, "\n"])
        .collect()
}

fn difference(before: &str, after: &str) -> Result<String> {
    let scratch = tempfile::tempdir().context("create a scratch folder")?;
    for (name, text) in [("committed", before), ("rebuilt", after)] {
        let path = scratch.path().join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    let mut diff = Command::new("diff");
    diff.args(["-U", "2", "committed", "rebuilt"])
        .current_dir(scratch.path());
    // diff ends with 1 when it found something, which is what it is called for.
    let output = diff.output().context("start `diff` (package diffutils)")?;
    Ok(shorten(&String::from_utf8_lossy(&output.stdout)))
}

fn shorten(diff: &str) -> String {
    let mut lines: Vec<&str> = diff.lines().take(SHOWN).collect();
    let left = diff.lines().count() - lines.len();
    let rest = format!("... {left} more lines");
    if left > 0 {
        lines.push(&rest);
    }
    lines.join("\n")
}

fn other_toolchain(recorded: &Provenance, now: &Provenance) -> Option<String> {
    let pairs = [
        (&recorded.rustc, &now.rustc),
        (&recorded.llvm, &now.llvm),
        (&recorded.bpf_linker, &now.bpf_linker),
    ];
    let differing: Vec<String> = pairs
        .iter()
        .filter(|(then, now)| then != now)
        .map(|(then, now)| format!("{then} then, {now} now"))
        .collect();
    let list = differing.join("; ");
    (!differing.is_empty()).then(|| format!("another toolchain may be the reason: {list}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provenance(rustc: &str) -> Provenance {
        Provenance {
            source_sha256: String::new(),
            object_sha256: String::new(),
            rustc: rustc.into(),
            llvm: "22.1.8".into(),
            bpf_linker: "bpf-linker 0.13.0".into(),
            target: String::new(),
            flags: Vec::new(),
        }
    }

    #[test]
    fn another_toolchain_is_named() {
        assert_eq!(other_toolchain(&provenance("a"), &provenance("a")), None);
        let named = other_toolchain(&provenance("a"), &provenance("b")).unwrap();
        assert!(named.contains("a then, b now"), "{named}");
    }

    #[test]
    fn listings_do_not_depend_on_the_file_name() {
        let text = "\n/tmp/x.o:\tfile format elf64-bpf\n\n       0:\tr0 = 0x0\n";
        assert_eq!(without_file_name(text), "\n\n       0:\tr0 = 0x0\n");
    }

    #[test]
    fn long_differences_are_cut_and_say_so() {
        assert_eq!(shorten("a\nb"), "a\nb");
        let long = "x\n".repeat(SHOWN + 5);
        assert!(shorten(&long).ends_with("... 5 more lines"));
    }
}
