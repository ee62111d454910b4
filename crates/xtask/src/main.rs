//! The one door to every check and helper of the project: `cargo xtask <what>`.
//!
//! `verify` is the gate and never writes to the tree; `fix` writes. A missing tool is
//! installed or reported, never skipped in silence.

mod differential;
mod e2e;
mod shell;
mod tidy;
mod verify;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks, tests and helpers of Perpetuo")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The gate: format, lints, tidy, tests, docs, simulation and end-to-end. Never writes.
    Verify,
    /// Formats the code and rewrites generated docs and expectations.
    Fix,
    /// Asserts the import table, the file-length ratchet and the purity of the core.
    Tidy,
    /// Real SDKs against real processes. Without names: all of them.
    E2e {
        /// readme, python, typescript, go, java
        suites: Vec<String>,
        /// Only the scenarios of these suites, and only against this.
        #[arg(long)]
        mode: Option<e2e::Mode>,
    },
    /// Simulated clusters: one seed, or the seeds from 1 to N.
    Sim {
        /// Run this one seed and print its trace.
        seed: Option<u64>,
        /// Run the seeds 1..=N.
        #[arg(long)]
        seeds: Option<u64>,
        /// Further arguments for the simulator, e.g. `-- --planted skip-fsync`.
        #[arg(last = true)]
        rest: Vec<String>,
    },
    /// The same scripted requests to the official server and to ours: what comes back must be equal.
    Differential {
        /// Records the answers of the official server at HOST:PORT anew.
        #[arg(long, value_name = "HOST:PORT", conflicts_with = "against")]
        record: Option<String>,
        /// Compares the server at HOST:PORT instead of our own.
        #[arg(long, value_name = "HOST:PORT")]
        against: Option<String>,
        /// Plays only scenarios whose names begin like this, e.g. `start/cron`.
        only: Option<String>,
    },
    /// Starts three nodes on this machine: `perpetuo cluster dev --nodes 3`.
    Dev,
}

fn main() -> anyhow::Result<()> {
    match Args::parse().task {
        Task::Verify => verify::verify(),
        Task::Fix => verify::fix(),
        Task::Tidy => tidy::tidy(),
        Task::E2e { suites, mode } => e2e::e2e(&suites, mode),
        Task::Sim { seed, seeds, rest } => verify::sim(seed, seeds, &rest),
        Task::Differential { record, against, only } => differential::differential(record, against, only),
        Task::Dev => shell::cargo(&["run", "--release", "--", "cluster", "dev", "--nodes", "3"]),
    }
}
