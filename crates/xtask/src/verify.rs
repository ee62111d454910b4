//! The gate and its writing counterpart.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{e2e, shell, tidy};

/// How many seeds the gate simulates.
const GATE_SEEDS: u64 = 200;

pub(crate) fn verify() -> Result<()> {
    step("format");
    shell::cargo(&["fmt", "--all", "--check"])?;
    step("tidy");
    tidy::tidy()?;
    step("lints");
    shell::cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    step("tests");
    shell::cargo(&["test", "--workspace", "--no-fail-fast"])?;
    step("docs");
    shell::run(
        Command::new("cargo")
            .args(["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"])
            .current_dir(shell::root())
            .env("CARGO_TARGET_DIR", shell::target())
            .env("RUSTDOCFLAGS", "-D warnings --cfg tokio_unstable"),
    )?;
    step("simulation");
    sim(None, Some(GATE_SEEDS), &[])?;
    sim(None, None, &["--meta".to_owned()])?;
    step("end to end");
    e2e::e2e(&[], None)?;
    shell::say("\nverify: all checks passed");
    Ok(())
}

pub(crate) fn fix() -> Result<()> {
    shell::cargo(&["fmt", "--all"])?;
    shell::run(
        Command::new("cargo")
            .args(["test", "--workspace", "--no-fail-fast"])
            .current_dir(shell::root())
            .env("CARGO_TARGET_DIR", shell::target())
            .env("UPDATE_EXPECT", "1"),
    )
}

/// Runs the simulator, one process for each seed.
pub(crate) fn sim(seed: Option<u64>, seeds: Option<u64>, rest: &[String]) -> Result<()> {
    let mut args: Vec<String> = ["run", "--release", "--quiet", "--package", "sim", "--"].map(str::to_owned).to_vec();
    match (seed, seeds) {
        (Some(seed), None) => args.extend(["--seed".to_owned(), seed.to_string()]),
        (None, Some(seeds)) => args.extend(["--seeds".to_owned(), seeds.to_string()]),
        (None, None) if !rest.is_empty() => {}
        _ => bail!("give one seed, or --seeds N"),
    }
    args.extend_from_slice(rest);
    shell::cargo(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

fn step(name: &str) {
    shell::say(&format!("\n== {name}"));
}
