//! Real SDKs, each fetched by its own package manager, against the real binary. The
//! suites live in `e2e/<language>`; each is a program that takes the path of the binary
//! and exits with 0 when everything passed. The scenarios are programs that take the
//! address of a server; `e2e/python/stage.py` starts the servers for them.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::shell;

const SUITES: [&str; 3] = ["readme", "python", "go"];
/// The languages that have scenarios, and the random programs.
const SCENARIOS: [&str; 5] = ["python", "random", "typescript", "go", "java"];
/// How long scenarios are begun anew while leaders are killed: the first falls after 5 s, most often a second one does.
const KILLING_SECONDS: u32 = 20;

/// What the scenarios run against.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// One node.
    One,
    /// Three nodes.
    Three,
    /// Three nodes, of which a leader is killed every 20 s and started again.
    Killing,
}

pub(crate) fn e2e(names: &[String], mode: Option<Mode>) -> Result<()> {
    for name in names {
        if !SUITES.contains(&name.as_str()) && !SCENARIOS.contains(&name.as_str()) {
            bail!("there is no suite {name:?}; there are {SUITES:?} and {SCENARIOS:?}");
        }
    }
    let binary = shell::release_binary()?;
    fs::create_dir_all(shell::scratch())?;
    let wanted = |name: &&str| names.is_empty() || names.iter().any(|other| other == name);
    let languages: Vec<_> = SCENARIOS.into_iter().filter(wanted).collect();
    let scenarios = languages.iter().map(|language| prepare(language)).collect::<Result<Vec<_>>>()?;
    match mode {
        Some(_) if scenarios.is_empty() => bail!("only {SCENARIOS:?} have scenarios"),
        Some(mode) => return run_scenarios(&binary, mode, &scenarios),
        None => {}
    }
    for suite in SUITES {
        if !wanted(&suite) {
            continue;
        }
        shell::say(&format!("\n-- e2e {suite}"));
        match suite {
            "readme" => python(&binary, "readme.py")?,
            "python" => python(&binary, "suite.py")?,
            "go" => go(&binary)?,
            _ => unreachable!("every suite is listed"),
        }
    }
    if !scenarios.is_empty() {
        for mode in [Mode::One, Mode::Three, Mode::Killing] {
            run_scenarios(&binary, mode, &scenarios)?;
        }
    }
    Ok(())
}

/// How the scenarios of a language are run, once everything for them is installed and compiled.
fn prepare(language: &str) -> Result<Vec<OsString>> {
    match language {
        "python" => python_script("run.py"),
        "random" => python_script("random_workflows.py"),
        "typescript" => Ok(vec!["node".into(), typescript()?.join("run.mjs").into()]),
        "go" => Ok(vec![go_build("./scenarios")?.into()]),
        "java" => java(),
        _ => unreachable!("every language is listed"),
    }
}

/// Runs the scenarios of several languages side by side, against the same servers.
fn run_scenarios(binary: &Path, mode: Mode, commands: &[Vec<OsString>]) -> Result<()> {
    let (mode_name, rough) = match mode {
        Mode::One => ("one", false),
        Mode::Three => ("three", false),
        Mode::Killing => ("killing", true),
    };
    shell::say(&format!("\n-- e2e scenarios, {mode_name}"));
    let mut stage = Command::new(python_environment()?);
    stage.arg(shell::root().join("e2e/python/stage.py")).arg(binary).arg(mode_name);
    for command in commands {
        stage.arg("--").args(command).arg("{address}");
        if rough {
            stage.args(["--rough", "--seconds", &KILLING_SECONDS.to_string()]);
        }
    }
    shell::run(stage.current_dir(shell::root()))
}

fn python(binary: &Path, script: &str) -> Result<()> {
    let interpreter = python_environment()?;
    let script = shell::root().join("e2e/python").join(script);
    shell::run(Command::new(&interpreter).arg(script).arg(binary).current_dir(shell::root()))
}

fn python_script(name: &str) -> Result<Vec<OsString>> {
    Ok(vec![python_environment()?.into(), shell::root().join("e2e/python").join(name).into()])
}

/// A virtual environment with the SDK; its interpreter.
fn python_environment() -> Result<PathBuf> {
    let folder = shell::root().join("e2e/python");
    let venv = shell::scratch().join("python");
    let interpreter = venv.join("bin/python");
    shell::need("python3", "--version", &["python3", "python3-venv"])?;
    if !shell::has(&venv.join("bin/pip").to_string_lossy(), "--version") {
        let create = || shell::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
        if create().is_err() {
            // Debian keeps the means to make environments in a package of its own.
            shell::install(&["python3-venv"])?;
            create()?;
        }
    }
    shell::run(
        Command::new(&interpreter)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
            .arg(folder.join("requirements.txt")),
    )?;
    Ok(interpreter)
}

/// A folder with the suite and the packages that it needs.
fn typescript() -> Result<PathBuf> {
    shell::need("npm", "--version", &["nodejs", "npm"])?;
    let work = shell::scratch().join("typescript");
    copy(&shell::root().join("e2e/typescript"), &work)?;
    shell::run(
        Command::new("npm")
            .args(["install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(&work),
    )?;
    Ok(work)
}

fn go(binary: &Path) -> Result<()> {
    shell::run(Command::new(go_build(".")?).arg(binary).current_dir(shell::root()))
}

/// Compiles a program of the Go suites; its path.
fn go_build(package: &str) -> Result<PathBuf> {
    shell::need("go", "version", &["golang-go"])?;
    let work = shell::scratch().join("go");
    copy(&shell::root().join("e2e/go"), &work)?;
    // Not in the folder, which the next program's sources replace.
    let name = if package == "." { "suite" } else { package.trim_start_matches("./") };
    let program = shell::scratch().join(format!("go-{name}"));
    shell::run(Command::new("go").args(["build", "-o"]).arg(&program).arg(package).current_dir(&work))?;
    Ok(program)
}

/// How to run the compiled suite, with its packages beside it.
fn java() -> Result<Vec<OsString>> {
    shell::need("mvn", "--version", &["maven", "default-jdk-headless"])?;
    let work = shell::scratch().join("java");
    copy(&shell::root().join("e2e/java"), &work)?;
    let goals = ["-q", "-B", "compile", "dependency:copy-dependencies", "-DincludeScope=runtime"];
    shell::run(Command::new("mvn").args(goals).arg("-DoutputDirectory=target/lib").current_dir(&work))?;
    let mut classes = work.join("target/classes").into_os_string();
    classes.push(":");
    classes.push(work.join("target/lib/*"));
    // Short lives on few cores: compiling well and collecting in parallel would cost more than they give.
    let options = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m", "-cp"];
    let command = ["java"].into_iter().chain(options).map(OsString::from);
    Ok(command.chain([classes, "dev.perpetuo.Run".into()]).collect())
}

/// Copies the sources of a suite, so that its build never writes into the tree.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    // Sources that are gone here must be gone there.
    for old in ["src", "scenarios", "workflows"] {
        if from.join(old).is_dir() && to.join(old).exists() {
            fs::remove_dir_all(to.join(old))?;
        }
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
