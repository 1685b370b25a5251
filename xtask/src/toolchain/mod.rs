//! The compiler for the kernel programs. The core library has to be built for the BPF target, which takes the
//! library's sources, a rustc that may use unstable options, and bpf-linker on an LLVM no older than rustc's.

mod crate_ids;
mod debian;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

pub(crate) use self::crate_ids::wrap_rustc;
use crate::{apt, cargo, paths, process};

const RUSTC_VARIABLE: &str = "TCPDWELL_EBPF_RUSTC";
const LIBRARY: &str = "lib/rustlib/src/rust";

#[derive(Debug)]
pub(crate) struct Toolchain {
    rustc: PathBuf,
    cargo: Option<PathBuf>,
    linker: PathBuf,
    /// Where rustc's own shared libraries are, when not where the loader looks.
    library_path: Option<PathBuf>,
}

/// What identifies the code generators: equal versions give equal objects.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) rustc: String,
    pub(crate) llvm: String,
    pub(crate) bpf_linker: String,
}

impl Toolchain {
    /// The first that is ready: the one named by the environment, the one set up before (in `dir`, or in the
    /// user's cache), rustup's nightly. Sets one up in that folder where none is and the system allows it.
    pub(crate) fn find(dir: Option<&Path>) -> Result<Self> {
        let folder = match dir {
            Some(dir) => {
                std::path::absolute(dir).with_context(|| format!("resolve {}", dir.display()))?
            }
            None => paths::cache("ebpf-toolchain")?,
        };
        if let Some(rustc) = std::env::var_os(RUSTC_VARIABLE) {
            let toolchain = Self::named(rustc.into())?;
            return toolchain.checked().context(RUSTC_VARIABLE);
        }
        let unpacked = debian::layout(&folder);
        if unpacked.linker.is_file()
            && let Ok(toolchain) = unpacked.checked()
        {
            return Ok(toolchain);
        }
        if dir.is_none()
            && let Some(toolchain) = Self::nightly()
        {
            return Ok(toolchain);
        }
        if !apt::can_install() {
            bail!(
                "no toolchain for the kernel programs. Either `rustup toolchain install nightly --component \
                 rust-src --component llvm-tools` and `cargo install bpf-linker`, or run this once as root on Debian, \
                 or point {RUSTC_VARIABLE} at a nightly rustc that has the library sources"
            );
        }
        debian::set_up(&folder)?;
        debian::layout(&folder).checked()
    }

    fn named(rustc: PathBuf) -> Result<Self> {
        let linker = process::find_program("bpf-linker")
            .context("bpf-linker is not in PATH: `cargo install bpf-linker`")?;
        Ok(Self {
            rustc,
            cargo: None,
            linker,
            library_path: None,
        })
    }

    fn nightly() -> Option<Self> {
        let linker = process::find_program("bpf-linker")?;
        let mut print = Command::new("rustup");
        print.args(["run", "nightly", "rustc", "--print", "sysroot"]);
        let bin = Path::new(process::output(&mut print).ok()?.trim()).join("bin");
        let toolchain = Self {
            rustc: bin.join("rustc"),
            cargo: Some(bin.join("cargo")),
            linker,
            library_path: None,
        };
        toolchain.checked().ok()
    }

    /// This toolchain, if its parts run and the library's sources are there.
    fn checked(self) -> Result<Self> {
        self.versions()?;
        let library = self
            .sysroot()?
            .join(LIBRARY)
            .join("library/core/src/lib.rs");
        if !library.is_file() {
            bail!(
                "no library sources at {}: add the component rust-src",
                library.display()
            );
        }
        Ok(self)
    }

    /// A cargo that compiles with this toolchain.
    pub(crate) fn cargo(&self, dir: &Path) -> Result<Command> {
        let mut cargo = cargo::command(dir);
        if let Some(own) = &self.cargo {
            cargo = Command::new(own);
            cargo.current_dir(dir);
        }
        // Settings for host builds have no place here: they would change the object.
        for variable in ["RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET"] {
            cargo.env_remove(variable);
        }
        crate_ids::stabilise(&mut cargo)?;
        cargo.env("RUSTC", &self.rustc).env("RUSTC_BOOTSTRAP", "1");
        cargo.env("PATH", self.search_path()?);
        self.set_library_path(&mut cargo);
        Ok(cargo)
    }

    pub(crate) fn versions(&self) -> Result<Versions> {
        let verbose = self.rustc(&["--version", "--verbose"])?;
        let first = verbose.lines().next().unwrap_or_default();
        let linker = process::output(Command::new(&self.linker).arg("--version"))?;
        Ok(Versions {
            rustc: first.to_owned(),
            llvm: field(&verbose, "LLVM version")?.to_owned(),
            bpf_linker: linker.trim().to_owned(),
        })
    }

    /// The places of the library's sources: as the compiler sees them, and where a link leads.
    pub(crate) fn library_sources(&self) -> Result<Vec<PathBuf>> {
        let seen = self.sysroot()?.join(LIBRARY);
        let real = seen
            .canonicalize()
            .with_context(|| format!("resolve {}", seen.display()))?;
        Ok(vec![seen, real])
    }

    /// An LLVM tool of rustc's own LLVM generation: Debian's, rustup's component, or one in PATH.
    pub(crate) fn llvm_tool(&self, name: &str) -> Result<PathBuf> {
        let verbose = self.rustc(&["--version", "--verbose"])?;
        let major = field(&verbose, "LLVM version")?
            .split('.')
            .next()
            .unwrap_or_default();
        let host = field(&verbose, "host")?;
        let places = [
            format!("/usr/lib/llvm-{major}/bin").into(),
            self.sysroot()?.join("lib/rustlib").join(host).join("bin"),
        ];
        places
            .iter()
            .map(|dir| dir.join(name))
            .find(|tool| tool.is_file())
            .or_else(|| process::find_program(name))
            .with_context(|| format!("no {name} of LLVM {major}: install the package llvm-{major} or rustup's llvm-tools"))
    }

    fn sysroot(&self) -> Result<PathBuf> {
        Ok(self.rustc(&["--print", "sysroot"])?.trim().into())
    }

    fn rustc(&self, arguments: &[&str]) -> Result<String> {
        let mut rustc = Command::new(&self.rustc);
        self.set_library_path(&mut rustc);
        process::output(rustc.args(arguments))
    }

    fn set_library_path(&self, command: &mut Command) {
        if let Some(path) = &self.library_path {
            command.env("LD_LIBRARY_PATH", path);
        }
    }

    fn search_path(&self) -> Result<OsString> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let own = self.linker.parent().map(Path::to_path_buf);
        std::env::join_paths(own.into_iter().chain(std::env::split_paths(&path)))
            .context("put the linker's folder into PATH")
    }
}

fn field<'a>(verbose: &'a str, name: &str) -> Result<&'a str> {
    verbose
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .with_context(|| format!("`rustc --version --verbose` does not say its {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_verbose_version() {
        let verbose =
            "rustc 1.96.0\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\nLLVM version: 22.1.8\n";
        assert_eq!(field(verbose, "LLVM version").unwrap(), "22.1.8");
        assert_eq!(field(verbose, "host").unwrap(), "x86_64-unknown-linux-gnu");
        assert!(field(verbose, "commit-hash").is_err());
    }
}
