//! Running other programs, and getting the ones that a bare machine lacks.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("crates/xtask has two parents").to_owned()
}

/// Where scratch environments (Python, Node, ...) of the end-to-end tests live.
pub(crate) fn scratch() -> PathBuf {
    target().join("e2e")
}

/// The build directory that this very process was built into.
pub(crate) fn target() -> PathBuf {
    let executable = std::env::current_exe().expect("the path of this process is known");
    executable.ancestors().nth(2).expect("<target>/debug/xtask").to_owned()
}

/// The release binary, built by [`release_binary`].
pub(crate) fn release_binary() -> Result<PathBuf> {
    cargo(&["build", "--release", "--package", "server"])?;
    Ok(target().join("release").join("perpetuo"))
}

pub(crate) fn cargo(args: &[&str]) -> Result<()> {
    run(Command::new("cargo").args(args).current_dir(root()).env("CARGO_TARGET_DIR", target()))
}

/// Runs a command to its end, its output shown; fails when it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = format!("{command:?}");
    say(&format!("$ {line}"));
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot start {line}"))?;
    if !status.success() {
        bail!("{status}: {line}");
    }
    Ok(())
}

/// Whether a program of this name can be started.
pub(crate) fn has(program: &str, probe: &str) -> bool {
    Command::new(program)
        .arg(probe)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Makes sure that `program` is there, from Debian's packages when it is not.
pub(crate) fn need(program: &str, probe: &str, packages: &[&str]) -> Result<()> {
    if has(program, probe) { Ok(()) } else { install(packages).with_context(|| format!("{program} is missing")) }
}

/// Installs Debian packages.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    if !has("apt-get", "--version") {
        bail!("there is no apt-get to install {packages:?} with; please install them");
    }
    run(Command::new("apt-get").args(["update", "-q"]).env("DEBIAN_FRONTEND", "noninteractive"))?;
    run(Command::new("apt-get").args(["install", "-y", "-q"]).args(packages).env("DEBIAN_FRONTEND", "noninteractive"))
        .with_context(|| format!("{packages:?} could not be installed"))
}

#[expect(clippy::print_stdout, reason = "this is a command-line tool")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
