//! What the guest finds when it starts: busybox, the programs under test with their libraries, modules, the
//! command.

use std::fs::File;
use std::io::BufWriter;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xtask::files::files_under;

use super::archive::Archive;
use super::libraries;
use super::modules::Module;
use crate::arch::Arch;

const FOLDERS: [&str; 14] = [
    "bin", "sbin", "proc", "sys", "dev", "tmp", "out", "root", "run", "etc", "mods", "var",
    "usr/bin", "usr/sbin",
];

pub(super) struct Payload {
    pub(super) arch: Arch,
    /// A static one.
    pub(super) busybox: PathBuf,
    pub(super) copies: Vec<Copy>,
}

/// A file or folder of the host and its place in the guest.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Copy {
    source: PathBuf,
    destination: PathBuf,
    /// Whether its shared libraries go with it.
    program: bool,
}

impl Copy {
    pub(super) fn program(source: PathBuf, destination: &str) -> Self {
        Self {
            source,
            destination: destination.into(),
            program: true,
        }
    }

    /// `SRC` or `SRC:DST`.
    pub(super) fn parse(spec: &str, program: bool) -> Result<Self> {
        let (source, destination) = spec.split_once(':').unwrap_or((spec, ""));
        let source = PathBuf::from(source);
        let destination = if destination.is_empty() {
            let name = source
                .file_name()
                .with_context(|| format!("{spec} has no file name"))?;
            Path::new("/root").join(name)
        } else {
            Path::new("/root").join(destination)
        };
        Ok(Self {
            source,
            destination,
            program,
        })
    }

    fn write(&self, archive: &mut Archive<BufWriter<File>>, arch: Arch) -> Result<()> {
        if self.source.is_dir() {
            for file in files_under(&self.source)? {
                let relative = file.strip_prefix(&self.source).unwrap_or(&file);
                copy(archive, &file, &self.destination.join(relative))?;
            }
            return Ok(());
        }
        copy(archive, &self.source, &self.destination)?;
        if self.program {
            for (library, place) in libraries::of(&self.source, arch)? {
                copy(archive, &library, &place)?;
            }
        }
        Ok(())
    }
}

impl Payload {
    /// `command`: what the guest runs.
    pub(super) fn write(&self, path: &Path, modules: &[Module], command: &str) -> Result<()> {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        let mut archive = Archive::new(BufWriter::new(file));
        self.fill(&mut archive, modules, command)
            .and_then(|()| Ok(archive.finish()?))
            .with_context(|| format!("write the initramfs {}", path.display()))
    }

    fn fill(
        &self,
        archive: &mut Archive<BufWriter<File>>,
        modules: &[Module],
        command: &str,
    ) -> Result<()> {
        for folder in FOLDERS {
            archive.folder(Path::new(folder))?;
        }
        archive.character_device(Path::new("dev/console"), (5, 1))?;
        copy(archive, &self.busybox, Path::new("/bin/busybox"))?;
        archive.file(Path::new("/init"), 0o755, include_bytes!("init.sh"))?;
        archive.file(
            Path::new("/cmd.sh"),
            0o755,
            format!("{command}\n").as_bytes(),
        )?;
        let mut order = String::new();
        for module in modules {
            let name = format!("/mods/{}.ko", module.name);
            archive.file(Path::new(&name), 0o644, &module.image)?;
            order.push_str(&module.name);
            order.push('\n');
        }
        archive.file(Path::new("/mods/order"), 0o644, order.as_bytes())?;
        for copy in &self.copies {
            copy.write(archive, self.arch)?;
        }
        Ok(())
    }
}

fn copy(archive: &mut Archive<BufWriter<File>>, source: &Path, destination: &Path) -> Result<()> {
    let read = || -> std::io::Result<_> {
        let permissions = std::fs::metadata(source)?.permissions().mode() & 0o777;
        Ok((permissions, std::fs::read(source)?))
    };
    let (permissions, data) = read().with_context(|| format!("read {}", source.display()))?;
    archive.file(destination, permissions, &data)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_default_to_the_home_folder() {
        let at = |spec| {
            Copy::parse(spec, false)
                .map(|copy| copy.destination)
                .unwrap()
        };
        assert_eq!(at("/x/tool"), Path::new("/root/tool"));
        assert_eq!(at("tool:/usr/bin/t"), Path::new("/usr/bin/t"));
        assert_eq!(at("tool:t"), Path::new("/root/t"));
        assert!(Copy::parse("/", false).is_err());
    }
}
