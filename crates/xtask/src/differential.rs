//! The differential harness: a test of the server crate, told by the environment what to do.

use std::process::Command;

use anyhow::Result;

use crate::shell;

pub(crate) fn differential(record: Option<String>, against: Option<String>, only: Option<String>) -> Result<()> {
    let switches = [("DIFFERENTIAL_RECORD", record), ("DIFFERENTIAL_AGAINST", against), ("DIFFERENTIAL_ONLY", only)];
    shell::run(
        Command::new("cargo")
            .args(["test", "--package", "server", "--test", "differential", "--", "--nocapture"])
            .current_dir(shell::root())
            .env("CARGO_TARGET_DIR", shell::target())
            .envs(switches.into_iter().filter_map(|(name, value)| Some((name, value?)))),
    )
}
