//! Running other programs: every failure names the command line that failed.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

/// Runs `command` with the terminal attached and insists on success.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("start `{}`", describe(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", describe(command));
    }
    Ok(())
}

/// Runs `command`, shows what it prints line by line, and returns it with how it ended.
pub(crate) fn tee(command: &mut Command) -> Result<(ExitStatus, String)> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start `{}`", describe(command)))?;
    let mut said = String::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.context("read what a program prints")?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            said.push_str(&line);
            said.push('\n');
        }
    }
    let status = child.wait().context("wait for a program")?;
    Ok((status, said))
}

/// Runs `command` and returns what it printed; its errors go to the terminal.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    quiet_output(command.stderr(Stdio::inherit()))
}

/// Like [`output`], for programs whose warnings would mislead.
pub(crate) fn quiet_output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("start `{}`", describe(command)))?;
    if !output.status.success() {
        bail!("`{}` failed: {}", describe(command), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where the shell would find `program`.
pub(crate) fn find_program(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Debian keeps some tools out of the PATH of ordinary users.
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
}

fn describe(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        // Writing to a String cannot fail.
        let _ = write!(text, " {}", arg.to_string_lossy());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_line() {
        let error = run(Command::new("sh").args(["-c", "exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "`sh -c exit 3` failed: exit status: 3");
        let error = run(&mut Command::new("no-such-program-at-all")).unwrap_err();
        assert!(error.to_string().contains("no-such-program-at-all"));
    }

    #[test]
    fn what_is_shown_is_kept_and_a_failure_is_no_error() {
        let (status, said) =
            tee(Command::new("sh").args(["-c", "echo one; echo two; exit 3"])).unwrap();
        assert_eq!((status.code(), said.as_str()), (Some(3), "one\ntwo\n"));
    }

    #[test]
    fn programs_are_looked_up_in_the_path() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-at-all").is_none());
    }
}
