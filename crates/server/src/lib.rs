//! The binary's inside: arguments, wiring, lifecycle and the tools that come with it
//! (`cluster dev`, `demo`, `bench`). The only place that reads arguments and the
//! environment and picks implementations. A library so that the simulator can wire the
//! very same node over its own disk, clock and network.

pub mod assembly;

mod admin;
mod bench;
mod cli;
mod client;
mod cluster_dev;
mod config;
mod demo;
mod door;
mod doors;
mod exit;
mod operators;
mod output;
mod run;
mod space;
mod start_dev;
mod target;
mod telemetry;
mod tls;

use std::process::ExitCode;

/// Parses the process arguments and runs the command they name.
#[must_use]
pub fn main() -> ExitCode {
    cli::main()
}
